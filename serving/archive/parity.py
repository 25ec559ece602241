"""Parity: an archive whose answers differ from training's is refused."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

from model.errors import FlyobjError
from model.golden import Golden, difference
from serving.archive.isolated import open_archive
from serving.archive.layout import GOLDEN


def check_archive(archive: Path, golden: Sequence[Golden], engines: Sequence[str] = ("torch",)) -> None:
    """Answer `golden` with the archive in a clean interpreter and compare with training's answers.

    Each of `engines` answers for itself.

    Raises:
        FlyobjError: an answer differs, or the archive's handler doesn't run; the message says how.
    """
    with zipfile.ZipFile(archive) as files:
        packaged = len(json.loads(files.read(f"{GOLDEN}/golden.json")))
    if packaged != len(golden):
        raise FlyobjError(f"the archive has {packaged} golden photos, training made {len(golden)}")
    for engine in engines:
        with open_archive(archive, engine) as model:
            answers = model.answer([photo.photo for photo in golden])
        differences = [
            found
            for photo, answer in zip(golden, answers, strict=True)
            if (found := difference(photo, answer))
        ]
        if differences:
            raise FlyobjError(
                f"with {engine} the archive answers {len(differences)} of {len(golden)} golden photos "
                "differently from training, so it is not kept:\n  " + "\n  ".join(differences)
            )
