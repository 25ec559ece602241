"""Which copy stays, and what goes altogether."""

from collections.abc import Iterable

from training.data.manifest import Reason, Row
from training.data.prepare.clean import clean
from training.data.prepare.settings import PrepareSettings


def photo(path: str, sha: str, phash: int = 0, side: int = 100, split: str = "", size: int = 10) -> Row:
    """A row of the class that the path starts with; `phash` has its own number where it isn't given."""
    digits = f"{phash:064x}" if phash else (sha * 64)[:64].encode().hex()[:64]
    return Row(path, path.split("/")[0], split, "", sha, digits, size, side, side, "JPEG")


def verdicts(rows: Iterable[Row]) -> dict[str, tuple[Reason, str]]:
    return {row.path: (row.reason, row.other) for row in rows if row.reason}


def test_too_small() -> None:
    rows = [photo("a/1", "1", side=31), photo("a/2", "2", side=32), photo("a/3", "3"), photo("a/4", "4")]
    rows[2].width = rows[3].height = 31  # of 100: each side counts
    clean(rows, PrepareSettings(min_side=32))
    assert verdicts(rows) == dict.fromkeys(("a/1", "a/3", "a/4"), (Reason.TOO_SMALL, ""))
    assert "31 x 31 pixels, at least 32" in rows[0].detail


def test_the_first_of_exact_duplicates_stays() -> None:
    rows = [photo("a/2", "x"), photo("a/1", "x"), photo("a/3", "x")]
    clean(rows, PrepareSettings())
    assert verdicts(rows) == dict.fromkeys(("a/2", "a/3"), (Reason.DUPLICATE, "a/1"))


def test_the_copy_in_test_stays() -> None:
    rows = [photo("a/1", "x", split="train"), photo("a/2", "x", split="test")]
    clean(rows, PrepareSettings())
    assert verdicts(rows) == {"a/1": (Reason.DUPLICATE, "a/2")}


def test_the_same_photo_under_two_classes_goes_altogether() -> None:
    rows = [photo("a/1", "x"), photo("a/2", "x"), photo("b/1", "x"), photo("b/2", "y")]
    clean(rows, PrepareSettings())
    assert verdicts(rows) == {
        "a/1": (Reason.CONFLICT, "b/1"),
        "a/2": (Reason.CONFLICT, "b/1"),
        "b/1": (Reason.CONFLICT, "a/1"),
    }


def test_nearly_the_same_photo_under_two_classes_goes_too() -> None:
    far = (1 << 200) - 1
    rows = [photo("a/1", "1", far), photo("b/1", "2", far ^ 7), photo("b/2", "3", far << 50)]
    clean(rows, PrepareSettings())
    assert verdicts(rows) == {"a/1": (Reason.CONFLICT, "b/1"), "b/1": (Reason.CONFLICT, "a/1")}


def test_a_near_copy_of_a_photo_under_two_classes_goes_with_it() -> None:
    far = (1 << 200) - 1
    rows = [photo("a/1", "x", far), photo("b/1", "x", far), photo("a/2", "y", far ^ 1)]
    clean(rows, PrepareSettings())
    assert {row.reason for row in rows} == {Reason.CONFLICT}


def test_the_largest_of_near_duplicates_stays() -> None:
    far = (1 << 200) - 1
    rows = [photo("a/1", "1", far, side=50), photo("a/2", "2", far ^ 1), photo("a/3", "3", far ^ 3)]
    pairs = clean(rows, PrepareSettings())
    assert verdicts(rows) == dict.fromkeys(("a/1", "a/3"), (Reason.NEAR, "a/2"))
    assert len(pairs) == 3


def test_a_chain_is_not_dropped_as_a_whole() -> None:
    far, step = (1 << 200) - 1, (1 << 12) - 1
    rows = [
        photo("a/1", "1", far),
        photo("a/2", "2", far ^ step),
        photo("a/3", "3", far ^ step << 12 ^ step),
    ]
    clean(rows, PrepareSettings(near=12))
    assert verdicts(rows) == {"a/2": (Reason.NEAR, "a/1")}  # 1 and 3 differ in 24 bits


def test_near_duplicates_can_be_kept() -> None:
    far = (1 << 200) - 1
    rows = [photo("a/1", "1", far), photo("a/2", "2", far ^ 1)]
    assert len(clean(rows, PrepareSettings(keep_near=True))) == 1
    assert [(row.kept, row.reason) for row in rows] == [(True, None), (True, Reason.NEAR)]


def test_photos_without_structure_are_no_copies_of_each_other() -> None:
    rows = [photo("a/1", "1"), photo("b/1", "2")]
    for row in rows:
        row.phash = ""
    clean(rows, PrepareSettings())
    assert verdicts(rows) == {}
