"""Asking two versions the same photos: do they agree, and is one slower?

Each photo goes to both, one after the other, and the order alternates, so that what
else the machine does meets both alike. Nobody's requests are touched: both are asked by name.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import FlyobjError, InputError, PhotoError
from report.html import write_html
from report.pictures import thumbnail
from report.progress import track
from serving.server.client import Client
from serving.server.latency import percentile
from serving.server.versions import find_version

_WARM_UP = 5  # photos that both answer before times are taken
_SHOWN = 60  # flips with their photo on the page
_THUMBNAIL = 240  # pixels of the longer side


@dataclass(frozen=True)
class Flip:
    """A photo that the two versions call differently; "error" stands for no answer."""

    photo: str
    before: str
    before_confidence: float
    after: str
    after_confidence: float


@dataclass(frozen=True)
class Times:
    """How long one photo took, ms."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ShadowResult:
    """What came of sending `photos` photos to `version` and to `against`.

    `agreement` is the share of them with the same class from both, `flips` are the others; `p99_ratio`
    is that of `version` to that of `against`.
    """

    version: str
    against: str
    photos: int
    agreement: float
    flips: tuple[Flip, ...]
    times: Times
    times_against: Times
    p99_ratio: float


def compare(client: Client, version: str, against: str | None, photos: Sequence[Path]) -> ShadowResult:
    """Send every photo to `version` and to `against`, the default if None.

    Raises:
        InputError: one of them isn't ready, or they are one.
    """
    against = against or client.default_version() or ""
    pair = (version, against)
    for name in pair:
        found = find_version(client, name)
        if found is None or not found.ready:
            raise InputError(f"version {name!r} isn't there or isn't ready; see `flyobj models list`")
    if version == against:
        raise InputError(f"version {version} can't be compared with itself; give --against another one")
    for path in photos[:_WARM_UP]:
        for name in pair:
            _ask(client, path.read_bytes(), name)
    took: dict[str, list[float]] = {name: [] for name in pair}
    flips = []
    for number, path in enumerate(track(photos, "asking both versions")):
        photo = path.read_bytes()
        answers = {}
        for name in pair if number % 2 else reversed(pair):
            answers[name], took_ms = _ask(client, photo, name)
            took[name].append(took_ms)
        (before, sure_before), (after, sure_after) = answers[against], answers[version]
        if before != after:
            flips.append(Flip(str(path), before, sure_before, after, sure_after))
    times, times_against = _times(took[version]), _times(took[against])
    ratio = times.p99_ms / times_against.p99_ms
    agreement = 1 - len(flips) / len(photos)
    return ShadowResult(
        version, against, len(photos), agreement, tuple(flips), times, times_against, ratio
    )


def require(comparison: ShadowResult, agree: float | None, p99_ratio: float | None) -> None:
    """Raise `FlyobjError` if the versions agree less or the new one is slower than allowed."""
    c = comparison
    if agree is not None and c.agreement < agree:
        raise FlyobjError(
            f"versions {c.version} and {c.against} agree on {c.agreement:.4f} of {c.photos} photos, "
            f"{agree} is required; the default stays {c.against}"
        )
    if p99_ratio is not None and c.p99_ratio > p99_ratio:
        raise FlyobjError(
            f"version {c.version} takes {c.p99_ratio:.2f} times as long as {c.against} (p99 "
            f"{c.times.p99_ms:.0f} and {c.times_against.p99_ms:.0f} ms), {p99_ratio} is allowed; the "
            f"default stays {c.against}"
        )


def write_page(comparison: ShadowResult, path: Path) -> None:
    """Show the comparison and the photos that flipped on one self-contained page."""
    shown = [(flip, thumbnail(Path(flip.photo), _THUMBNAIL)) for flip in comparison.flips[:_SHOWN]]
    write_html(path, "serving/rollout/shadow.html.j2", c=comparison, shown=shown)


def _ask(client: Client, photo: bytes, version: str) -> tuple[tuple[str, float], float]:
    """Return the class, its confidence, and how long that took, ms."""
    started = time.perf_counter()
    try:
        answer = client.predict(photo, version)
        result = str(answer["predicted"]), float(answer["confidence"])
    except PhotoError:
        result = "error", 0.0
    return result, 1000 * (time.perf_counter() - started)


def _times(took_ms: list[float]) -> Times:
    return Times(*(round(percentile(took_ms, share), 2) for share in (0.5, 0.99)))
