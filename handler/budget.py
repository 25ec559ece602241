"""What a batch may cost: nobody waits long for what others have sent.

A batch is answered as a whole, so each of its requests waits for the costliest. Photos are taken in the
order of what they should cost, so that ordinary ones are read whatever comes with them, and the batch's
CPU time is given out as it goes. What comes when it is used up is refused and may be sent again.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from handler.answers import Photo, Request
from model.decoder import children_cpu_s
from model.decoding_cost import expected_s
from model.errors import TooBusy
from model.limits import PhotoLimits

_REQUEST_S = 0.15  # of CPU for each request that a batch may hold: a 24-megapixel JPEG, say
_BATCH_SHARE = 0.8  # of what one photo may take, at least, for a batch of several requests
_MARGIN = 2.0  # times what a photo should cost, which ordinary ones stay below: docs/experiments.md
_SMALL_S = 0.05  # what should cost no more isn't refused because other programs use the processor
_LEAST_WALL_S = 0.5  # by the clock, for what is let through late


@dataclass
class Prices:
    """Seconds of CPU for a photo that is decoded; of the network, as measured."""

    answer_s: float
    explain_s: float = 0.01  # of 224 pixels; most of it packs the picture

    def of(self, photo: Photo) -> float:
        """For one photo, which may ask for an explanation."""
        return self.answer_s + (self.explain_s if photo.explain else 0)


class BatchBudget:
    """The time of one batch: of CPU, and for child processes by the clock, too."""

    def __init__(self, limits: PhotoLimits, prices: Prices, batch_size: int) -> None:
        """Start the clock for a batch of at most `batch_size` requests."""
        self._limits, self._prices, self._batch_size = limits, prices, batch_size
        self._cpu_began, self._wall_began = _cpu_s(), time.monotonic()
        self._owed_s = 0.0  # to the network, for the photos that were read

    def allot(self, requests: Sequence[Request]) -> Iterator[tuple[Photo, PhotoLimits]]:
        """Yield the photos that can be afforded, to be read within the limits beside them; fail others.

        The cheapest request is first. A photo may take what is left, less `_MARGIN` times what those
        after it should cost as far as there is enough for them. One is always let through.
        """
        costs = {id(photo): self._cost(photo) for request in requests for photo in request.photos}
        ordered = sorted(requests, key=lambda request: sum(costs[id(p)] for p in request.photos))
        queue = [photo for request in ordered for photo in request.photos if costs[id(photo)]]
        cpu_s, wall_s = self._totals(len(requests))
        for at, photo in enumerate(queue):
            cost, left = costs[id(photo)], cpu_s + self._cpu_began - _cpu_s() - self._owed_s
            wall = wall_s + self._wall_began - time.monotonic()
            if at and (cost > left or (wall <= 0 and cost > _SMALL_S)):
                photo.fail(too_busy(cost))
                continue
            spare = left - _MARGIN * cost
            for later in queue[at + 1 :]:
                if _MARGIN * costs[id(later)] > spare:
                    break
                spare -= _MARGIN * costs[id(later)]
            most = max(cost, min(left, _MARGIN * cost + max(0, spare))) - self._prices.of(photo)
            most = min(self._limits.max_cpu_s, most)
            yield photo, replace(self._limits, max_cpu_s=most, max_wall_s=max(_LEAST_WALL_S, wall))
            if photo.pixels is not None:
                self._owed_s += self._prices.of(photo)

    def _totals(self, requests: int) -> tuple[float, float]:
        """Seconds of CPU, and by the clock, of a batch of so many requests; one keeps nobody waiting."""
        if requests == 1:
            return self._limits.max_cpu_s + _REQUEST_S, self._limits.max_wall_s
        several_s = max(_BATCH_SHARE * self._limits.max_cpu_s, _REQUEST_S * self._batch_size)
        return several_s, several_s

    def _cost(self, photo: Photo) -> float:
        """What a photo should cost; 0 if it is answered already."""
        if isinstance(photo.content, Exception) or photo.status != 200:
            return 0
        return expected_s(photo.content) + self._prices.of(photo)


def too_busy(cost_s: float) -> TooBusy:
    """Say that a photo which takes so long was refused because of what came with it."""
    return TooBusy(
        f"the photo takes {cost_s:.2g} s of CPU or more, and not as much is left beside the others that "
        "came at the same time; send it again, or a smaller one"
    )


def _cpu_s() -> float:
    return time.process_time() + children_cpu_s()
