"""Which photos a folder holds: one answer for everybody who asks."""

import io
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from loadtest.photos import photos_to_send
from model.errors import InputError
from model.photo_files import CIRCLE, find_files, find_photos, folders_in, spread
from training.data.manifest import read_manifest
from training.data.photos import list_unknown, read_split
from training.data.prepare.pipeline import prepare
from training.data.prepare.settings import PrepareSettings


@pytest.fixture
def odd_tree(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    """`train` of two classes with everything that folders of photos have been seen to hold."""
    avif, png = io.BytesIO(), io.BytesIO()
    Image.open(io.BytesIO(jpeg(1))).save(avif, "AVIF")
    Image.open(io.BytesIO(jpeg(2))).save(png, "PNG")
    files = {
        "bird/1.avif": avif.getvalue(),
        "bird/wrong.jpg": png.getvalue(),
        "bird/no suffix": jpeg(3),
        "bird/UPPER.JPG": jpeg(4),
        "bird/day 1/morning/5.jpg": jpeg(5),
        "bird/notes.txt": b"words",
        "bird/page.jpg": b"<html>no photo</html>",
        "bird/empty.jpg": b"",
        "bird/._1.jpg": jpeg(6),
        "bird/.ipynb_checkpoints/1.jpg": jpeg(7),
        "bird/@eaDir/1.jpg": jpeg(8),
        "bird/Thumbs.db": jpeg(9),
        "__MACOSX/1.jpg": jpeg(10),
        "@eaDir/1.jpg": jpeg(11),
        "drone/12.jpg": jpeg(12),
        "drone/desktop.ini": b"words",
    }
    train, elsewhere = tmp_path / "data" / "train", tmp_path / "elsewhere"
    for name, content in files.items():
        (train / name).parent.mkdir(parents=True, exist_ok=True)
        (train / name).write_bytes(content)
    elsewhere.mkdir()
    (elsewhere / "13.jpg").write_bytes(jpeg(13))
    (elsewhere / "14.jpg").write_bytes(jpeg(14))
    (train / "drone" / "linked").symlink_to(elsewhere)
    (train / "drone" / "14.jpg").symlink_to(elsewhere / "14.jpg")
    (elsewhere / "back").symlink_to(train)
    (train / "drone" / "up").symlink_to(tmp_path)  # above the folder that is searched
    (train / "drone" / "gone.jpg").symlink_to("nowhere")
    (train / "drone" / "self").symlink_to("self")
    os.mkfifo(train / "drone" / "pipe.jpg")
    return train


NAMES = st.sampled_from(
    ["a", "b.jpg", "é", "e\u0301", " x ", "-n", "[/b]", "1\n2", ".hidden", "Thumbs.db"]
)
PLACES = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@given(files=st.sets(PLACES, max_size=8), links=st.lists(st.tuples(PLACES, PLACES), max_size=4))
@settings(deadline=None, max_examples=60)
def test_every_file_of_any_tree_is_found_once(files: set[str], links: list[tuple[str, str]]) -> None:
    """In its own place, and in those that links lead to; what isn't found is named with a reason."""
    with TemporaryDirectory() as folder:
        root = Path(folder) / "tree"
        root.mkdir()
        for name in files:
            with suppress(OSError):  # of a folder, or below a file
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).touch()
        for name, target in links:
            with suppress(OSError):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).symlink_to(root / target)
        found = find_files(root)
        assert found == find_files(root)
        assert len(set(found.files)) == len(found.files)
        named = {*found.files, *found.skipped}
        assert len(named) == len(found.files) + len(found.skipped)
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            parts = name.split("/")
            above = ["/".join(parts[:n]) for n in range(1, len(parts))]
            if any(a in found.skipped for a in above):
                continue  # its folder was left out, as was said
            assert path.is_dir() or name in named
            hidden = parts[-1] in (".hidden", "Thumbs.db")
            assert (found.skipped.get(name) == "hidden") == hidden
            if path.is_file() and not hidden:
                assert name in found.files


PHOTOS = {
    *("bird/1.avif", "bird/wrong.jpg", "bird/no suffix", "bird/UPPER.JPG", "bird/day 1/morning/5.jpg"),
    *("drone/12.jpg", "drone/linked/13.jpg", "drone/linked/14.jpg", "drone/14.jpg"),
}
LEFT_OUT = {
    **dict.fromkeys(
        ("bird/._1.jpg", "bird/.ipynb_checkpoints", "bird/@eaDir", "bird/Thumbs.db"), "hidden"
    ),
    **dict.fromkeys(("@eaDir", "__MACOSX", "drone/desktop.ini"), "hidden"),
    **dict.fromkeys(("drone/linked/back", "drone/up"), "link in a circle"),
    **dict.fromkeys(("drone/gone.jpg", "drone/self"), "broken link"),
    "drone/pipe.jpg": "neither a file nor a folder",
}


def test_all_who_look_for_photos_find_the_same(
    odd_tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def names(paths: list[Path]) -> set[str]:
        return {path.relative_to(odd_tree).as_posix() for path in paths}

    assert names(find_photos(odd_tree)) == PHOTOS  # rollouts' comparisons of versions
    assert "2 broken link, 2 link in a circle" in caplog.text
    split = read_split(odd_tree.parent, "train")  # training and evaluation
    assert names([photo.path for photo in split.photos]) == PHOTOS
    assert split.classes == ("bird", "drone")
    left_out = {s.path.relative_to(odd_tree).as_posix(): s.reason for s in split.skipped}
    assert left_out.items() > LEFT_OUT.items()
    assert set(left_out) - set(LEFT_OUT) == {"bird/notes.txt", "bird/page.jpg", "bird/empty.jpg"}
    assert names(list_unknown(odd_tree)[1]) == PHOTOS
    sent = photos_to_send(odd_tree)  # load tests
    assert sorted(sent.files) == sorted((odd_tree / name).read_bytes() for name in PHOTOS)
    assert sent.classes == {"bird", "drone"}
    settings = PrepareSettings(keep_near=True, prune=False)
    summary = prepare(odd_tree, tmp_path / "clean", settings, workers=1)
    rows = {row.path: row for row in read_manifest(tmp_path / "clean" / "manifest.csv")}
    copies = {path for path, row in rows.items() if row.other}  # a link and its photo are one
    assert {path for path, row in rows.items() if row.kept} | copies == PHOTOS
    named = {path for path, row in rows.items() if not row.kept} | set(summary["unentered"])
    assert named > set(LEFT_OUT)


def test_files_come_folder_by_folder(tmp_path: Path) -> None:
    for name in ("b/1", "a b/1", "a/c/2", "a/1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_files(tmp_path).files == ["a/1", "a/c/2", "a b/1", "b/1"]
    assert folders_in(tmp_path) == ["a", "a b", "b"]


def test_a_link_back_up_is_no_class(tmp_path: Path) -> None:
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "back").symlink_to(tmp_path)
    assert folders_in(tmp_path / "data") == ["a"]


def test_no_folder_is_searched_twice(tmp_path: Path) -> None:
    """Ten folders that each link to all others hold ten photos, not ten to the power of ten."""
    for n in range(10):
        (tmp_path / "class" / f"{n}").mkdir(parents=True)
        (tmp_path / "class" / f"{n}" / f"{n}.jpg").touch()
        for other in range(10):
            (tmp_path / "class" / f"{n}" / f"to {other}").symlink_to(tmp_path / "class" / f"{other}")
    found = find_files(tmp_path)
    assert found.files == [f"class/{n}/{n}.jpg" for n in range(10)]
    assert len(found.skipped_folders) == 100
    assert found.skipped_folders["class/3/to 4"] == "the same folder as 'class/4'"
    assert found.skipped_folders["class/3/to 3"] == CIRCLE


def test_a_few_are_spread_evenly() -> None:
    photos = [Path(str(n)) for n in range(10)]
    assert spread(photos, 4) == [Path(n) for n in "0369"]
    assert spread(photos, 20) == spread(photos, None) == photos


def test_a_few_photos_of_many_files(tmp_path: Path) -> None:
    """What is no photo among those picked is made up for."""
    for n in range(10):
        (tmp_path / f"{n}.jpg").write_bytes(b"\xff\xd8\xff")
    assert [path.name for path in find_photos(tmp_path, 4)] == ["0.jpg", "3.jpg", "6.jpg", "9.jpg"]
    (tmp_path / "3.jpg").write_text("words")
    assert [path.name for path in find_photos(tmp_path, 4)] == ["0.jpg", "4.jpg", "7.jpg"]


def test_no_photos_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("words")
    (tmp_path / ".b.jpg").touch()
    with pytest.raises(InputError, match=r"no photos under .* \(1 other files, 1 hidden or broken\)"):
        find_photos(tmp_path)
    with pytest.raises(InputError, match=r"a\.jpg' can't be read \(Not a directory\)"):
        find_photos(tmp_path / "a.jpg")


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open/1", "locked/2"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    scandir = os.scandir

    def locked(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("model.photo_files.os.scandir", locked)
    found = find_files(tmp_path)
    assert found.files == ["open/1"]
    assert found.skipped == {"locked": "can't be read (Permission denied)"}
