"""What a worker says about its model: `GET /models/NAME/VERSION?customized=true`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from handler.settings import HandlerSettings
from model.bundle import ModelSpec
from model.files import read_json
from model.formats import FORMATS


def describe(spec: ModelSpec, bundle: Path, engine: str, settings: HandlerSettings) -> dict[str, Any]:
    """Describe the model; `metrics` is None where the bundle was packaged before it was evaluated."""
    metrics = bundle / "metrics.json"
    return {
        "classes": list(spec.classes),
        "input_size": spec.preprocessing.size,  # pixels, a square
        "formats": list(FORMATS),
        "limits": {**asdict(settings.limits), "max_photos": settings.max_photos},
        "calibration": asdict(spec.calibration),
        "metrics": read_json(metrics) if metrics.is_file() else None,
        "data_fingerprint": spec.data_fingerprint,
        "architecture": spec.architecture,
        "engine": engine,
        "created": spec.created,
        "code_version": spec.code_version,
    }
