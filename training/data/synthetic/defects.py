"""Every kind of defect that `flyobj data prepare` looks for, mixed into drawn photos, and written down.

`plant` adds files to a data set and makes a few of its photos very large, which is no defect;
`defects.csv` says which files and of what kind. `score` compares a manifest with it. Names continue
where the photos' end, so they tell nothing.
"""

import io
import itertools
import struct
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from model.errors import InputError
from report.tables import read_csv, write_csv
from training.data.manifest import Reason, Row

NAME = "defects.csv"
SHARE = 0.02  # files of each kind, of the photos there are
KINDS = (
    *(Reason.EMPTY, Reason.UNSUPPORTED, Reason.TOO_LARGE, Reason.UNREADABLE, Reason.TOO_SMALL),
    *(Reason.CONFLICT, Reason.DUPLICATE, Reason.NEAR, Reason.EXTENSION, Reason.PRUNED),
)
RARE = 4  # thumbnails, banners and very large photos are so many times fewer than the others
LARGE = 120  # photos of a class from which enough are left for pruning, whatever else is planted
WORDS = b"<!doctype html><title>404 Not Found</title><p>The photo you are looking for is not here.</p>\n"


@dataclass(frozen=True)
class Defect:
    """A planted file, and the photo that it was made from and still shows, if any."""

    path: str
    kind: Reason
    other: str = ""


@dataclass(frozen=True)
class Score:
    """How well one kind was found. A pair of copies counts once, whichever of the two was dropped."""

    planted: int
    reported: int
    right: int

    @property
    def recall(self) -> float:
        """Of those planted, the share that was found; 1 if none was planted."""
        return self.right / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        """Of those reported, the share that was planted; 1 if none was reported."""
        return self.right / self.reported if self.reported else 1.0


def plant(folder: Path, seed: int) -> list[Defect]:
    """Add about `SHARE` files of each kind to `folder`/SPLIT/CLASS/, and write `folder`/defects.csv."""
    rng = np.random.default_rng([seed, 0xDEFEC7])
    photos = sorted(folder.glob("*/*/*.jpg"))
    each = max(2, round(SHARE * len(photos)))
    if len(photos) < each * len(KINDS):
        raise InputError(
            f"{len(photos)} photos are too few for {each} defects of {len(KINDS)} kinds; draw more"
        )
    donors = iter([photos[i] for i in rng.permutation(len(photos))])  # each gives to one defect only
    defects = []
    smallest = min(Counter(path.parent.name for path in photos).values(), default=0)
    rare = max(2, each // RARE) if smallest >= LARGE else 0
    for kind in KINDS:
        for number in range(rare if kind is Reason.PRUNED else each):
            donor = next(donors)
            path = _place(folder, donor, kind, rng)
            path.write_bytes(_content(kind, number, donor, rng))
            other = donor if kind in (Reason.CONFLICT, Reason.DUPLICATE, Reason.NEAR) else None
            names = [p.relative_to(folder).as_posix() if p else "" for p in (path, other)]
            if kind is Reason.EXTENSION or kind is Reason.PRUNED:
                donor.unlink()  # the same picture, saved as something else
            defects.append(Defect(names[0], kind, names[1]))
    for donor in itertools.islice(donors, rare):  # very large ones are rare too, and no defect
        photo = Image.open(donor)
        donor.write_bytes(_encode(photo.resize((6 * photo.width, 6 * photo.height)), quality=90))
    write_csv(folder / NAME, ("path", "kind", "other"), [(d.path, d.kind, d.other) for d in defects])
    return defects


def read_defects(folder: Path) -> list[Defect]:
    """Read what `plant` wrote down."""
    rows = list(read_csv(folder / NAME))[1:]
    return [Defect(path, Reason(kind), other) for path, kind, other in rows]


def score(defects: Iterable[Defect], rows: Iterable[Row]) -> dict[Reason, Score]:
    """Compare what a manifest reports with what was planted, kind by kind."""
    planted: dict[Reason, set[frozenset[str]]] = {kind: set() for kind in KINDS}
    reported: dict[Reason, set[frozenset[str]]] = {kind: set() for kind in KINDS}
    for d in defects:
        planted[d.kind].add(frozenset({d.path, d.other} - {""}))
    for row in rows:
        if row.reason in reported:
            reported[row.reason].add(frozenset({row.path, row.other} - {""}))
    return {k: Score(len(planted[k]), len(reported[k]), len(planted[k] & reported[k])) for k in KINDS}


def _place(folder: Path, donor: Path, kind: Reason, rng: np.random.Generator) -> Path:
    """A new name in any split and class; copies stay in the donor's class, conflicts go to another."""
    classes = sorted({path.name for path in folder.glob("*/*") if path.is_dir()})
    if kind is Reason.CONFLICT:
        classes.remove(donor.parent.name)
    elif kind in (Reason.DUPLICATE, Reason.NEAR, Reason.EXTENSION, Reason.PRUNED):
        classes = [donor.parent.name]
    split = str(rng.choice(["train", "train", "train", "test"]))
    parent = folder / split / str(rng.choice(classes))
    taken = [int(path.stem) for path in folder.glob(f"*/{parent.name}/*")]
    return parent / f"{max(taken) + 1:04d}.jpg"


def _content(kind: Reason, number: int, donor: Path, rng: np.random.Generator) -> bytes:
    whole = donor.read_bytes()
    match kind:
        case Reason.EMPTY:
            return b""
        case Reason.UNSUPPORTED:
            return (WORDS, b"%PDF-1.7\n" + rng.bytes(2000), rng.bytes(3000))[number % 3]
        case Reason.TOO_LARGE:
            return _bomb()
        case Reason.UNREADABLE:  # cut short by much or by little, or noise after a good header
            cut = int(rng.uniform(0.3, 0.98) * len(whole))
            return (whole[:cut], whole[:-40], whole[:20] + rng.bytes(2000))[number % 3]
        case Reason.TOO_SMALL:
            return _encode(Image.open(donor).resize((24, 18)))
        case Reason.CONFLICT if number % 2:
            return _near(Image.open(donor), number, rng)
        case Reason.NEAR:
            return _near(Image.open(donor), number, rng)
        case Reason.PRUNED:
            return _encode(Image.open(donor).resize((48, 36) if number % 2 else (400, 36)))
        case Reason.EXTENSION:
            return _encode(Image.open(donor), "PNG" if number % 2 else "WEBP")
        case _:  # the same bytes
            return whole


def _near(photo: Image.Image, number: int, rng: np.random.Generator) -> bytes:
    """What happens to a photo on its way through the internet."""
    quality = int(rng.integers(45, 75))
    if number % 3 == 1:
        scale = rng.uniform(0.5, 0.9)
        photo = photo.resize((round(photo.width * scale), round(photo.height * scale)))
    elif number % 3 == 2:
        photo = ImageEnhance.Brightness(photo).enhance(rng.uniform(0.88, 1.12))
    return _encode(photo, quality=quality)


def _encode(photo: Image.Image, kind: str = "JPEG", **options: int) -> bytes:
    stream = io.BytesIO()
    photo.save(stream, kind, **options)
    return stream.getvalue()


def _bomb() -> bytes:
    """A PNG of some hundred bytes whose header promises 3.6 gigapixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
