"""Models of the four flying-object classes, built from flat faces, for `draw` to draw.

Model coordinates are x forward, y left, z up, about one unit in size. Proportions are what
tells the classes apart; colours only hint at it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Random = np.random.Generator
Colour = tuple[int, int, int]

X, Y, Z = np.eye(3)
BLACK, DARK, ORANGE = (24, 25, 28), (60, 62, 66), (206, 120, 40)
CARBON = (BLACK, DARK, (108, 110, 112))
FOAM = ((168, 170, 172), (214, 214, 210), (240, 240, 236))
EARTHS = ((96, 72, 50), (134, 104, 72), (178, 150, 112), (70, 84, 104), (72, 78, 56))
BRIGHTS = (ORANGE, (150, 52, 40), (52, 84, 140))
PAINTS: tuple[Colour, ...] = (*CARBON, *FOAM, *EARTHS, *BRIGHTS)
USUAL_SHARE = 0.9  # of the parts that have a paint usual for their class; the others have any


class Face(NamedTuple):
    """A flat polygon of a model, its points (N, 3)."""

    points: Array
    colour: Colour
    opacity: float = 1.0


def tube(
    path: npt.ArrayLike, radii: npt.ArrayLike, colour: Colour, sides: int = 8, flat: float = 1.0
) -> list[Face]:
    """A closed tube around a line: bodies, arms, legs. `flat` is its height over its width."""
    line = np.asarray(path)
    along = (line[-1] - line[0]) / np.linalg.norm(line[-1] - line[0])
    across = np.cross(along, X if abs(along[2]) > 0.9 else Z)
    across /= np.linalg.norm(across)
    angles = (np.arange(sides) + 0.5) / sides * math.tau
    ring = np.outer(np.cos(angles), across)
    ring += flat * np.outer(np.sin(angles), np.cross(across, along))
    rings = line[:, None] + np.broadcast_to(radii, len(line))[:, None, None] * ring
    beside = np.roll(rings, -1, axis=1)
    walls = np.stack([rings[:-1], beside[:-1], beside[1:], rings[1:]], axis=2)  # (n-1, sides, 4, 3)
    return [Face(outline, colour) for outline in (*walls.reshape(-1, 4, 3), rings[0], rings[-1])]


def sheet(front: npt.ArrayLike, back: npt.ArrayLike, colour: Colour) -> list[Face]:
    """A thin surface between two lines of as many points: wings, tails, rims, blades."""
    edge, hem = np.asarray(front), np.asarray(back)
    strips = np.stack([edge[:-1], edge[1:], hem[1:], hem[:-1]], axis=1)  # (n-1, 4, 3)
    return [Face(strip, colour) for strip in strips]


def circle(centre: Array, radius: float, across: Array = X, upward: Array = Y) -> Array:
    """A closed line, (25, 3)."""
    angles = np.linspace(0, math.tau, 25)
    ring = np.outer(np.cos(angles), across) + np.outer(np.sin(angles), upward)
    return np.asarray(centre + radius * ring)


def paints(rng: Random, count: int, usual: tuple[Colour, ...]) -> list[Colour]:
    """Colours of `count` parts: most as is usual for the class, the others any."""
    choices = [usual if rng.random() < USUAL_SHARE else PAINTS for _ in range(count)]
    return [palette[rng.integers(len(palette))] for palette in choices]


def rotors(rng: Random, hubs: Array, radius: float) -> list[Face]:
    """A motor and a propeller on every hub, with a blurred disc where the shutter was slow."""
    (paint,) = paints(rng, 1, CARBON)
    dark = BLACK if rng.random() < 0.5 else DARK
    slow = rng.random() < 0.6
    faces = []
    for hub in hubs:
        faces += tube([hub - 0.07 * Z, hub + 0.06 * Z], 0.07, paint, sides=6)
        centre, angle = hub + 0.08 * Z, rng.uniform(0, math.tau)
        tip = radius * (math.cos(angle) * X + math.sin(angle) * Y)
        blade = centre + np.outer([-1, -0.5, 0, 0.5, 1], tip)
        width = np.outer([0.05, 0.1, 0.06, 0.1, 0.05], np.cross(Z, tip))
        faces += sheet(blade + width, blade - width, dark)
        if slow:
            faces.append(Face(circle(centre, radius), dark, rng.uniform(0.25, 0.5)))
    return faces


def arms(count: int, reach: float, rise: float) -> Array:
    """Where evenly spread arms end, none of them straight ahead, (count, 3)."""
    angles = (np.arange(count) + 0.5) / count * math.tau
    return np.stack([reach * np.cos(angles), reach * np.sin(angles), np.full(count, rise)], axis=1)


def large_quadcopter(rng: Random) -> list[Face]:
    """Long arms, props small beside them, landing gear and a camera slung under a thick body."""
    paint, frame, load = paints(rng, 3, CARBON)
    reach, bulk = rng.uniform(1.0, 1.2), rng.uniform(0.26, 0.36)
    hubs = arms(rng.choice([4, 4, 6]), reach, rng.uniform(0, 0.12))
    faces = rotors(rng, hubs, reach * rng.uniform(0.24, 0.32))
    hull = bulk * np.outer([-1, -0.7, 0.7, 1], X)
    faces += tube(hull, [0.6 * bulk, bulk, bulk, 0.6 * bulk], paint, flat=rng.uniform(0.5, 0.8))
    girth = rng.uniform(0.045, 0.065)
    for hub in hubs:
        faces += tube([0 * X, hub], girth, frame, sides=6)
    stance, depth = rng.uniform(0.3, 0.45), rng.uniform(0.5, 0.7)
    for side in (-1, 1):
        foot = side * stance * Y - depth * Z
        faces += tube([foot - 0.5 * X, foot + 0.5 * X], 0.036, frame, sides=5)
        for end in (-0.25 * X, 0.25 * X):
            faces += tube([0.5 * side * bulk * Y + 0.5 * end, foot + end], 0.032, frame, sides=5)
    lens = rng.uniform(0.12, 0.18)
    gimbal = rng.uniform(0, 0.15) * X - (0.5 * bulk + lens) * Z
    faces += tube([0 * X, gimbal], 0.05, frame, sides=5)
    faces += tube([gimbal - lens * X, gimbal + lens * X], 1.2 * lens, load, sides=4)
    return faces + tube([gimbal + lens * X, gimbal + 1.6 * lens * X], 0.6 * lens, BLACK)


def small_quadcopter(rng: Random) -> list[Face]:
    """A compact body among props nearly as long as the arms, often in guards; no landing gear."""
    paint, frame, guard = paints(rng, 3, BRIGHTS)
    reach, bulk = rng.uniform(0.66, 0.78), rng.uniform(0.18, 0.26)
    hubs, radius = arms(4, reach, rng.uniform(0, 0.06)), reach * rng.uniform(0.6, 0.7)
    length, girth = rng.uniform(1.4, 2.2) * bulk, rng.uniform(0.045, 0.075)
    hull = length * np.outer([-1, -0.6, 0.5, 1.1], X)
    faces = rotors(rng, hubs, radius)
    faces += tube(hull, [0.5 * bulk, bulk, bulk, 0.4 * bulk], paint, flat=rng.uniform(0.4, 0.65))
    faces += tube([length * X, 1.25 * length * X], 0.3 * bulk, BLACK, sides=6)
    for hub in hubs:
        faces += tube([0 * X, hub], girth, frame, sides=6)
    if rng.random() < 0.75:
        height = rng.uniform(0.05, 0.16) * Z
        for hub in hubs:
            rim = circle(hub + 0.08 * Z, 1.08 * radius)
            faces += sheet(rim + height / 2, rim - height / 2, guard)
    return faces


def winged_drone(rng: Random) -> list[Face]:
    """A stiff airframe: wings on a fuselage with a cross or V tail, or a flying wing without."""
    paint, second, accent = paints(rng, 3, FOAM)
    girth, taper, dihedral = rng.uniform(0.1, 0.14), rng.uniform(0.4, 0.8), rng.uniform(0, 0.12)
    tail = rng.choice(["cross", "vee", "none"], p=[0.7, 0.25, 0.05])
    nose, rear, sweep = rng.uniform(0.5, 0.75), -0.85, rng.choice([0.0, 0.0, 0.1, 0.3])
    span, chord = rng.uniform(1.2, 1.45), rng.uniform(0.16, 0.22)
    if tail == "none":
        nose, rear, sweep = 0.45, -0.35, rng.uniform(0.4, 0.6)
        span, chord = rng.uniform(0.75, 0.95), rng.uniform(0.55, 0.75)
    hull = np.outer([nose, nose - 0.08, 0.6 * nose, 0, 0.5 * rear, rear], X)
    faces = tube(hull, girth * np.array([0.3, 0.75, 1, 1, 0.6, 0.3]), paint)
    share = np.linspace(0, 1, 5)[:, None]
    for side in (-1, 1):
        front = 0.18 * X + 0.4 * girth * Z + share * (-sweep * X + side * span * Y + dihedral * Z)
        back = front - chord * (1 - (1 - taper) * share) * X
        faces += sheet(front[:4], back[:4], second) + sheet(front[3:], back[3:], accent)
        if tail == "none":
            winglet = np.stack([front[-1], back[-1]])
            faces += sheet(winglet, winglet - 0.08 * X + 0.16 * Z, accent)
        else:
            stretch = 0.42 * side * Y if tail == "cross" else 0.32 * side * Y + 0.32 * Z
            faces += fin((rear + 0.24) * X, stretch, second)
    if tail == "cross":
        faces += fin((rear + 0.26) * X, 0.34 * Z, accent)
    if rng.random() < 0.6:
        hub = (nose + 0.03 if rng.random() < 0.5 else rear - 0.03) * X
        faces.append(Face(circle(hub, rng.uniform(0.18, 0.24), Y, Z), DARK, 0.35))
    return faces


def fin(root: Array, stretch: Array, colour: Colour) -> list[Face]:
    """A tail surface, swept back a little, from the front of its root out along `stretch`."""
    front = np.stack([root, root + stretch - 0.1 * X])
    return sheet(front, front - np.outer([0.24, 0.14], X), colour)


def bird(rng: Random) -> list[Face]:
    """Body, head and beak, a fanned tail and two bent, feathered wings at some phase of a beat."""
    paint, second, tip = paints(rng, 3, EARTHS)
    girth, span, chord = rng.uniform(0.13, 0.2), rng.uniform(0.75, 1.05), rng.uniform(0.42, 0.6)
    hull = np.outer([-0.55, -0.4, -0.15, 0.1, 0.3, 0.4, 0.5, 0.58], X)
    faces = tube(hull, girth * np.array([0.2, 0.6, 0.95, 1, 0.7, 0.55, 0.6, 0.3]), paint)
    faces += tube([0.57 * X, 0.72 * X - 0.02 * Z], [0.3 * girth, 0.01], ORANGE, sides=5)
    fan = rng.uniform(0.3, 0.6) * np.linspace(-1, 1, 8)
    ends = np.stack([-np.cos(fan), np.sin(fan), 0 * fan], axis=1)
    ends *= rng.uniform(0.42, 0.6) * np.where(np.arange(8) % 2, 1, 0.88)[:, None]
    faces += sheet(np.tile(-0.42 * X, (8, 1)), ends - 0.42 * X, tip)
    share = np.linspace(0, 1, 15)  # from the shoulder to the tip
    angles = rng.uniform(-0.3, 0.9) - rng.uniform(0.6, 1.2) * np.clip(2 * share - 0.6, 0, 1)
    reach, rise = span / 15 * np.cumsum([np.cos(angles), np.sin(angles)], axis=1)
    ahead = 0.2 + rng.uniform(0.1, 0.25) * np.sin(math.pi * np.minimum(1.2 * share, 1))
    ahead -= rng.uniform(0.3, 0.7) * share**2
    feathers = np.where((share > 0.4) & (np.arange(15) % 2 == 1), 0.72, 1)
    widths = chord * feathers * np.sqrt(1.02 - share**2.2)
    for side in (-1, 1):
        front = np.stack([ahead, side * reach, rise + 0.04], axis=1)
        back = front - np.outer(widths, X)
        faces += sheet(front[:10], back[:10], second) + sheet(front[9:], back[9:], tip)
    return faces


class Subject(NamedTuple):
    """How a class is built and seen."""

    build: Callable[[Random], list[Face]]
    lean: float  # standard deviation of pitch and bank, degrees
    elevations: tuple[float, float]  # of the camera, above or below the object's level, degrees


SUBJECTS = {
    "Flying Birds": Subject(bird, 10, (40, 80)),
    "Large QuadCopters": Subject(large_quadcopter, 9, (15, 60)),
    "Small QuadCopters": Subject(small_quadcopter, 9, (15, 60)),
    "Winged Drones": Subject(winged_drone, 8, (45, 80)),
}
