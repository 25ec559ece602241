"""What keeps an archive from being made, or from being read again."""

import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from model.errors import FlyobjError, InputError
from serving.archive.build import build_archive, read_archive
from serving.archive.isolated import open_archive

Repack = Callable[..., Path]


def test_an_archive_that_someone_else_made_meanwhile_stays(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "flying_objects-1.0.mar"
    monkeypatch.setattr("serving.archive.isolated.check_archive", lambda *_: target.write_text("theirs"))
    with pytest.raises(InputError, match=r"1\.0\.mar' was just made by someone else; give another"):
        build_archive(run, "1.0", tmp_path, "torch")
    assert target.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [target]


def test_what_the_archiver_says_is_handed_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archiver = tmp_path / "torch-model-archiver"
    archiver.write_text("#!/bin/sh\necho 'a warning\nno such handler' >&2\nexit 1\n")
    archiver.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(FlyobjError, match=r"^torch-model-archiver failed: no such handler$"):
        build_archive(run, "1.0", tmp_path / "store", "torch")
    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.parametrize("workers", ["0", "two", "1.5", "true"])
def test_an_archive_says_how_many_workers_it_wants(repack: Repack, tmp_path: Path, workers: str) -> None:
    def change(text: str) -> str:
        return "\n".join(
            f"minWorkers: {workers}" if line.startswith("minWorkers:") else line
            for line in text.splitlines()
        )

    path = repack(tmp_path / "a.mar", {"model-config.yaml": change})
    with pytest.raises(InputError, match=r"has minWorkers .*, not a whole number from 1 on"):
        read_archive(path)


@pytest.mark.slow
def test_a_model_that_ends_between_two_photos_is_noticed(
    archive_path: Path, photos: list[bytes]
) -> None:
    with open_archive(archive_path) as archive:
        assert "probabilities" in archive.answer(photos[:1])[0]
        for process in psutil.Process().children():
            if any("isolated_worker" in word for word in process.cmdline()):
                process.kill()
                process.wait()
        with pytest.raises(FlyobjError, match="the archive's handler doesn't run by itself: "):
            archive.answer(photos[:1] * 2000)
