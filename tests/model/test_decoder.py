"""What decoding a photo may cost, measured: CPU time and memory of the process that does it."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.reliability.corpus import encode
from benchmarks.reliability.costly_photos import PHOTOS
from model import decoder
from model.decoding_cost import declared_size, expected_s, is_cheap
from model.errors import PhotoTooCostly, PhotoTooSlow, TooBusy, UnsupportedFormat
from model.formats import FORMATS, format_of
from model.image import decode_here, decode_photo
from model.limits import DEFAULT_LIMITS, PhotoLimits

# In processes of their own, as the system counts what all children of a process have taken.
_MEASURE = """
import json, os, resource, sys, time
from pathlib import Path
from model import decoder
from model.errors import PhotoError
from model.image import decode_photo
for path in sys.argv[1:]:
    if pid := os.fork():
        os.waitpid(pid, 0)
        continue
    content = Path(path).read_bytes()
    try:
        answer = str(decode_photo(content, at_least=224).shape)
    except PhotoError as error:
        answer = type(error).__name__
    decoder.end_idle()
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    took = child.ru_utime + child.ru_stime + time.process_time()
    print(json.dumps([answer, took, (own + child.ru_maxrss) / 1024]), flush=True)
    os._exit(0)
"""
TOO_COSTLY = (  # on any machine; of others a fast one may answer some
    "TIFF, tags that share bytes",
    "TIFF, tags that share numbers",
    "GIF, 8 MB of comments",
    "BMP, ends of lines",
    "JPEG, Exif that shares a value",
    "JPEG, index that shares a value",
)
SLOW = (
    "TIFF, tiny tiles",
    "PNG, 1.5 million chunks",
    "PNG, a byte in each IDAT",
    "GIF, 2 million comments",
    "BMP, runs of a pixel",
    "JPEG, 19 MB of comments",
)
WITHIN = ("TIFF, strips of a row", "PNG, 49 MP", "PNG, 60 large zTXt", "JPEG, 19 MB of tables")


@pytest.fixture
def no_child() -> Iterator[None]:
    decoder.end_idle()
    yield
    decoder.end_idle()


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "decoder_process.py" in " ".join(p.cmdline())]


@pytest.mark.slow
def test_no_photo_costs_more_than_two_seconds_or_a_gibibyte(tmp_path: Path) -> None:
    """Beside what a small photo costs, whose time is the start of the process that decodes."""
    photos = {kind: PHOTOS[kind]() for kind in (*TOO_COSTLY, *SLOW, *WITHIN)}
    photos |= {f"{size}": encode(Image.new("RGB", size), "PNG") for size in ((256, 256), (6000, 4000))}
    files = []
    for i, photo in enumerate(photos.values()):
        files.append(tmp_path / str(i))
        files[-1].write_bytes(photo)
    command = [sys.executable, "-c", _MEASURE, *map(str, files)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows: dict[str, Any] = dict(zip(photos, map(json.loads, lines), strict=True))
    start_s = rows["(256, 256)"][1]
    for kind, (answer, cpu_s, mib) in rows.items():
        assert cpu_s - start_s < 2, kind
        assert mib < 1024, kind
        if kind in TOO_COSTLY:
            assert answer in ("PhotoTooCostly", "PhotoTooSlow"), kind
    assert rows["(6000, 4000)"][0] == "(4000, 6000, 3)"


def test_49_megapixels_fit_into_the_memory() -> None:
    """On a slow machine, too, given the time."""
    assert decode_photo(PHOTOS["PNG, 49 MP"](), PhotoLimits(max_cpu_s=10)).shape == (7000, 7000, 3)


@pytest.mark.parametrize("kind", SLOW)
def test_what_takes_longer_than_it_may_is_refused(kind: str) -> None:
    """With a third of the usual time, so that it is refused on a fast machine, too."""
    with pytest.raises(PhotoTooSlow, match=r"more than 0.5 s of CPU"):
        decode_photo(PHOTOS[kind](), PhotoLimits(max_cpu_s=0.5))


@pytest.mark.slow
def test_the_next_photo_is_decoded_after_one_that_was_too_costly() -> None:
    limits = PhotoLimits(max_cpu_s=0.1)
    png = encode(Image.linear_gradient("L"), "PNG")
    expected = decode_photo(png)
    for kind in ("BMP, ends of lines", "GIF, 8 MB of comments"):
        with pytest.raises(PhotoTooSlow, match=r"more than 0.1 s of CPU to decode.*send a smaller one"):
            decode_photo(PHOTOS[kind](), limits)
        assert np.array_equal(decode_photo(png, limits), expected)
    with pytest.raises(PhotoTooCostly, match="more than 768 MiB of memory"):
        # A busy machine takes over 1.5 s to touch so much memory; both limits are tried above.
        decode_photo(PHOTOS["TIFF, tags that share bytes"](), PhotoLimits(max_cpu_s=10))
    assert np.array_equal(decode_photo(png), expected)


@pytest.mark.usefixtures("no_child")
@pytest.mark.parametrize("harm", ["it died", "its memory is full"])
def test_what_an_earlier_photo_left_costs_no_other(harm: str) -> None:
    png = encode(Image.linear_gradient("L"), "PNG")
    expected = decode_photo(png)
    (child,) = children()
    if harm == "it died":
        child.kill()
        child.wait()
    else:
        full = child.memory_info().vms
        child.rlimit(psutil.RLIMIT_AS, (full, full))
    assert np.array_equal(decode_photo(png), expected)
    (other,) = children()
    assert other.pid != child.pid


@pytest.mark.usefixtures("no_child")
def test_a_photo_that_comes_too_late_costs_its_child() -> None:
    png = encode(Image.linear_gradient("L"), "PNG")
    expected = decode_photo(png)
    (child,) = children()
    child.suspend()
    with pytest.raises(TooBusy, match=r"takes more than 0.2 s to decode beside what else runs"):
        decode_photo(png, PhotoLimits(max_wall_s=0.2))
    assert np.array_equal(decode_photo(png), expected)


@pytest.mark.usefixtures("no_child")
def test_ctrl_c_is_the_parents_business() -> None:
    """A terminal sends it to both."""
    png = encode(Image.linear_gradient("L"), "PNG")
    decode_photo(png)
    (child,) = children()
    child.send_signal(signal.SIGINT)
    decode_photo(png)
    assert children() == [child]


@pytest.mark.usefixtures("no_child")
def test_no_more_children_wait_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    png = encode(Image.linear_gradient("L"), "PNG")
    expected = decode_photo(png)
    (busy,) = children()
    busy.suspend()
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(decode_photo, png) for _ in range(2)]
        wait(answers, return_when=FIRST_COMPLETED)  # the other one has the child that sleeps
        busy.resume()
        for answer in answers:
            assert np.array_equal(answer.result(), expected)
    (left,) = children()
    assert left != busy


@pytest.mark.usefixtures("no_child")
def test_libraries_do_not_fill_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    """libtiff complains of each damaged row."""
    decoder.end_idle()  # the next child has the streams of this test
    noise = Image.effect_noise((200, 200), 90).convert("1")
    photo = bytearray(encode(noise, "TIFF", compression="group3"))
    photo[500:3000:60] = bytes(len(photo[500:3000:60]))
    assert decode_photo(photo).shape == (200, 200, 3)
    decoder.end_idle()
    assert capfd.readouterr() == ("", "")


def test_a_forked_process_has_a_child_of_its_own() -> None:
    """As DataLoader's are. Its parent's must be heard by its parent alone, and end with it."""
    png = encode(Image.linear_gradient("L"), "PNG")
    decode_photo(png)
    (child,) = children()
    if not (pid := os.fork()):
        same = decode_photo(png).shape == (256, 256, 3) and bool(children())
        os._exit(0 if same else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert children() == [child]
    assert decode_photo(png).shape == (256, 256, 3)
    decoder.end_idle()
    assert not child.is_running()


def test_a_child_ends_with_its_parent() -> None:
    script = (
        "import os, io; from PIL import Image; from model.image import decode_photo; import psutil\n"
        "file = io.BytesIO(); Image.new('L', (9, 9)).save(file, 'PNG'); decode_photo(file.getvalue())\n"
        "print(psutil.Process().children()[0].pid, flush=True); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    with_pid = int(ended.stdout)
    try:
        psutil.Process(with_pid).wait(10)
    except psutil.NoSuchProcess:
        return


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("JPEG", "HEIF")])
def test_the_child_gives_the_pixels_that_decoding_here_does(name: str) -> None:
    image = Image.linear_gradient("L").resize((300, 200)).convert("RGB")
    data = encode(image, name)
    assert not is_cheap(data)
    assert np.array_equal(decode_photo(data), decode_here(data, DEFAULT_LIMITS, 0))
    assert declared_size(data) == (300, 200)


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "I;16", "1"])
def test_rows_at_a_time_are_what_all_at_once_is(mode: str) -> None:
    """A PNG of more than one strip."""
    values = np.random.default_rng(0).integers(0, 256, (1500, 1100), np.uint8)
    grey = Image.fromarray(values)
    image = Image.fromarray(values.astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    if "A" in mode:
        image.putalpha(grey.transpose(Image.Transpose.ROTATE_180))
    pixels = decode_photo(encode(image, "PNG"))
    for top in (0, 700, 1400):
        part = decode_photo(encode(image.crop((0, top, 1100, top + 100)), "PNG"))
        assert np.array_equal(pixels[top : top + 100], part)


def test_formats_that_are_not_asked_for(jpeg: Callable[..., bytes]) -> None:
    limits = PhotoLimits(formats=("JPEG", "PNG"))
    assert decode_photo(jpeg(), limits).any()
    with pytest.raises(UnsupportedFormat, match=r"a WEBP, which can't be .* of JPEG, PNG$"):
        decode_photo(encode(Image.new("L", (9, 9)), "WEBP"), limits)
    with pytest.raises(UnsupportedFormat, match="is a JPEG, which"):
        decode_photo(jpeg(), PhotoLimits(formats=("PNG",)))


def test_what_is_decoded_here(jpeg: Callable[..., bytes]) -> None:
    """Only what can't cost much: any other header than encoders write goes to a child."""
    photo = jpeg()
    assert is_cheap(photo)
    assert is_cheap(jpeg(progressive=True))
    assert not is_cheap(photo[:2] + b"\xff" + photo[2:])  # a fill byte
    assert not is_cheap(photo[:2] + b"\xff\xfe\x00\x01" + photo[2:])  # a length that is none
    long = b"\xff\xfe\xff\xff" + bytes(65_533)
    assert not is_cheap(photo[:2] + long + photo[2:])
    progressive = jpeg(progressive=True)
    start = progressive.index(b"\xff\xda")
    behind = start + 2 + int.from_bytes(progressive[start + 2 : start + 4])
    comments = b"\xff\xfe\0\2" * 1000
    assert not is_cheap(progressive[:behind] + comments + progressive[behind:])
    assert not is_cheap(encode(Image.new("L", (4001, 4000)), "JPEG"))
    assert not is_cheap(encode(Image.new("CMYK", (16, 16)), "JPEG"))
    assert not is_cheap(PHOTOS["JPEG, 5000 scans"]())
    assert not is_cheap(PHOTOS["JPEG, index that shares a value"]())


def test_what_decoding_should_cost() -> None:
    large = encode(Image.new("L", (8000, 6000)), "JPEG")
    assert declared_size(large) == (8000, 6000)
    assert 0.1 < expected_s(large) < 0.3
    png = encode(Image.new("L", (8000, 6000)), "PNG")
    assert 1 < expected_s(png) < 1.5
    assert expected_s(b"words") < 1e-6
    assert declared_size(b"\x89PNG\r\n\x1a\n") is None
    assert format_of(b"MM*\0" + bytes(8)) == "TIFF"  # as Pillow reads it, too


@pytest.mark.usefixtures("no_child")
def test_a_childs_time_is_counted_once_and_it_leaves_no_core() -> None:
    before, png = decoder.children_cpu_s(), encode(Image.linear_gradient("L"), "PNG")
    for _ in range(5):
        decode_photo(png)
    (child,) = children()
    spent = child.cpu_times()
    assert 0 < decoder.children_cpu_s() - before <= spent.user + spent.system + 0.05
    assert resource.prlimit(child.pid, resource.RLIMIT_CORE) == (0, 0)  # it would hold the photo
