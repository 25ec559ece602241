"""Groups that nobody declared: found in names, colours and times, and not found where there are none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.image import decode_photo
from training.data.grouping import UNSEEN, Look, find_groups, in_words, look, stems
from training.data.photo_groups import groups_in_test, groups_of
from training.data.photos import Photo
from training.data.prepare.pipeline import prepare
from training.data.prepare.settings import PrepareSettings

CLIPS, FRAMES = 12, 8  # of each class
LABELS = [label for label in "ab" for _ in range(CLIPS * FRAMES)]
CLIP = [clip for clip in range(2 * CLIPS) for _ in range(FRAMES)]
FRAME = [frame for _ in range(2 * CLIPS) for frame in range(FRAMES)]
WORDS = [
    a + b for a in ("hill", "lake", "roof", "yard") for b in ("one", "two", "six", "ten", "old", "new")
]


def looks(alike: float) -> list[Look]:
    """Draw colours: those of a clip are `alike`, 0 for not at all."""
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (2 * CLIPS, 3))[CLIP]
    others = rng.integers(0, 256, (len(CLIP), 3))
    mixed = (alike * clips + (1 - alike) * others).astype(np.uint8)
    return [Look(bytes(colour).hex()) for colour in mixed.tolist()]


@pytest.mark.parametrize(
    "name",
    [
        lambda clip, frame: f"V_BIRD_{clip:03}_f{frame:04}.jpg",
        lambda clip, frame: f"clip{clip}-{frame}.jpg",
        lambda clip, frame: f"IMG_{clip + 3000}{f' ({frame})' if frame else ''}.jpg",
        lambda clip, frame: f"IMG_{clip + 1000}_{frame}.JPG",
        lambda clip, frame: f"flight_{clip}/{frame:05}.png",
        lambda clip, frame: f"DJI_{clip:04}.MP4.frame{frame:05}.jpg",
        lambda clip, frame: f"{WORDS[clip]}_{frame:04}.jpg",
        lambda clip, frame: f"film{clip}_mp4-{frame}_jpg.rf.{hash((clip, frame)) % 16**8:08x}.jpg",
        lambda clip, frame: f"20240131_{120000 + clip}_{frame:03}.jpg",
        lambda clip, frame: f"clip_{clip}_frame_{frame // 2}_crop_{frame % 2}.jpg",
    ],
)
def test_ten_ways_to_name_frames_and_copies(name: Callable[[int, int], str]) -> None:
    names = [name(clip, frame) for clip, frame in zip(CLIP, FRAME, strict=True)]
    found = find_groups(names, LABELS, looks(0.8))
    assert all(found.groups)
    assert len(set(found.groups)) == len({*zip(found.groups, CLIP, strict=True)}) == 2 * CLIPS
    assert not found.suspects


def test_copies_of_some_frames_stay_with_their_clip() -> None:
    """`x_f0003 (1)` is a copy of `x_f0003`, whether that was dropped since or not."""
    names = [f"V_{clip:03}_f{frame:04}.jpg" for clip, frame in zip(CLIP, FRAME, strict=True)]
    copied = range(0, len(names), 3 * FRAMES)  # the first frame of every third clip
    more = [names[i].replace(".jpg", " (1).jpg") for i in copied]
    seen, labels = looks(0.8), LABELS + [LABELS[i] for i in copied]
    found = find_groups(names + more, labels, seen + [seen[i] for i in copied]).groups
    assert found[len(names) :] == [found[i] for i in copied]
    assert len(set(found)) == len({*zip(found, CLIP + [CLIP[i] for i in copied], strict=True)})
    assert len(set(found)) == 2 * CLIPS


def test_the_same_names_in_two_classes_are_no_group() -> None:
    names = [f"{i % (CLIPS * FRAMES):03}.jpg" for i in range(len(LABELS))]
    assert not any(find_groups(names, LABELS, looks(0)).groups)


@pytest.mark.parametrize(
    "name",
    [
        "IMG_{0:04}.jpg",
        "{0:03}.jpg",
        "{1}_{0:03}.jpg",
        "{1} ({0}).jpg",
        "{2:012}.jpg",
        "{2}_0a{2:x}d4e.jpg",
        "pexels-photo-{2}.jpg",
        "n{3}44076_{0}.jpg",  # ImageNet's: a number for each kind of thing
        "IMG_202401{4:02}_{2:06}.jpg",  # photos of many days
        "{5}_{0:04}.jpg",  # three cameras
    ],
)
def test_ten_ways_to_number_photos_that_have_nothing_in_common(name: str) -> None:
    cameras = "DSC", "IMG", "PIC"
    names = [
        name.format(i, label, 7919 * i, i % 9, i % 20, cameras[i % 3]) for i, label in enumerate(LABELS)
    ]
    assert not any(find_groups(names, LABELS, looks(0)).groups)


def test_a_counter_beside_clips_is_no_clip() -> None:
    names = [
        f"clip{clip}_{frame}.jpg" if clip % 2 else f"bird_{i}.jpg"
        for i, (clip, frame) in enumerate(zip(CLIP, FRAME, strict=True))
    ]
    found = find_groups(names, LABELS, looks(0.8)).groups
    assert [bool(group) for group in found] == [clip % 2 == 1 for clip in CLIP]


def test_what_is_too_large_for_a_split_is_a_suspicion() -> None:
    """Two clips a class can't be split three ways."""
    few = [i for i in range(len(CLIP)) if CLIP[i] % CLIPS < 2]
    names = [f"clip{CLIP[i]}_{FRAME[i]}.jpg" for i in few]
    found = find_groups(names, [LABELS[i] for i in few], [looks(0.9)[i] for i in few])
    assert not any(found.groups)
    assert set(found.suspects) == {f"{LABELS[i]}/clip{CLIP[i]}" for i in few}


def test_photos_of_one_moment_are_a_group_across_names() -> None:
    times = ["2024:01:31 12:00:00", "2024:01:31 12:00:02", "2024:01:31 12:00:04", "2024:01:31 12:00:30"]
    seen = [Look(taken=time) for time in times] + [UNSEEN] * 20
    names = [f"{word}.jpg" for word in "abcd"] + [f"{i}.jpg" for i in range(20)]
    found = find_groups(names, ["a"] * 24, seen).groups
    assert found[:4] == ["a/taken 2024:01:31 12:00:00"] * 3 + [""]


def test_a_moment_that_is_in_two_clips_makes_them_one() -> None:
    """All of them: also the frames of the second clip that were taken later, or at no known time."""
    names = [f"clip{clip}_{frame}.jpg" for clip in range(30) for frame in range(2)]
    seen = [Look(f"{8 * clip:02x}0000") for clip in range(30) for _ in range(2)]
    for frame in (0, 2):  # the first of the first two clips
        seen[frame] = Look(seen[frame].colour, "2024:01:31 12:00:00")
    found = find_groups(names, ["a"] * 60, seen).groups
    assert found[:4] == ["a/clip0"] * 4
    assert found[4:6] == ["a/clip2"] * 2


def test_one_time_on_every_photo_tells_nothing() -> None:
    """A camera whose clock was never set, or a scanner."""
    seen = [Look(one.colour, "2000:01:01 12:00:00") for one in looks(0)]
    assert not any(find_groups([f"{i}.jpg" for i in range(len(seen))], LABELS, seen).groups)


def test_a_moment_of_half_a_class_is_none() -> None:
    """However alike they are: a split couldn't take them."""
    others = [Look(f"{i:02x}0000") for i in range(20)]
    names = [f"{i}.jpg" for i in range(40)]
    half = [Look("00ff00", "2024:01:31 12:00:00")] * 20
    assert not any(find_groups(names, ["a"] * 40, half + others).groups)
    quarter = half[:10] + [Look("ff0000")] * 10
    found = find_groups(names, ["a"] * 40, quarter + others).groups
    assert found == ["a/taken 2024:01:31 12:00:00"] * 10 + [""] * 30


def test_one_pair_of_colours_cannot_tell() -> None:
    moment = [Look(colour, "2024:01:31 12:00:00") for colour in ("00ff00", "00ff00", "", "", "", "")]
    names = [f"{i}.jpg" for i in range(24)]
    assert not any(find_groups(names, ["a"] * 24, moment + [Look("ff0000")] * 18).groups)


def test_exif_times_are_those_of_the_camera_and_not_of_editing(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0132] = "2025:06:01 09:00:00"  # DateTime: when it was last changed
    exif.get_ifd(0x8769)[0x9003] = "2024:01:31 12:00:00"  # DateTimeOriginal
    for suffix in (".jpg", ".png", ".webp"):
        path = tmp_path / f"x{suffix}"
        Image.new("RGB", (64, 64), (200, 100, 50)).save(path, exif=exif)
        content = path.read_bytes()
        seen = look(content, decode_photo(content))
        assert seen.taken == "2024:01:31 12:00:00"
        assert all(
            abs(a - b) < 8 for a, b in zip(bytes.fromhex(seen.colour), (200, 100, 50), strict=True)
        )


def test_no_time_is_made_of_what_is_none() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    for text in (b"0000:00:00 00:00:00", b"2024:13:45 99:00:00", b"2024:01:31 00:00:00"):
        assert look(b"Exif\0\0" + text + b"\0", pixels).taken == ""


def test_stems_of_a_name() -> None:
    assert [*stems("a/V_015_f0033.jpg")] == ["a/V_015_f0033", "a/V_015", "a/V", "a"]
    assert [*stems("x copy.png")] == ["x"]
    assert [*stems("30000000000_d665db0d81.jpg")] == ["30000000000_d665db0d81"]
    assert [*stems(".jpg")] == [".jpg"]


def test_words_say_what_was_looked_for() -> None:
    assert in_words(["a", "a", "b", ""], "by x", 1).startswith(
        "2 groups (3 photos) by x, the largest 'a' with 2; 1 are in two splits;"
    )
    assert "no groups noticed in names and times" in in_words(["", ""], "noticed in names and times", 0)
    assert "no groups looked for" in in_words([""], "", 0)


def save_clips(folder: Path, clips: int = 6, frames: int = 5) -> None:
    """Save clips of plain skies with noise, each with a colour of its own."""
    rng = np.random.default_rng(0)
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for clip in range(clips):
            sky = rng.integers(60, 200, 3)
            for frame in range(frames):
                pixels = np.clip(sky + rng.normal(0, 30, (48, 48, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / label / f"clip_{clip}_f{7 * frame:04}.jpg")


def test_prepare_keeps_clips_whole_unless_told_not_to(tmp_path: Path) -> None:
    save_clips(tmp_path / "pile")

    def sides(regex: str | None) -> int:
        out = tmp_path / f"out{regex}"
        made = prepare(tmp_path / "pile", out, PrepareSettings(group_regex=regex, prune=False))
        train, test = (
            {(p.parent.name, p.name[:6]) for p in (out / s).rglob("*.jpg")} for s in ("train", "test")
        )
        assert ("12 groups (60 photos) noticed" in made["grouping"]) == (regex is None)
        page = (out / "report.html").read_text()
        assert (">0</b>leaks by copies<" in page) == (regex == "")
        assert (">0</b>leaks<" in page) == (regex is None)
        return len(train & test)

    assert sides(None) == 0
    assert sides("") > 0


def test_a_given_split_through_clips_is_said(tmp_path: Path) -> None:
    save_clips(tmp_path / "pile/train")
    for label in "ab":
        (tmp_path / "pile/test" / label).mkdir(parents=True)
        for path in (tmp_path / "pile/train" / label).glob("*_f0000.jpg"):
            path.rename(tmp_path / "pile/test" / label / path.name)
    made = prepare(tmp_path / "pile", tmp_path / "out", PrepareSettings(prune=False))
    assert "12 are in two splits" in made["grouping"]
    assert any("12 leaks between the splits remain (12 group)" in text for text in made["warnings"])


def test_training_and_evaluation_see_the_same_groups(tmp_path: Path) -> None:
    save_clips(tmp_path / "train")
    photos = [
        Photo(path, "ab".index(path.parent.name)) for path in sorted(tmp_path.rglob("train/*/*.jpg"))
    ]
    groups = groups_of(tmp_path, photos, None)
    assert set(groups) == {f"{label}/clip_{clip}" for clip in range(6) for label in "ab"}
    assert len(set(groups_of(tmp_path, photos, ""))) == len(photos)
    (tmp_path / "test/a").mkdir(parents=True)
    (tmp_path / "train/a/clip_3_f0007.jpg").rename(tmp_path / "test/a/clip_3_f0007.jpg")
    assert groups_in_test(tmp_path, set(groups), None) == {"a/clip_3"}
    assert groups_in_test(tmp_path, {"clip"}, r"^(clip)") == {"clip"}
    assert groups_in_test(tmp_path, {"clip"}, "nothing") == set()
