"""A packaged model, answering by itself: the archive's own code in a process that sees nothing else.

Packaging asks it the golden photos and refuses an archive that answers them differently from training;
evaluation asks any others. What answers is the archive: its handler, its
copy of `model/`, its bundle, loaded by TorchServe's loader (`isolated_worker`).
"""

import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from model.bundle import ModelSpec
from model.engines import VARIABLE
from model.errors import FlyobjError
from model.files import read_json
from model.golden import Golden, difference
from serving.archive.layout import BUNDLE, GOLDEN, unpack

_TIMEOUT_S = 300  # of a batch


class IsolatedModel:
    """A loaded archive; made by `open_archive`."""

    def __init__(self, description: str, folder: Path, process: subprocess.Popen[str], log: IO[str]):
        """Wait until the model in the unpacked `folder` is loaded."""
        self.description = description
        self._process, self._log = process, log
        self._reply()
        where = folder / BUNDLE / "model.json"
        self.spec: ModelSpec | None = ModelSpec.from_json(read_json(where), str(where))
        self.classes = self.spec.classes

    def answer(self, photos: Sequence[bytes], explain: bool = False) -> list[dict[str, Any]]:
        """Answer a batch as the handler would: a photo that it refuses has a code and a message."""
        batch = [base64.b64encode(photo).decode() for photo in photos]
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({"photos": batch, "explain": explain}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._end_error() from error
        return self._reply()

    def _reply(self) -> list[dict[str, Any]]:
        assert self._process.stdout
        guard = threading.Timer(_TIMEOUT_S, self._process.kill)
        guard.start()
        try:
            line = self._process.stdout.readline()
        finally:
            guard.cancel()
        if not line:
            raise self._end_error()
        answers: list[dict[str, Any]] = json.loads(line)
        return answers

    def _end_error(self) -> FlyobjError:
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines() or ["no message"]
        # TorchServe's loader tries a second place; the first error is the cause.
        cause = next((line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)), lines[-1])
        return FlyobjError(f"the archive's handler doesn't run by itself: {cause}")


@contextmanager
def open_archive(archive: Path, engine: str | None = None) -> Iterator[IsolatedModel]:
    """Unpack an archive, load it in a clean interpreter, and end that when the block does.

    `engine` answers, or the one that a worker would choose (`model.engines.choose_engine`).

    Raises:
        InputError: it is no archive.
        FlyobjError: its handler doesn't run, or answers its golden photos differently from training.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="flyobj-archive-"))
        unpack(archive, Path(folder))
        log = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        if engine:
            environment[VARIABLE] = engine
        script = Path(__file__).with_name("isolated_worker.py")
        # What packages were installed into, a `.pth` file's folders too; never the checkout.
        entries = [path for path in sys.path if not Path(path, "pyproject.toml").exists()]
        sites = [path for path in entries if any(Path(path).glob("*.dist-info"))]
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", str(script), folder, *sites],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
            )
        )
        try:
            yield IsolatedModel(f"archive {archive}", Path(folder), process, log)
        finally:
            process.kill()
            if process.stdin:
                with contextlib.suppress(BrokenPipeError):  # what it never read
                    process.stdin.close()


def check_archive(archive: Path, golden: Sequence[Golden], engines: Sequence[str] = ("torch",)) -> None:
    """Answer `golden` with the archive in a clean interpreter and compare with training's answers.

    Each of `engines` answers for itself, all at once: most of the time goes into starting.

    Raises:
        FlyobjError: an answer differs, or the archive's handler doesn't run; the message says how.
    """
    with zipfile.ZipFile(archive) as files:
        packaged = len(json.loads(files.read(f"{GOLDEN}/golden.json")))
    if packaged != len(golden):
        raise FlyobjError(f"the archive has {packaged} golden photos, training made {len(golden)}")

    def differences_of(engine: str) -> list[str]:
        with open_archive(archive, engine) as model:
            answers = model.answer([photo.photo for photo in golden])
        pairs = zip(golden, answers, strict=True)
        return [found for photo, answer in pairs if (found := difference(photo, answer))]

    with ThreadPoolExecutor() as pool:
        all_differences = list(pool.map(differences_of, engines))
    for engine, differences in zip(engines, all_differences, strict=True):
        if differences:
            raise FlyobjError(
                f"with {engine} the archive answers {len(differences)} of {len(golden)} golden photos "
                "differently from training, so it is not kept:\n  " + "\n  ".join(differences)
            )
