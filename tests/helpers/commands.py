"""`flyobj` as a user calls it, less the seconds that importing PyTorch takes each time.

Each command has a process, a folder, an environment and streams of its own. The process is forked from
one that has imported the libraries and done nothing with them (multiprocessing's fork server).
"""

import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import get_context, set_start_method
from pathlib import Path

_LIBRARIES = (
    "albumentations boto3 httpx lightning.fabric matplotlib.pyplot pytest rich.progress scipy.stats "
    "sklearn.metrics torchvision.models typer yaml"
)
_forks = get_context("forkserver")
_forks.set_forkserver_preload(_LIBRARIES.split())


def run_flyobj(
    words: Sequence[str], cwd: Path, timeout_s: float = 200
) -> subprocess.CompletedProcess[str]:
    """Run it; raise `subprocess.TimeoutExpired` as `subprocess.run` does."""
    with tempfile.TemporaryDirectory(prefix="flyobj-said-") as folder:
        process = _forks.Process(target=_flyobj, args=(words, cwd, Path(folder), dict(os.environ)))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, timeout_s)
        said = (Path(folder, name).read_text(encoding="utf-8") for name in ("1", "2"))
        return subprocess.CompletedProcess(words, process.exitcode, *said)


def _flyobj(words: Sequence[str], cwd: Path, folder: Path, environment: Mapping[str, str]) -> None:
    """Run in the forked process, and end it with the command's exit code."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number in (1, 2):
        file = os.open(folder / str(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))  # noqa: SIM115
    sys.argv = [str(Path(sys.executable).with_name("flyobj")), *words]
    set_start_method("fork", force=True)  # Linux's own, not that of a fork server's child
    import cli

    try:
        cli.main()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
