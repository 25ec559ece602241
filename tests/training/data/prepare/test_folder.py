"""What is there is never lost, and nothing half-written looks whole."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import FlyobjError, InputError
from training.data.manifest import Row, write_manifest
from training.data.prepare.folder import check_out, new_folder, place, target


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_appears_when_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with new_folder(out, force=False) as room:
        (room / "a").write_text("1")
        assert not out.exists()
    assert (out / "a").read_text() == "1"
    assert names(out.parent) == ["out"]
    assert out.stat().st_mode & 0o777 == out.parent.stat().st_mode & 0o777


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with new_folder(tmp_path / "out", force=False) as room:
            (room / "a").write_text("1")
            raise OSError(28, "No space left on device")

    with pytest.raises(FlyobjError, match=r"out' can't be written \(No space left on device\); make"):
        fill()
    assert names(tmp_path) == []


def prepared(folder: Path) -> Path:
    """A folder as `prepare` makes it, with one photo."""
    row = Row("a/1.jpg", "a", "train")
    (folder / "train" / "a").mkdir(parents=True)
    (folder / "train" / "a" / "1.jpg").write_text("photo")
    write_manifest([row], folder / "manifest.csv")
    (folder / "summary.json").write_text("{}")
    return folder


def test_force_replaces_what_prepare_made(tmp_path: Path) -> None:
    out = prepared(tmp_path / "out")
    with pytest.raises(InputError, match=r"out' exists already; .*--force"):
        check_out(out, force=False)
    with new_folder(out, force=True) as room:
        (room / "new").touch()
        assert (out / "manifest.csv").exists()  # until the new one is whole
    assert names(out) == ["new"]
    assert names(tmp_path) == ["out"]


def test_a_failure_with_force_leaves_the_old_one(tmp_path: Path) -> None:
    out = prepared(tmp_path / "out")
    with pytest.raises(RuntimeError), new_folder(out, force=True):
        raise RuntimeError
    assert (out / "train" / "a" / "1.jpg").read_text() == "photo"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda out: (out / "manifest.csv").unlink(), "has no manifest.csv"),
        (lambda out: (out / "manifest.csv").write_text("mine"), "isn't a valid manifest"),
        (lambda out: (out / "train" / "a" / "mine.jpg").touch(), r"mine\.jpg' wasn't made by"),
        (lambda out: (out / "mine").symlink_to("/"), r"mine' wasn't made by"),
    ],
    ids=["no manifest", "another manifest", "another photo", "a link to a folder"],
)
def test_force_does_not_replace_anything_else(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    out = prepared(tmp_path / "out")
    spoil(out)
    with pytest.raises(InputError, match=message):
        check_out(out, force=True)
    assert (out / "train" / "a" / "1.jpg").exists()


def test_a_link_is_not_replaced(tmp_path: Path) -> None:
    prepared(tmp_path / "real")
    (tmp_path / "out").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="wasn't made by"):
        check_out(tmp_path / "out", force=True)


def test_what_comes_into_being_meanwhile_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="exists already"), new_folder(out, force=False):
        prepared(out)
    assert names(out) == ["manifest.csv", "summary.json", "train"]


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (Row("a/x/1.jpg", "a", "test"), "test/a/x/1.jpg"),
        (Row("train/a/1.jpg", "a", "test"), "test/a/1.jpg"),
        (Row("test/a/1.jpg", "a", "test"), "test/a/1.jpg"),
        (Row("train/1.jpg", "train", "test"), "test/train/1.jpg"),
        (Row("train/x/1.jpg", "train", "test"), "test/train/x/1.jpg"),
    ],
)
def test_targets(row: Row, place: str) -> None:
    assert target(row) == place


@pytest.mark.parametrize("copy", [False, True])
def test_links_and_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pile: Callable[..., Path], copy: bool
) -> None:
    source = pile({"a/1.jpg": b"one", "a/2.jpg": b"two"})
    rows = [Row("a/1.jpg", "a", "train"), Row("a/2.jpg", "a", "train", kept=False)]
    (tmp_path / "room").mkdir()
    monkeypatch.chdir(tmp_path)
    place(rows, Path("source"), tmp_path / "room", copy)
    (new,) = (tmp_path / "room" / "train" / "a").iterdir()
    assert new.read_bytes() == b"one"
    assert not new.is_symlink()
    assert new.samefile(source / "a" / "1.jpg") is not copy
    source.rename(tmp_path / "moved")
    assert new.read_bytes() == b"one"


def test_where_no_hard_link_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pile: Callable[..., Path]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    source = pile({"a/1.jpg": b"one"})
    (source / "a" / "link.jpg").symlink_to("1.jpg")
    rows = [Row(f"a/{name}", "a", "train") for name in ("1.jpg", "link.jpg")]
    (tmp_path / "hard").mkdir()
    assert place(rows, source, tmp_path / "hard", copy=False) == 0
    assert not (tmp_path / "hard" / "train" / "a" / "link.jpg").is_symlink()  # it would lead elsewhere
    monkeypatch.setattr("training.data.prepare.folder.os.link", fail)
    (tmp_path / "soft").mkdir()
    assert place(rows, source, tmp_path / "soft", copy=False) == 2
    assert (tmp_path / "soft" / "train" / "a" / "1.jpg").readlink() == source / "a" / "1.jpg"


def test_two_files_never_become_one(tmp_path: Path) -> None:
    """An é of one character and one of two are one class; both may hold a photo of that name."""
    rows = [Row(f"{name}/1.jpg", "\xe9", "train", file="1.jpg") for name in ("\xe9", "e\u0301")]
    with pytest.raises(InputError, match=r"would both become 'train/é/1\.jpg'.*rename one"):
        place(rows, tmp_path, tmp_path / "room", copy=False)
