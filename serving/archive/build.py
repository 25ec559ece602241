"""Building `.mar` archives with torch-model-archiver, and reading what is in one.

An archive holds the bundle, graphs of other engines than PyTorch, the packages `model` and `handler`,
`index_to_name.json` and `model-config.yaml`. It is built and checked under a temporary name, so a
refused one leaves nothing.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from model.errors import FlyobjError, InputError
from model.files import read_json, write_json, writing
from model.golden import Golden, read_golden
from model.run_folder import find_bundle
from serving.archive.layout import (
    BUNDLE,
    CONFIG,
    GOLDEN,
    MANIFEST,
    file_name,
    open_zip,
    require_as_listed,
)
from serving.names import DEFAULT_MODEL
from serving.stock import stock_file


@dataclass(frozen=True)
class Archive:
    """What an archive says about itself."""

    path: Path
    model: str
    version: str
    sha256: str
    golden: tuple[Golden, ...]
    workers: int  # processes that serve it, if nobody says otherwise


def build_archive(
    run: Path, version: str, store: Path, engine: str = "auto", name: str = DEFAULT_MODEL
) -> Path:
    """Package the run's bundle as `store/NAME-VERSION.mar` and check its answers.

    `engine` is "auto", "torch" or "openvino" (see `model.engines.write_engines`).

    Raises:
        InputError: the name or the version can't be one, the archive exists already, the run has no
            bundle, or there is no such engine.
        FlyobjError: the packaged model doesn't answer as training did.
    """
    target = store / file_name(name, version)
    if target.exists():
        raise InputError(f"{str(target)!r} exists already; give another --version or remove it")
    # These load PyTorch; only packaging waits for it.
    from model.bundle import read_bundle
    from model.engines import FOLDER, write_engines
    from serving.archive.isolated import check_archive

    bundle = read_bundle(source := find_bundle(run))
    with writing(store):
        store.mkdir(parents=True, exist_ok=True)
    with writing(store), tempfile.TemporaryDirectory(prefix=".building-", dir=store) as temporary:
        staged = Path(temporary) / "staged"
        engines = write_engines(bundle, staged / FOLDER, engine)
        built = _run_archiver(source, bundle.spec.classes, name, version, staged)
        check_archive(built, bundle.golden, engines)
        try:
            os.link(built, target)  # fails where a rename would overwrite
        except FileExistsError as error:
            raise InputError(
                f"{str(target)!r} was just made by someone else; give another --version"
            ) from error
    return target


def read_archive(path: Path) -> Archive:
    """Read name, version, hash and golden photos of an archive; nothing is unpacked to disk.

    Raises:
        InputError: it is none that a server of ours can be given: damaged, over the limits of
            `serving.archive.layout`, or with a name or a version that no request could name.
    """
    _require_file(path)
    with open_zip(path) as files:
        require_as_listed(files)
        manifest = read_json(zipfile.Path(files, MANIFEST))["model"]
        name, version = manifest["modelName"], manifest["modelVersion"]
        file_name(name, version)  # refuses what no server of ours could be asked for
        workers = yaml.safe_load(files.read(CONFIG))["minWorkers"]
        if type(workers) is not int or workers < 1:
            raise ValueError(f"{CONFIG} has minWorkers {workers!r}, not a whole number from 1 on")
        golden = read_golden(zipfile.Path(files, f"{GOLDEN}/"))
    return Archive(path, name, version, sha256(path), golden, workers)


def read_golden_photos(path: Path) -> tuple[Golden, ...]:
    """Read an archive's golden photos alone, for probes; raises `InputError` if it isn't valid."""
    _require_file(path)
    with open_zip(path) as files:
        return read_golden(zipfile.Path(files, f"{GOLDEN}/"))


def sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_file(path: Path) -> None:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"archive {str(path)!r}: {what}; `flyobj archive` makes one of a run")


def _run_archiver(source: Path, classes: Sequence[str], name: str, version: str, staged: Path) -> Path:
    """Call torch-model-archiver on the folder `staged`; its top level becomes the archive's."""
    work, scratch = staged.parent, staged.parent / "tmp"
    shutil.copytree(source, staged / BUNDLE)
    for package in ("model", "handler"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(stock_file(package), staged / package, ignore=ignored)
    write_json(dict(enumerate(classes)), staged / "index_to_name.json")
    scratch.mkdir()
    command = [str(Path(sys.executable).with_name("torch-model-archiver"))]
    command += ["--model-name", name, "--version", version, "--export-path", str(work)]
    command += ["--handler", str(stock_file("handler/flyobj_handler.py"))]
    command += ["--config-file", str(stock_file("handler/model-config.yaml"))]
    command += ["--extra-files", str(staged)]
    # It works in one temporary folder a model name: give it a place of its own.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise FlyobjError(f"torch-model-archiver failed: {lines[-1][:300]}")
    return work / f"{name}.mar"
