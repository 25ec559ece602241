"""A closed loop that knows which versions may answer.

They are named while it asks; an answer is right if its version was allowed at any time between its
request and itself.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from loadtest.answers import version_of
from loadtest.closed_loop import AnswerRecord, ClosedLoop, endpoint_of
from serving.server.client import Client
from serving.server.latency import percentile

_TIMEOUT_S = 30.0  # an answer that takes longer counts as none: the client hung


@dataclass
class RequestTally:
    """What became of the requests of a span of time."""

    requests: int = 0
    failed: int = 0
    wrong: int = 0
    longest_s: float = 0.0
    p99_s: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)


class ContinuousLoad(ClosedLoop):
    """Clients that send one photo without a pause."""

    def __init__(
        self,
        client: Client,
        photo: bytes,
        users: int,
        allowed: str,
        version: str | None = None,
        think_s: float = 0.0,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            client: knows the server and its tokens.
            photo: what is sent.
            users: clients at once.
            allowed: the version that may answer at first.
            version: that they name in the URL; None for the default.
            think_s: between an answer and the client's next request.
        """
        requests = [(photo, lambda content: version_of(content.decode()))]
        super().__init__(endpoint_of(client, version, _TIMEOUT_S), requests, users, think_s)
        self._allowed = [(0.0, frozenset({allowed}))]

    def allow(self, *versions: str) -> None:
        """From now on these versions may answer."""
        self._allowed.append((time.monotonic(), frozenset(versions)))

    def tally(self, since: float = 0.0, until: float = float("inf")) -> RequestTally:
        """Count the requests that were under way between two times."""
        chosen = [a for a in list(self.answers) if a.answered >= since and a.sent <= until]
        times = [a.took_s for a in chosen]
        return RequestTally(
            requests=len(chosen),
            failed=sum(a.status != 200 for a in chosen),
            wrong=sum(a.status == 200 and not self._is_allowed(a) for a in chosen),
            longest_s=max(times, default=0.0),
            p99_s=percentile(times, 0.99),
            statuses=Counter(a.status for a in chosen),
        )

    def _is_allowed(self, answer: AnswerRecord) -> bool:
        spans = pairwise([*self._allowed, (float("inf"), frozenset[str]())])
        return any(
            answer.note in versions
            for (start, versions), (end, _) in spans
            if start <= answer.answered and end >= answer.sent
        )
