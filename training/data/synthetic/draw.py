"""Stand-in photos of the four flying-object classes, for demos and tests without the real data.

A model of `training.data.synthetic.shapes` is turned by one rotation matrix, projected, and painted
far to near, each face shaded by its normal. Backgrounds, light and size in the frame are drawn alike
for all classes, so a colour histogram doesn't tell them apart.

    counts = synthesize(Path("data/synthetic"), per_class=300, seed=0)
"""

import itertools
import math
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from model.errors import InputError
from model.files import atomic_folder, write_json
from model.limits import RGB
from model.parallel import in_parallel
from report.progress import track
from training.data.synthetic.defects import plant
from training.data.synthetic.shapes import SUBJECTS, Array, Colour, Face, Random, Subject, X, Y, Z

SUPERSAMPLING = 2
SKIES: tuple[tuple[Colour, Colour], ...] = (  # at the top, at the horizon
    ((52, 104, 178), (164, 200, 228)),
    ((96, 148, 208), (206, 222, 232)),
    ((150, 162, 174), (206, 210, 212)),
    ((196, 200, 204), (232, 234, 234)),
    ((66, 76, 118), (238, 176, 124)),
    ((112, 98, 128), (246, 206, 160)),
)
GROUNDS: tuple[tuple[Colour, Colour], ...] = (  # in the shade, in the light
    ((22, 34, 20), (84, 106, 52)),
    ((40, 48, 26), (128, 136, 74)),
    ((74, 62, 40), (178, 156, 104)),
    ((48, 58, 66), (112, 126, 132)),
    ((52, 40, 26), (150, 104, 56)),
)
CLASSES: tuple[str, ...] = tuple(SUBJECTS)


def pose(subject: Subject, rng: Random) -> Array:
    """The rotation from model coordinates to the picture's: x right, y down, z to the viewer."""

    def turn(axis: Array, degrees: float) -> Array:
        return cv2.Rodrigues(math.radians(degrees) * axis)[0]

    elevation = math.radians(rng.uniform(*subject.elevations)) * rng.choice([-1, -1, 1])
    sin, cos = math.sin(elevation), math.cos(elevation)
    camera = turn(Z, rng.normal(0, 6)) @ np.array([[1, 0, 0], [0, -sin, -cos], [0, -cos, sin]])
    pitch, bank = rng.normal(0, subject.lean, 2)
    attitude = turn(Z, rng.uniform(0, 360)) @ turn(Y, pitch) @ turn(X, bank)
    return np.asarray(camera @ attitude)


def render(faces: list[Face], rotation: Array, light: Array, size: float) -> Array:
    """The posed model, its longer side `size` px, as (H, W, 4) RGBA with premultiplied alpha."""
    counts = [len(face.points) for face in faces]
    starts = np.cumsum(counts)[:-1]
    points = np.concatenate([face.points for face in faces]) @ rotation.T
    flat = points[:, :2] / (1 - 0.15 * points[:, 2:])  # a mild perspective
    flat = (flat - flat.min(axis=0)) / np.ptp(flat, axis=0).max() * size + 1
    width, height = np.ceil(flat.max(axis=0)).astype(int) + 1
    canvas = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING, 4), np.uint8)
    outlines = np.split(np.rint(flat * SUPERSAMPLING * 16).astype(np.int32), starts)
    colours = np.array([face.colour for face in faces]) * shade(np.split(points, starts), light)
    depths = np.add.reduceat(points[:, 2], [0, *starts]) / counts
    for index in np.argsort(depths):
        opacity = faces[index].opacity
        layer = canvas if opacity == 1 else canvas.copy()
        paint = (*np.minimum(colours[index], 255).tolist(), 255)
        cv2.fillConvexPoly(layer, outlines[index], paint, shift=4)  # in 16ths of a pixel
        if opacity < 1:
            cv2.addWeighted(layer, opacity, canvas, 1 - opacity, 0, dst=canvas)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


def shade(outlines: list[Array], light: Array) -> Array:
    """Each face's brightness, (faces, 1): skylight from above plus Lambert's cosine of `light`."""
    one = np.stack([points[len(points) // 2] - points[0] for points in outlines])
    other = np.stack([p[3 * len(p) // 4] - p[len(p) // 4] for p in outlines])
    normals = np.cross(one, other)  # of the two diagonals
    normals *= np.where(normals[:, 2:] < 0, -1, 1)  # both sides of a face can be seen
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    skylight = np.linalg.norm(light) * (0.55 - 0.15 * normals[:, 1:2])
    return np.asarray(skylight + 0.5 * np.maximum(normals @ light, 0)[:, None])


def smear(cutout: Array, rng: Random) -> Array:
    """Motion blur along any direction, up to 4 % of the object."""
    length = int(rng.uniform(0, 0.04) * max(cutout.shape))
    if length < 2:
        return cutout
    angle, middle = rng.uniform(0, math.pi), (length - 1) / 2
    step = middle * np.array([math.cos(angle), math.sin(angle)])
    start, end = (np.rint(middle + sign * step).astype(int).tolist() for sign in (-1, 1))
    kernel = cv2.line(np.zeros((length, length), np.float32), start, end, (1.0,))
    return cv2.filter2D(cutout, -1, kernel / kernel.sum(), borderType=cv2.BORDER_CONSTANT)


def paste(photo: RGB, cutout: Array, rng: Random) -> None:
    """Blend a cut-out into the photo, in place: of three spots at the one it differs from most."""
    height, width = cutout.shape[:2]
    room = photo.shape[0] - height + 1, photo.shape[1] - width + 1
    corners = (rng.beta(4, 4, (3, 2)) * room).astype(int)  # people aim at what they photograph
    spots = [photo[y : y + height, x : x + width] for y, x in corners]
    colour = np.array(cv2.mean(cutout, mask=cutout[..., 3]))[:3]
    spot = max(spots, key=lambda spot: np.abs(cv2.mean(spot)[:3] - colour).sum())
    clear = 1 - cutout[..., 3:].astype(np.float32) / 255
    spot[:] = np.minimum(cutout[..., :3] + spot * clear, 255)


def noise(rng: Random, height: int, width: int, coarsest: int) -> Array:
    """Five octaves of noise from `coarsest` px down, 0 to 1, (height, width)."""
    field = np.zeros((height, width), np.float32)
    for octave in range(5):
        cell = max(coarsest >> octave, 1)
        grid = rng.random((height // cell + 3, width // cell + 3), dtype=np.float32)
        field += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    return np.asarray((field - field.min()) / np.ptp(field))


def background(rng: Random, height: int, width: int) -> RGB:
    """Sky, often cloudy, behind up to two layers of hills, fields or foliage."""
    shrink = min(1.0, 320 / max(height, width))  # made small and enlarged: it is out of focus
    rows, columns = round(height * shrink), round(width * shrink)
    top, horizon = np.array(SKIES[rng.integers(len(SKIES))], np.float32)
    drop = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    scene = np.tile(top + (horizon - top) * drop, (1, columns, 1))
    if rng.random() < 0.6:
        cover = np.clip(rng.uniform(1, 2.4) * noise(rng, rows, columns, 96) - 0.7, 0, 1)
        scene += (rng.uniform(170, 250) - scene) * cover[..., None] * rng.uniform(0.5, 1)
    for _ in range(rng.choice([0, 1, 2], p=[0.75, 0.2, 0.05])):
        shadow, lit = np.array(GROUNDS[rng.integers(len(GROUNDS))], np.float32)
        grain = int(rng.choice([6, 12, 48]))  # foliage, bushes, fields
        ground = shadow + (lit - shadow) * noise(rng, rows, columns, grain)[..., None]
        ground += (horizon - ground) * rng.uniform(0.1, 0.6)  # haze
        ridge = noise(rng, 1, columns, 64) + 0.2 * noise(rng, 1, columns, grain)
        skyline = rng.uniform(0, 0.95) + rng.uniform(0.03, 0.3) * (ridge - 0.5)
        scene = np.where(drop > skyline[..., None], ground, scene)
    scene = cv2.resize(np.clip(scene, 0, 255).astype(np.uint8), (width, height))
    return np.asarray(scene, np.uint8)


def expose(photo: RGB, rng: Random) -> RGB:
    """What lens and sensor do: defocus, vignetting, exposure and white balance, noise."""
    height, width = photo.shape[:2]
    blurred = cv2.GaussianBlur(photo, (0, 0), 0.2 + rng.uniform(0, 0.0016) * max(height, width))
    across, down = (np.linspace(-1, 1, side, dtype=np.float32) ** 2 for side in (width, height))
    falloff = 1 - np.float32(rng.uniform(0, 0.15)) * (across + down[:, None])
    gains = rng.uniform(0.7, 1.2) * rng.uniform(0.92, 1.08, 3)
    grain = rng.normal(0, rng.uniform(1, 5), (128, 128, 3)).astype(np.float32)
    tiles = np.tile(grain, (height // 128 + 1, width // 128 + 1, 1))[:height, :width]
    exposed = blurred * falloff[..., None] * gains.astype(np.float32) + tiles
    return np.clip(exposed, 0, 255).astype(np.uint8)


def draw(class_name: str, rng: Random) -> RGB:
    """One photo of the class, (H, W, 3) RGB, its longer side 160 to 1600 px."""
    subject = SUBJECTS[class_name]
    longer = round(160 * 10 ** (rng.random() ** 2))
    shorter = round(longer / rng.uniform(4 / 3, 16 / 9))
    photo = background(rng, *((shorter, longer) if rng.random() < 0.7 else (longer, shorter)))
    light = rng.uniform([-1, -1, -0.2], [1, -0.2, 1])
    light /= np.linalg.norm(light)
    light *= rng.uniform(*((0.1, 0.4) if rng.random() < 0.08 else (0.75, 1.15)))  # a few backlit
    flock = int(rng.choice([2, 3])) if class_name == "Flying Birds" and rng.random() < 0.12 else 1
    smallest, largest = (0.75, 0.95) if flock == 1 else (0.45, 0.6)
    for _ in range(flock):
        size = shorter * rng.uniform(smallest, largest)
        cutout = render(subject.build(rng), pose(subject, rng), light, size)
        paste(photo, smear(cutout, rng), rng)
    return expose(photo, rng)


def synthesize(
    out: Path,
    per_class: int,
    seed: int,
    *,
    test_share: float = 0.25,
    workers: int | None = None,
    defects: bool = False,
) -> dict[str, int]:
    """Write `out`/{train,test}/CLASS/NNNN.jpg and return how many photos each split has.

    With `defects` files with every kind of defect are mixed in (see `training.data.synthetic.defects`)
    and counted under "defects".

    The same seed gives the same bytes on any number of workers (default: one for each core).
    `out` appears only once it is whole.
    """
    out = out.resolve()
    _check(out, per_class, seed, test_share, workers)
    test = min(max(round(per_class * test_share), 1), per_class - 1)
    numbers = range(per_class * len(CLASSES))
    counts = {"train": len(CLASSES) * (per_class - test), "test": len(CLASSES) * test}
    with atomic_folder(out) as folder:
        for split, name in itertools.product(("train", "test"), CLASSES):
            (folder / split / name).mkdir(parents=True)
        write = partial(_write, folder, seed, per_class, per_class - test)
        list(track(in_parallel(write, numbers, workers), "drawing", total=len(numbers)))
        origin = {"seed": seed, "per_class": per_class, "test_share": test_share, "classes": CLASSES}
        write_json(origin, folder / "synthetic.json")
        if defects:
            counts["defects"] = len(plant(folder, seed))
    return counts


def _write(folder: Path, seed: int, per_class: int, train: int, number: int) -> None:
    """Draw and save a photo by its number among those of all classes."""
    class_index, index = divmod(number, per_class)
    rng = np.random.default_rng([seed, class_index, index])
    photo = Image.fromarray(draw(CLASSES[class_index], rng))
    split = "train" if index < train else "test"
    path = folder / split / CLASSES[class_index] / f"{index:04d}.jpg"
    photo.save(path, quality=int(rng.integers(70, 96)))


def _check(out: Path, per_class: int, seed: int, test_share: float, workers: int | None) -> None:
    if not 2 <= per_class <= 100_000:
        raise InputError(f"per_class is {per_class!r}; give a number from 2 to 100000")
    if not 0 < test_share < 1:
        raise InputError(f"test_share is {test_share!r}; give a share between 0 and 1, say 0.25")
    if seed < 0:
        raise InputError(f"seed is {seed!r}; give a whole number from 0 up")
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers!r}; give 1 or more, or none for one on each core")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(
            f"{str(out)!r} exists already; photos are written to a new or an empty folder only: "
            "name another one or remove this one"
        )
