"""The packaging gate: an archive whose answers differ from training's is refused."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from model.errors import FlyobjError
from model.golden import Golden, difference

_TIMEOUT_S = 300


def check_archive(archive: Path, golden: Sequence[Golden]) -> None:
    """Answer `golden` with the archive in a clean interpreter and compare with training's answers.

    Raises:
        FlyobjError: an answer differs, or the archive's handler doesn't run; the message says how.
    """
    with tempfile.TemporaryDirectory(prefix="flyobj-gate-") as folder:
        with zipfile.ZipFile(archive) as files:
            files.extractall(folder)
        script = Path(__file__).with_name("clean_room.py")
        command = [sys.executable, "-I", "-S", str(script), folder, sysconfig.get_path("purelib")]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        result = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or ["no message"]
        # TorchServe's loader tries a second place; the first error is the cause.
        last = next((line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)), lines[-1])
        raise FlyobjError(f"the archive's handler doesn't run by itself: {last}")
    answers = json.loads(result.stdout.strip().splitlines()[-1])
    if len(answers) != len(golden):
        raise FlyobjError(f"the archive has {len(answers)} golden photos, training made {len(golden)}")
    differences = [
        found
        for photo, answer in zip(golden, answers, strict=True)
        if (found := difference(photo, answer))
    ]
    if differences:
        raise FlyobjError(
            f"the archive answers {len(differences)} of {len(golden)} golden photos otherwise than "
            "training did, so it is not kept:\n  " + "\n  ".join(differences)
        )
