"""What can be evaluated: something that maps the bytes of photos to answers.

A bundle is answered here. A packaged archive and a running server are answered in `serving`, which
this room doesn't know; `cli.targets` picks the one that a user names. All answer in the handler's words:

    {"predicted": "Flying Birds", "confidence": 0.97, "probabilities": {...}}

and, where an explanation is asked for, `{"explanation": {"overlay_png": BASE64, ...}}` beside them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from model.answers import as_answer
from model.bundle import ModelSpec, read_bundle
from model.predictor import Predictor

Answer = Mapping[str, Any]


class Target(Protocol):
    """Answers photos; what is behind it doesn't matter to what is measured."""

    @property
    def description(self) -> str:
        """For people: "bundle runs/first/bundle"."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names it knows, in its order."""

    @property
    def spec(self) -> ModelSpec | None:
        """What the bundle says of itself; None where it can't be read."""

    def answer(self, photos: Sequence[bytes], explain: bool = False) -> Sequence[Answer]:
        """Answer each photo, in order; one that it refuses has an answer without probabilities."""


class BundleTarget:
    """A bundle, answered by the predictor that wrote its golden answers."""

    def __init__(self, path: Path) -> None:
        """Read the bundle in the folder `path`."""
        bundle = read_bundle(path)
        self.description = f"bundle {path}"
        self.spec: ModelSpec | None = bundle.spec
        self.classes = bundle.spec.classes
        self._predictor = Predictor(bundle)

    def answer(self, photos: Sequence[bytes], explain: bool = False) -> list[Answer]:
        """Answer each photo, in order; raises `PhotoError` for one that can't be read."""
        pixels = [self._predictor.prepare(photo) for photo in photos]
        found = self._predictor.answer(pixels, [explain] * len(pixels))
        return [as_answer(one, self.classes, pixels=own) for one, own in zip(found, pixels, strict=True)]
