"""What answers a folder of photos: a bundle in all cores, or a version of the running server.

A bundle is read with the engine that `model.engines.choose_engine` would give a worker, in as many
processes of one thread as there are cores, since one process of two threads does less than two of one.
Each checks its golden photos before it answers.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import yaml

from model.answers import as_answer
from model.bundle import ModelSpec, read_bundle
from model.engines import FOLDER, choose_engine, write_engines
from model.errors import InputError, PhotoError, PhotoTooLarge
from model.files import read_json
from model.limits import DEFAULT_LIMITS, PhotoLimits
from model.parallel import chunks_in_parallel, in_order
from model.predictor import Predictor
from report.progress import progress
from serving.archive.build import read_archive, sha256
from serving.archive.layout import BUNDLE, CONFIG, unpack
from serving.batch.photos import PhotoSource
from serving.rollout.default_workers import usable_cores
from serving.rollout.deployment import read_deployment
from serving.rollout.store import how_to_deploy
from serving.server.client import Client
from serving.server.inference import RemoteModel

CLIENTS = 8  # requests at a time, so that batches form
# Photos for which it pays to convert a run's bundle for OpenVINO first, which takes some 4 s.
WORTH_CONVERTING = 500


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one photo: an answer in the handler's words, or why there is none."""

    photo: PhotoSource
    sha256: str = ""  # of its bytes; "" if it couldn't be read
    answer: dict[str, Any] = field(default_factory=dict)
    error: str = ""


class BatchModel(Protocol):
    """Answers any number of photos."""

    description: str  # for people
    classes: tuple[str, ...]
    fingerprint: str  # another one means other answers

    def classify(self, photos: Sequence[PhotoSource]) -> Iterator[Result]:
        """Answer each photo, in order; raises `FlyobjError` if the model itself fails."""


@dataclass(frozen=True)
class Place:
    """Where a worker finds the model, and how it reads photos."""

    bundle: Path
    engines: Path
    version: str | None
    setting: str = "auto"  # of the engine
    limits: PhotoLimits = DEFAULT_LIMITS


class LocalModel:
    """A bundle, answered by this machine's cores."""

    def __init__(self, description: str, place: Place, fingerprint: str) -> None:
        """Read what the bundle says; the workers read the rest."""
        where = place.bundle / "model.json"
        self.description, self.fingerprint, self._place = description, fingerprint, place
        self.classes = ModelSpec.from_json(read_json(where), str(where)).classes

    def classify(self, photos: Sequence[PhotoSource]) -> Iterator[Result]:
        """Answer each photo, in order."""
        yield from chunks_in_parallel(partial(_classify, self._place), photos, usable_cores(os.getpid()))


class ServedModel:
    """One version of the running server; it stays the same if the default changes meanwhile."""

    def __init__(self, client: Client, version: str | None) -> None:
        """Name the version; None for the default.

        Raises:
            InputError: there is no such version, or none at all.
        """
        self._client = client
        if not client.server.management:
            self._look_from_outside(version)
            return
        version = version or client.default_version()
        if version not in client.versions():
            if version:
                see = client.command("models list")
                raise InputError(f"version {version!r} isn't on the server; see `{see}`")
            raise InputError(f"nothing is deployed yet; `{how_to_deploy(client)}`")
        described, deployed = client.describe(version), read_deployment(client.store).versions
        self.description = f"version {version} at {client.server.inference}"
        self.classes = tuple(described["classes"])
        # One registered by other means than ours has nothing but its name.
        self.fingerprint = deployed[version].sha256[:16] if version in deployed else f"version {version}"
        self._version = version
        self._max_bytes = described.get("limits", {}).get("max_bytes", DEFAULT_LIMITS.max_bytes)

    def _look_from_outside(self, version: str | None) -> None:
        """Learn from an answer what an address without management doesn't say."""
        model = RemoteModel(self._client, version)
        self._version, self.classes = model.version, model.classes
        self.description = self.fingerprint = (
            f"version {model.version} at {self._client.server.inference}"
        )
        self._max_bytes = DEFAULT_LIMITS.max_bytes

    def classify(self, photos: Sequence[PhotoSource]) -> Iterator[Result]:
        """Answer each photo, in order, `CLIENTS` at a time."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            try:
                yield from in_order(pool, self._ask, photos, 2 * CLIENTS)
            finally:
                pool.shutdown(cancel_futures=True)

    def _ask(self, photo: PhotoSource) -> Result:
        content, result = _read(photo)
        if content is None:
            return result
        try:
            # The server would cut the connection of a much larger one, without a word.
            if len(content) > self._max_bytes:
                raise PhotoTooLarge(f"the photo has {len(content)} bytes, {self._max_bytes} are allowed")
            return Result(photo, result.sha256, self._client.predict(content, self._version))
        except PhotoError as error:
            return Result(photo, result.sha256, error=str(error))


@contextmanager
def open_run(bundle: Path, photos: int) -> Iterator[LocalModel]:
    """Open a bundle to answer so many photos; with OpenVINO if that is installed and they are many."""
    read = hashlib.sha256()
    graph = sorted(path.name for path in bundle.glob("graph.*"))
    for name in ("model.json", "weights.safetensors", *graph):
        if not (bundle / name).is_file():
            raise InputError(f"{str(bundle)!r} has no {name}; give a run folder of `flyobj train`")
    for path in sorted(path for path in bundle.iterdir() if path.suffix in (".json", ".safetensors")):
        if path.name != "metrics.json":
            read.update(sha256(path).encode())
    with tempfile.TemporaryDirectory(prefix="flyobj-engines-") as folder:
        engines = Path(folder, FOLDER)
        if photos >= WORTH_CONVERTING:
            with progress("converting for OpenVINO"):
                write_engines(read_bundle(bundle), engines, "auto")
        yield LocalModel(f"bundle {bundle}", Place(bundle, engines, None), read.hexdigest()[:16])


@contextmanager
def open_packed(path: Path) -> Iterator[LocalModel]:
    """Unpack an archive to answer photos with its bundle, its engines and its settings."""
    archive = read_archive(path)
    with tempfile.TemporaryDirectory(prefix="flyobj-archive-") as folder:
        unpacked = unpack(path, Path(folder))
        section = yaml.safe_load((unpacked / CONFIG).read_text(encoding="utf-8")).get("handler") or {}
        known = {f.name for f in fields(PhotoLimits)}
        given = {k: v for k, v in (section.get("limits") or {}).items() if k in known}
        place = Place(
            *(unpacked / BUNDLE, unpacked / FOLDER, archive.version),
            *(section.get("engine", "auto"), PhotoLimits(**given)),
        )
        yield LocalModel(f"archive {path}", place, archive.sha256[:16])


@lru_cache(maxsize=1)
def _predictor(place: Place) -> Predictor:
    """Load the model once in each process."""
    bundle = read_bundle(place.bundle)
    engine = choose_engine(bundle, place.engines, setting=place.setting)
    predictor = Predictor(bundle, engine, place.limits)
    predictor.check(bundle.golden)
    return predictor


def _classify(place: Place, photos: Sequence[PhotoSource]) -> list[Result]:
    """Answer some photos in a worker."""
    predictor = _predictor(place)
    results, pixels = [], []
    for photo in photos:
        content, result = _read(photo)
        if content is not None:
            try:
                pixels.append(predictor.prepare(content))
            except PhotoError as error:
                result = Result(photo, result.sha256, error=str(error))
        results.append(result)
    found = iter(predictor.answer(pixels) if pixels else ())
    return [
        r if r.error else replace(r, answer=as_answer(next(found), predictor.classes, place.version))
        for r in results
    ]


def _read(photo: PhotoSource) -> tuple[bytes | None, Result]:
    """Read and hash a photo; None and the reason where that can't be."""
    if photo.missing:
        return None, Result(photo, error=photo.missing)
    try:
        content = photo.read()
    except OSError as error:
        return None, Result(photo, error=f"can't be read ({error.strerror or error})")
    return content, Result(photo, hashlib.sha256(content).hexdigest())
