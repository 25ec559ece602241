"""Every file is found once, and read as what its folders say."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import InputError
from training.data.manifest import Reason, Row
from training.data.prepare.walk import walk

MakePile = Callable[[dict[str, bytes]], Path]


def test_class_folders(pile: MakePile) -> None:
    tree = walk(pile({"b/1.jpg": b"", "a/day 1/2.jpg": b"", "a/.x": b"", "readme": b"", ".git/x": b""}))
    assert tree.rows == [
        Row("a/.x", kept=False, reason=Reason.HIDDEN),
        Row("a/day 1/2.jpg", "a", file="day 1/2.jpg"),
        Row("b/1.jpg", "b", file="1.jpg"),
        Row("readme", kept=False, reason=Reason.OUTSIDE),
    ]
    assert (tree.classes, tree.splits) == (("a", "b"), {})
    assert tree.unentered == {".git": "hidden"}


def test_a_given_split(pile: MakePile) -> None:
    tree = walk(pile({"train/a/1.jpg": b"", "train/b/1.jpg": b"", "test/a/2.jpg": b"", "test/x": b""}))
    assert [(f.path, f.class_name, f.split, f.reason) for f in tree.rows] == [
        ("test/a/2.jpg", "a", "test", None),
        ("test/x", "", "", Reason.OUTSIDE),
        ("train/a/1.jpg", "a", "train", None),
        ("train/b/1.jpg", "b", "train", None),
    ]
    assert (tree.classes, tree.splits) == (("a", "b"), {"train": "train", "test": "test"})


def test_validation_without_test_stays_and_the_rest_is_split(pile: MakePile) -> None:
    tree = walk(pile({"train/a/1.jpg": b"", "train/b/1.jpg": b"", "val/a/2.jpg": b""}))
    assert [(f.path, f.split) for f in tree.rows] == [
        ("train/a/1.jpg", ""),
        ("train/b/1.jpg", ""),
        ("val/a/2.jpg", "validation"),
    ]


def test_train_alone_is_no_split(pile: MakePile) -> None:
    tree = walk(pile({"train/a/1.jpg": b"", "train/b/1.jpg": b""}))
    assert [(f.class_name, f.split) for f in tree.rows] == [("a", ""), ("b", "")]
    assert tree.splits == {}


def test_a_class_called_train(pile: MakePile) -> None:
    tree = walk(pile({"train/1.jpg": b"", "plane/1.jpg": b""}))
    assert tree.classes == ("plane", "train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no class folder, at least 2"),
        ({"photo.jpg": b""}, "has no class folder, at least 2"),
        ({"a/1.jpg": b""}, r"has one class folder \['a'\], at least 2"),
        (
            {"train/a/1.jpg": b"", "test/a/1.jpg": b""},
            r"\(in \['train', 'test'\]\) has one class folder",
        ),
        (
            {"a/1.jpg": b"", "b\udcff/1.jpg": b""},
            r"class folder '.*b\\udcff' has a name that isn't UTF-8",
        ),
        (
            {"train/a/1.jpg": b"", "train/b/1.jpg": b"", "test/1.jpg": b""},
            r"\['train'\] next to \['test'\] \('test' has no class folders\); move away",
        ),
        ({"train/a/1.jpg": b"", "plane/a/1.jpg": b""}, r"\['train'\] next to \['plane'\]; move away"),
        ({"val/a/1.jpg": b"", "test/b/1.jpg": b""}, r"has \['val', 'test'\] and no train; name"),
        ({"Train/a/1.jpg": b"", "training/a/1.jpg": b""}, "are both called train; move the photos"),
        ({"bird/1.jpg": b"", "Bird/1.jpg": b""}, "folders 'Bird' and 'bird', one class by the looks"),
        ({"train/a/1.jpg": b"", "test/a /1.jpg": b""}, "folders 'a' and 'a ', one class by the looks"),
    ],
)
def test_sources_that_do_not_do(pile: MakePile, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(InputError, match=message):
        walk(pile(files))


def test_no_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere' can't be read \(No such file or directory\)"):
        walk(tmp_path / "nowhere")


@pytest.mark.parametrize("split", ["", "test/"])
def test_a_class_whose_link_is_broken_is_not_left_out(pile: MakePile, split: str) -> None:
    other = split and "train/"
    source = pile({f"{other or split}{name}/1.jpg": b"" for name in "ab"} | {f"{split}a/2.jpg": b""})
    (source / f"{split}c").symlink_to("elsewhere")
    with pytest.raises(InputError, match=f"{split}c' is a broken link .*put its photos back there"):
        walk(source)


def test_what_is_hidden_or_broken_has_a_row_or_is_named(pile: MakePile) -> None:
    source = pile({"a/1.jpg": b"", "a/@eaDir/1.jpg": b"", "b/Thumbs.db": b"", "b/2.jpg": b""})
    (source / "b" / "gone.jpg").symlink_to("nowhere")
    (source / "a" / "up").symlink_to(source)
    tree = walk(source)
    assert [(f.path, f.reason, f.detail) for f in tree.rows] == [
        ("a/1.jpg", None, ""),
        ("b/2.jpg", None, ""),
        ("b/Thumbs.db", Reason.HIDDEN, ""),
        ("b/gone.jpg", Reason.UNOPENED, "broken link"),
    ]
    assert tree.unentered == {"a/@eaDir": "hidden", "a/up": "link in a circle"}
