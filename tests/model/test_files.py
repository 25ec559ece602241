"""Our own files: every damage has one kind of error, and a write that fails leaves what was there."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from model.errors import FlyobjError, InputError
from model.files import atomic_folder, read_json, write_json, write_text, writing


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "can't be read as JSON"),
        (b"{", "can't be read as JSON"),
        (b'{"a": "\xff"}', "can't be read as UTF-8 text"),
        (b"[1]", "must hold a JSON object, it holds: list"),
        (b"null", "must hold a JSON object, it holds: NoneType"),
        (b"[" * 100_000, "can't be read as JSON"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"run\.json' .*{reason}.*; train again"):
        read_json(path, remedy="train again")


def test_a_folder_or_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("link")
    for name in ("folder", "link", "folder/inner/file"):
        with pytest.raises(InputError, match=f"{name}' can't be read"):
            read_json(tmp_path / name)


def test_a_list_is_read_where_one_is_asked_for(tmp_path: Path) -> None:
    write_json([1], tmp_path / "list.json")
    assert read_json(tmp_path / "list.json", list) == [1]
    with pytest.raises(InputError, match="must hold a JSON object"):
        read_json(tmp_path / "list.json")


def test_names_that_are_no_utf8_come_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xc3\xa9")
    write_json({name: 1}, tmp_path / "names.json")
    assert read_json(tmp_path / "names.json") == {name: 1}
    assert [p.name for p in tmp_path.iterdir()] == ["names.json"]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """The shell's limit on file sizes stands in for it."""
    write_text("before", tmp_path / "file")
    script = "import sys, pathlib, model.files as f; f.write_text('x' * 9000, pathlib.Path(sys.argv[1]))"
    command = f'ulimit -f 4; exec {sys.executable} -c "{script}" {tmp_path / "file"}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "FlyobjError" in done.stderr
    assert "file' can't be written (File too large); nothing was changed" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_a_place_that_cant_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("no/file", "file/inner"):
        with pytest.raises(FlyobjError, match=f"{place}' can't be written"):
            write_text("x", tmp_path / place)


def test_where_nothing_temporary_can_be_written_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "no")])
    said = r"^No usable temporary directory found in .*/no.*; make room there, or set TMPDIR"
    with (
        pytest.raises(FlyobjError, match=said),
        writing(tmp_path / "out"),
        tempfile.TemporaryDirectory(),
    ):
        pass


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill(text: str, fails: bool = False) -> None:
        with atomic_folder(tmp_path / "sub" / "out") as folder:
            (folder / text).touch()
            assert not fails

    fill("one")
    with pytest.raises(AssertionError):
        fill("two", fails=True)
    assert [p.name for p in (tmp_path / "sub").rglob("*")] == ["out", "one"]
    fill("two")
    assert [p.name for p in (tmp_path / "sub").rglob("*")] == ["out", "two"]


def test_a_power_cut_leaves_the_old_content_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is on the disk before it gets its name, and then the name is."""
    path, synced = tmp_path / "file", list[tuple[str, str]]()
    write_text("old", path)
    fsync = os.fsync

    def noted(number: int) -> None:
        synced.append((Path(f"/proc/self/fd/{number}").readlink().name, path.read_text()))
        fsync(number)

    monkeypatch.setattr(os, "fsync", noted)
    write_text("new", path)
    assert synced == [(f".file.{os.getpid()}.partial", "old"), (tmp_path.name, "new")]


def test_a_folder_that_cannot_be_replaced_is_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "old").touch()
    rename = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(FlyobjError, match="No space left"), atomic_folder(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "old"]
