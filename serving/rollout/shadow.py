"""Asking two versions the same photos: do they agree, which is better, and is one slower?

Each photo goes to both, one after the other, and the order alternates, so that what
else the machine does meets both alike. Nobody's requests are touched: both are asked by name.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.errors import FlyobjError, InputError, PhotoError
from report.comparison import (
    MARGIN,
    Comparison,
    Flip,
    Labels,
    Said,
    find_flips,
    in_words,
    judge,
    require_acceptable,
    require_known,
)
from report.html import write_html
from report.pictures import thumbnail
from report.progress import track
from serving.rollout.classes import compare_classes
from serving.rollout.deployment import read_deployment
from serving.server.client import Client
from serving.server.latency import percentile
from serving.server.versions import find_version

_WARM_UP = 5  # photos that both answer before times are taken
_SHOWN = 60  # flips with their photo on the page
_THUMBNAIL = 240  # pixels of the longer side


@dataclass(frozen=True)
class Times:
    """How long one photo took, ms."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ShadowResult:
    """What came of sending `photos` photos to `version` and to `against`.

    `agreement` is the share of them with the same answer from both, `flips` are the others; `p99_ratio`
    is that of `version` to that of `against`. `comparison` says which is better, where labels are known.
    """

    version: str
    against: str
    photos: int
    agreement: float
    flips: tuple[Flip, ...]
    times: Times
    times_against: Times
    p99_ratio: float
    comparison: Comparison | None = None
    classes: str = ""  # which come and go


def compare(
    client: Client,
    version: str,
    against: str | None,
    photos: Sequence[Path],
    labels: Labels | None = None,
    margin: float = MARGIN,
) -> ShadowResult:
    """Send every photo to `version` and to `against`, the default if None.

    `labels` are those of the photos, in their order.

    Raises:
        InputError: one of them isn't ready, or they are one.
    """
    against = against or client.default_version() or ""
    pair = (version, against)
    for name in pair:
        found = find_version(client, name)
        if found is None or not found.ready:
            see = client.command("models list")
            raise InputError(f"version {name!r} isn't there or isn't ready; see `{see}`")
    if version == against:
        raise InputError(f"version {version} can't be compared with itself; give --against another one")
    known: dict[str, dict[str, None]] = {name: {} for name in pair}  # classes, in their order
    for path in photos[:_WARM_UP]:
        for name in pair:
            known[name] |= dict.fromkeys(_ask(client, path.read_bytes(), name)[0].probabilities)
    classes = list(known[version]), list(known[against])
    if labels and all(classes):  # they aren't known yet if none of these photos can be answered
        require_known(labels, classes)
    new, old, took, apart = _ask_both(client, pair, photos)
    unlabelled = Labels([str(path) for path in photos], [""] * len(photos), np.arange(len(photos)), "")
    flips = find_flips(labels or unlabelled, new, old)
    comparison = judge(labels, new, old, classes, apart, margin) if labels else None
    times, times_against = _times(took[version]), _times(took[against])
    ratio = times.p99_ms / times_against.p99_ms
    agreement = 1 - len(flips) / len(photos)
    return ShadowResult(
        *(version, against, len(photos), agreement, flips, times, times_against, ratio, comparison),
        classes=str(compare_classes(client, read_deployment(client.store), version, against)),
    )


def _ask_both(
    client: Client, pair: tuple[str, str], photos: Sequence[Path]
) -> tuple[list[Said], list[Said], dict[str, list[float]], float]:
    """Ask each photo of both: what they said, how long that took, ms, and how far they are apart."""
    said: dict[str, list[Said]] = {name: [] for name in pair}
    took: dict[str, list[float]] = {name: [] for name in pair}
    apart = 0.0
    for number, path in enumerate(track(photos, "asking both versions")):
        photo = path.read_bytes()
        shares = []
        for name in pair if number % 2 else reversed(pair):
            reply, took_ms = _ask(client, photo, name)
            said[name].append(reply.said)
            took[name].append(took_ms)
            shares.append(reply.probabilities)
        apart = max(apart, _difference(*shares))
    return said[pair[0]], said[pair[1]], took, apart


def require(comparison: ShadowResult, agree: float | None, p99_ratio: float | None) -> None:
    """Raise `FlyobjError` if the versions agree less or the new one is slower than allowed."""
    c = comparison
    if agree is not None and c.agreement < agree:
        raise FlyobjError(
            f"versions {c.version} and {c.against} agree on {c.agreement:.4f} of {c.photos} photos, "
            f"{agree} is required; the default stays {c.against}. Which of two that differ is better, "
            "--if-better says"
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
    write_html(
        path,
        "serving/rollout/shadow.html.j2",
        c=comparison,
        shown=shown,
        names=_names(comparison),
        sentence=verdict(comparison),
    )


def verdict(comparison: ShadowResult) -> str:
    """Say which version is better, in a sentence; empty where no labels are known."""
    return in_words(comparison.comparison, *_names(comparison)) if comparison.comparison else ""


def require_better(comparison: ShadowResult) -> None:
    """Raise `FlyobjError` unless the version is better than the other, or not worse."""
    c = comparison
    if c.comparison:
        require_acceptable(c.comparison, *_names(c), f"; the default stays {c.against}")


def _names(c: ShadowResult) -> tuple[str, str]:
    return f"version {c.version}", f"version {c.against}"


@dataclass(frozen=True)
class _Reply:
    said: Said
    probabilities: Mapping[str, float]


def _ask(client: Client, photo: bytes, version: str) -> tuple[_Reply, float]:
    """Return the answer, "error" for none, and how long it took, ms."""
    started = time.perf_counter()
    try:
        answer = client.predict(photo, version)
        shares = answer["probabilities"]
        reply = _Reply(Said(str(answer["predicted"]), float(answer["confidence"])), shares)
    except PhotoError:
        reply = _Reply(Said("error", 0.0), {})
    return reply, 1000 * (time.perf_counter() - started)


def _difference(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """How far the probabilities are apart at most; 1 if the classes differ."""
    if set(one) != set(other):
        return 1.0
    return max((abs(share - other[name]) for name, share in one.items()), default=0.0)


def _times(took_ms: list[float]) -> Times:
    return Times(*(round(percentile(took_ms, share), 2) for share in (0.5, 0.99)))
