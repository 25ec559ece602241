"""From a pile to a data set: what is promised of the whole."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import FlyobjError, InputError
from training.data.manifest import Reason, read_manifest
from training.data.photos import read_split
from training.data.prepare import folder as folders
from training.data.prepare.pipeline import merge, prepare, prepare_shard, report
from training.data.prepare.settings import PrepareSettings

Photos = Callable[..., dict[str, bytes]]
MakePile = Callable[[dict[str, bytes]], Path]
NASTY = ("a b", 'q"uote', "new\nline", "Möwe 鳥", "<b>&amp;", "$x_1$", "bad\udcff")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_training_reads_it_as_it_is(pile: MakePile, photos: Photos, tmp_path: Path) -> None:
    files = photos("a/", 10) | photos("b/", 6)
    source = pile({**files, "a/empty.jpg": b"", "b/again.jpg": files["b/2.jpg"]})
    before = state(source)
    summary = prepare(source, tmp_path / "out", PrepareSettings(), workers=1)
    assert state(source) == before
    assert (summary["files"], summary["kept"]) == (18, 16)
    assert summary["classes"] == {
        "a": {"train": 8, "test": 2, "dropped": 1},
        "b": {"train": 5, "test": 1, "dropped": 1},
    }
    train, test = (read_split(tmp_path / "out", split) for split in ("train", "test"))
    assert (len(train.photos), len(test.photos), train.skipped) == (13, 3, ())
    kept = {row.path for row in read_manifest(tmp_path / "out" / "manifest.csv") if row.kept}
    inodes = {path.stat().st_ino: path.relative_to(source).as_posix() for path in source.rglob("*.*")}
    assert {inodes[p.path.stat().st_ino] for p in (*train.photos, *test.photos)} == kept


def test_same_input_and_seed_same_bytes(pile: MakePile, photos: Photos, tmp_path: Path) -> None:
    source = pile(photos("a/", 50) | photos("b/", 40))
    for name, workers in (("one", 1), ("two", 2)):
        prepare(source, tmp_path / name, PrepareSettings(), workers=workers)
    for name in ("manifest.csv", "summary.json", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    prepare(source, tmp_path / "other", PrepareSettings(seed=1), workers=1)
    other = (tmp_path / "other" / "manifest.csv").read_bytes()
    assert other != (tmp_path / "one" / "manifest.csv").read_bytes()


def test_shards_merge_to_what_one_run_makes(pile: MakePile, photos: Photos, tmp_path: Path) -> None:
    files = photos("a/", 30) | photos("b/", 30)
    source = pile({**files, "a/copy.jpg": files["a/3.jpg"], "b/wrong.jpg": files["a/4.jpg"]})
    settings = PrepareSettings(group_regex=r"^(\d)")
    prepare(source, tmp_path / "whole", settings, workers=1)
    parts = [tmp_path / f"part{i}" for i in (1, 2, 3)]
    seen = [prepare_shard(source, p, settings, f"{i}/3", workers=1) for i, p in enumerate(parts, 1)]
    assert sum(seen) == 62
    assert all(seen)
    merge([parts[2], parts[0], parts[1]], tmp_path / "merged")
    for name in ("manifest.csv", "summary.json", "report.html"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    links = {p.relative_to(tmp_path / "merged") for p in (tmp_path / "merged").rglob("*.jpg")}
    assert links == {p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*.jpg")}


def test_shards_that_do_not_belong_together(pile: MakePile, photos: Photos, tmp_path: Path) -> None:
    source = pile(photos("a/", 5) | photos("b/", 5))
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    prepare_shard(source, one, PrepareSettings(), "1/2", workers=1)
    prepare_shard(source, two, PrepareSettings(), "2/2", workers=1)
    prepare_shard(source, other, PrepareSettings(seed=1), "2/2", workers=1)
    for shards, message in (
        ([one], r"missing: \['2/2'\]"),
        ([one, two, two], r"given twice: \['2/2'\]"),
        ([one, other], "differ in source, settings"),
        ([one, source], r"has no shard\.json; .*--shard I/N"),
        ([], "no shard given; give the folders made with --shard 1/N to N/N"),
    ):
        with pytest.raises(InputError, match=message):
            merge(shards, tmp_path / "merged")
    document = json.loads((two / "shard.json").read_text())
    (two / "shard.json").write_text(json.dumps({**document, "colour": "red"}))
    with pytest.raises(InputError, match=r"isn't as it was written .*colour"):
        merge([one, two], tmp_path / "merged")
    (two / "shard.json").write_text(json.dumps(document))
    source.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="source' isn't there; mount it where it was for the shards"):
        merge([one, two], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_shards_that_are_none(pile: MakePile, photos: Photos, tmp_path: Path, part: str) -> None:
    source = pile(photos("a/", 1) | photos("b/", 1))
    with pytest.raises(InputError, match=r"isn't I/N with I from 1 to N"):
        prepare_shard(source, tmp_path / "out", PrepareSettings(), part)
    assert names(tmp_path) == ["source"]


def test_names_with_anything_in_them(pile: MakePile, photos: Photos, tmp_path: Path) -> None:
    files = photos("a/", len(NASTY)) | photos("b\nü/", len(NASTY))
    named = {
        f"{path.rpartition('/')[0]}/{n}.jpg": c
        for (path, c), n in zip(files.items(), NASTY * 2, strict=True)
    }
    source = pile({**named, "a/<i>.jpg": b"<script>alert(1)</script>"})
    prepare(source, tmp_path / "out", PrepareSettings(), workers=1)
    rows = read_manifest(tmp_path / "out" / "manifest.csv")
    assert {row.path for row in rows if row.kept} == set(named)
    assert len(read_split(tmp_path / "out", "train").photos) == 2 * len(NASTY) - 2
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;b&gt;" in page


def test_leaks_of_a_given_split_are_listed(pile: MakePile, photos: Photos, tmp_path: Path) -> None:
    files = (
        photos("train/a/x_", 5)
        | photos("train/b/y_", 5)
        | photos("test/a/z_", 3)
        | photos("test/b/y_", 2)
    )
    source = pile({**files, "train/a/v_1.jpg": files["test/a/z_1.jpg"]})
    summary = prepare(source, tmp_path / "out", PrepareSettings(group_regex="^(.)_"), workers=1)
    assert summary["split"] == "given"
    assert [(k["kind"], k["open"], k["group"]) for k in summary["leaks"]] == [
        ("exact duplicate", False, ""),
        ("group", True, "y"),
    ]
    assert any("1 leaks between the splits remain" in w for w in summary["warnings"])
    assert (tmp_path / "out" / "test" / "a" / "z_1.jpg").exists()
    assert not (tmp_path / "out" / "train" / "a" / "v_1.jpg").exists()


def test_a_class_that_keeps_nothing(pile: MakePile, photos: Photos, tmp_path: Path) -> None:
    source = pile({**photos("a/", 3), "b/1.jpg": b"", "b/2.jpg": b"words"})
    with pytest.raises(InputError, match=r"class 'b' keeps no photo \(1 zero bytes, 1 not an image\)"):
        prepare(source, tmp_path / "out", PrepareSettings(), workers=1)
    assert names(tmp_path) == ["source"]


def test_a_group_that_fits_no_name(pile: MakePile, photos: Photos, tmp_path: Path) -> None:
    source = pile(photos("a/", 3) | photos("b/", 3))
    with pytest.raises(InputError, match=r"'clip' matches none of 6 file names, such as '0\.jpg'"):
        prepare(source, tmp_path / "out", PrepareSettings(group_regex="clip"), workers=1)


@pytest.mark.parametrize("out", ["source", "source/a/out", "."])
def test_out_and_source_in_each_other(pile: MakePile, photos: Photos, tmp_path: Path, out: str) -> None:
    source = pile(photos("a/", 3) | photos("b/", 3))
    with pytest.raises(InputError, match="contain one another"):
        prepare(source, tmp_path / out, PrepareSettings())


def test_a_disk_that_is_full_half_way(
    pile: MakePile, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pile(photos("a/", 3) | photos("b/", 3))
    copyfile, copied = folders.shutil.copyfile, []

    def full(one: Path, two: Path) -> None:
        copied.append(two)
        if len(copied) == 4:
            raise OSError(28, "No space left on device")
        copyfile(one, two)

    monkeypatch.setattr(folders.shutil, "copyfile", full)
    with pytest.raises(FlyobjError, match="No space left on device") as error:
        prepare(source, tmp_path / "out", PrepareSettings(), copy=True, workers=1)
    assert error.value.exit_code == 1
    assert names(tmp_path) == ["source"]


def test_report_is_made_again_as_it_was(pile: MakePile, photos: Photos, tmp_path: Path) -> None:
    source = pile({**photos("a/", 3), **photos("b/", 12), "b/x.jpg": b"dear\n"})
    summary = prepare(source, tmp_path / "out", PrepareSettings(), workers=1)
    page = (tmp_path / "out" / "report.html").read_text()
    (tmp_path / "out" / "report.html").unlink()
    assert report(tmp_path / "out").read_text() == page
    assert page.count("data:image/jpeg") == 15
    assert 'src="http' not in page
    assert (page.count(">dear·<"), page.count(">gone<")) == (1, 0)  # in place of a photo
    assert "out of balance" in summary["warnings"][0]
    assert (
        "out of balance: &#39;b&#39; has 10 training photos, &#39;a&#39; 2 (5.0 times as many)" in page
    )
    for path in source.rglob("*.jpg"):
        path.unlink()
    gone = report(tmp_path / "out").read_text()
    assert "data:image/jpeg" not in gone
    assert (gone.count(">dear·<"), gone.count(">gone<")) == (0, 16)
    with pytest.raises(InputError, match=r"has no summary\.json"):
        report(source)


def test_report_shows_clusters_and_reasons(pile: MakePile, photos: Photos, tmp_path: Path) -> None:
    files = photos("a/", 100) | photos("b/", 20)
    (source := pile(files)).joinpath("a", "empty.jpg").touch()
    summary = prepare(source, tmp_path / "out", PrepareSettings(prune_share=0.0), workers=1)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg role=") == 6
    assert f"{Reason.EMPTY} <span" in page
    assert {c["class_name"] for c in summary["clusters"]} == {"a"}
    bare = prepare(source, tmp_path / "bare", PrepareSettings(prune=False), workers=1)
    assert bare["clusters"] == []
    assert "Pruning was left out" in (tmp_path / "bare" / "report.html").read_text()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_side": 0}, "min_side is 0; give a whole number from 1"),
        ({"near": 16}, "near is 16; give a whole number from 0 to 15"),
        ({"clusters": 1}, "clusters is 1; give a whole number from 2 to 10"),
        ({"seed": -1}, "seed is -1"),
        ({"test_share": 1.0}, r"test_share is 1\.0; give a share between 0 and 1"),
        ({"test_share": float("nan")}, "test_share is nan"),
        ({"prune_share": 0.51}, r"prune_share is 0\.51; give a share from 0 to 0\.5"),
        ({"group_regex": "("}, r"group_regex '\(' isn't a regular expression"),
    ],
)
def test_settings_that_do_not_do(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PrepareSettings(**wrong)
