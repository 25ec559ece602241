"""What the section `handler` of `model-config.yaml` says."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from model.engines import ENGINES
from model.errors import InputError
from model.formats import FORMATS
from model.limits import DEFAULT_LIMITS, PhotoLimits

_ALLOWED = {
    "metrics": "true or false",
    "engine": f"auto, {' or '.join(ENGINES)}",
    "formats": f"all, or a list of {', '.join(FORMATS)}, which can be read here",
    "max_cpu_s": "a number of seconds from 0.1",
    "max_wall_s": "a number of seconds from 0.1",
}


@dataclass(frozen=True)
class HandlerSettings:
    """One worker's settings."""

    threads: int = 1  # the engine's, of each worker
    # What runs the network, "auto", "torch" or "openvino" (see `model.engines.choose_engine`).
    engine: str = "auto"
    max_photos: int = 16  # that one request may hold
    metrics: bool = True  # whether the handler's own metrics are written
    limits: PhotoLimits = DEFAULT_LIMITS  # of one photo; `formats` of the section is among them


def read_settings(config: Mapping[str, Any] | None) -> HandlerSettings:
    """Check the section key by key; what isn't given has its default."""
    section = dict((config or {}).get("handler") or {})
    limits = dict(section.pop("limits", None) or {})
    known = {f.name for f in (*fields(HandlerSettings), *fields(PhotoLimits))}
    for name, value in (*section.items(), *limits.items()):
        if name not in known:
            raise InputError(
                f"model-config.yaml: handler has no setting {name!r}; it has {sorted(known)}"
            )
        if not _is_allowed(name, value):
            kind = _ALLOWED.get(name, "a whole number from 1")
            raise InputError(f"model-config.yaml: handler: {name} {value!r} must be {kind}")
    formats = section.pop("formats", "all")
    if formats != "all":
        limits["formats"] = tuple(formats)
    return HandlerSettings(**section, limits=PhotoLimits(**limits))


def _is_allowed(name: str, value: Any) -> bool:
    if name == "metrics":
        return type(value) is bool
    if name == "engine":
        return value in ("auto", *ENGINES)
    if name == "formats":
        return value == "all" or (
            isinstance(value, list) and bool(value) and all(item in FORMATS for item in value)
        )
    if name in ("max_cpu_s", "max_wall_s"):
        return type(value) in (int, float) and 0.1 <= value < 3600
    return type(value) is int and value >= 1
