"""What the section `handler` of `model-config.yaml` says."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from model.errors import InputError
from model.image import DEFAULT_LIMITS, Limits


@dataclass(frozen=True)
class Settings:
    """One worker's settings.

    Attributes:
        threads: the engine's, of each worker.
        max_photos: that one request may hold.
        metrics: whether the handler's own metrics are written.
        limits: of one photo.
    """

    threads: int = 1
    max_photos: int = 16
    metrics: bool = True
    limits: Limits = DEFAULT_LIMITS


def read_settings(config: Mapping[str, Any] | None) -> Settings:
    """Check the section key by key; what isn't given has its default."""
    section = dict((config or {}).get("handler") or {})
    limits = dict(section.pop("limits", None) or {})
    for name, value in (*section.items(), *limits.items()):
        known = {f.name: f.type for f in (*fields(Settings), *fields(Limits))}
        if name not in known:
            raise InputError(
                f"model-config.yaml: handler has no setting {name!r}; it has {sorted(known)}"
            )
        wanted = bool if name == "metrics" else int
        if type(value) is not wanted or (wanted is int and value < 1):
            kind = "true or false" if wanted is bool else "a whole number from 1"
            raise InputError(f"model-config.yaml: handler: {name} {value!r} must be {kind}")
    return Settings(**section, limits=Limits(**limits))
