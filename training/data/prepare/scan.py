"""One look at each file: size, SHA-256, decoded to the end, perceptual hash. In all cores.

The decoder is the one of training and serving (`model.image`), so what is kept here is read there. A
worker holds one photo at a time; what comes back is a row.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy.fft import dctn

from model.errors import PhotoError, PhotoTooLarge
from model.formats import SUFFIXES, format_of
from model.image import decode_photo
from model.limits import DEFAULT_LIMITS, RGB
from model.parallel import in_parallel
from report.progress import track
from training.data.grouping import look
from training.data.manifest import Reason, Row, reason_for

HASH_SIZE = 16  # 16 x 16 coefficients: 64 bits take different specks on a plain sky for the same photo
HASH_PIXELS = 4 * HASH_SIZE
ROUNDING = 1e-6  # more than is left of a coefficient that should be zero
FLAT = 1.0  # standard deviation in grey levels under which a hash would be of noise alone


def scan(source: Path, files: Sequence[Row], workers: int | None = None) -> list[Row]:
    """Look at each file under `source` that `walk` has found, and return the rows in the same order.

    Raises:
        FlyobjError: a worker died.
    """
    scan_one = partial(scan_file, source)
    return list(track(in_parallel(scan_one, files, workers), "checking photos", total=len(files)))


def scan_file(source: Path, found: Row) -> Row:
    """Look at one file. Whatever is wrong with it ends up in its row."""
    return scan_photo(source, found)[0]


def scan_photo(source: Path, found: Row) -> tuple[Row, RGB | None]:
    """Look at one file as `scan_file` does, and return its pixels too; None of what is dropped."""
    row, pixels = replace(found), None
    if not row.kept:
        return row, pixels
    try:
        content = _read(source / found.path, row)
        if content is not None:
            pixels = _look_into(content, row)
    except OSError as error:
        row.drop(reason_for(error), error.strerror or str(error))
    except PhotoError as error:  # without the remedy, which is for someone who sends a photo
        row.drop(reason_for(error), str(error).partition(";")[0])
    return row, pixels


def _read(path: Path, row: Row) -> bytes | None:
    """Read and hash the file; None where there is nothing to decode."""
    row.bytes = path.stat().st_size
    if row.bytes > DEFAULT_LIMITS.max_bytes:
        with path.open("rb") as file:
            row.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        raise PhotoTooLarge(f"{row.bytes} bytes, {DEFAULT_LIMITS.max_bytes} are allowed")
    content = path.read_bytes()
    row.bytes, row.sha256 = len(content), hashlib.sha256(content).hexdigest()
    if not content:
        row.drop(Reason.EMPTY)
        return None
    return content


def _look_into(content: bytes, row: Row) -> RGB:
    row.format = format_of(content) or ""
    pixels = decode_photo(content)  # (H, W, 3)
    row.height, row.width = pixels.shape[:2]
    row.phash = perceptual_hash(pixels)
    seen = look(content, pixels)
    row.colour, row.taken = seen.colour, seen.taken
    extension = Path(row.path).suffix.lower()
    if extension not in SUFFIXES[row.format]:
        row.reason = Reason.EXTENSION
        row.detail = f"{extension or 'no extension'}, but a {row.format}"
    return pixels


def perceptual_hash(pixels: RGB) -> str:
    """The 256-bit DCT hash of an (H, W, 3) photo in hexadecimal; "" for one without structure.

    pHash as in Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010: the
    bits of ImageHash's `phash(photo, 16)` for the shrunk photo, in a tenth of the time. The photo is
    shrunk in two cheap steps: averaging over every pixel takes longer than decoding, and hardly changes
    the hash (docs/experiments.md).
    """
    small = cv2.resize(pixels, (2 * HASH_PIXELS, 2 * HASH_PIXELS), interpolation=cv2.INTER_LINEAR)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)  # (128, 128)
    grey = cv2.resize(grey, (HASH_PIXELS, HASH_PIXELS), interpolation=cv2.INTER_AREA)
    if cv2.meanStdDev(grey)[1].item() < FLAT:
        return ""
    low = dctn(grey.astype(np.float64))[:HASH_SIZE, :HASH_SIZE]  # the lowest frequencies
    return np.packbits(low > np.median(low) + ROUNDING).tobytes().hex()
