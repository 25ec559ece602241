"""Whether answers under attack are right: to good photos as the bundle's, to bad ones as allowed."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.reliability.corpus import Case, good_cases
from model.answers import as_probabilities
from model.bundle import read_bundle
from model.golden import TOLERANCE, Golden, difference
from model.limits import RGB
from model.predictor import Predictor


@dataclass
class FuzzTally:
    """What came of the requests; shared by the clients."""

    statuses: Counter[int] = field(default_factory=Counter)
    good: int = 0
    wrong: list[str] = field(default_factory=list)
    table: dict[str, tuple[str, Counter[int]]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, case: Case, status: int, wrong: str | None) -> None:
        """Count one answer; status 0 is none."""
        with self.lock:
            if case.photo is None:
                self.statuses[status] += 1
            else:
                self.good += 1
            if wrong:
                self.wrong.append(f"{case.kind}: {wrong}")
            expected = " or ".join(map(str, sorted(case.statuses)))
            self.table.setdefault(case.kind, (expected, Counter()))[1][status] += 1


class Judge:
    """Sends requests and says what is wrong with their answers."""

    def __init__(
        self, url: str, token: Callable[[], str], bundle: Path, photo: RGB, trained: bool
    ) -> None:
        """Answer every good case with the bundle itself, to compare with.

        Only of a model that is `trained` it is asked that a photo keeps its class in other formats.
        """
        self._trained = trained
        self._url, self._token = url, token
        self._predictor = Predictor(read_bundle(bundle))
        self.good = list(good_cases(photo))
        self.expected = {case.photo: self._answer(case) for case in self.good}
        of_original = self.expected[self.good[0].photo].probabilities
        self._best = max(of_original, key=of_original.__getitem__)

    def clients(self) -> httpx.Client:
        """Open a connection of one client."""
        headers = {"Authorization": f"Bearer {self._token()}"}
        return httpx.Client(timeout=120, headers=headers, trust_env=False)

    def ask(self, http: httpx.Client, case: Case) -> tuple[int, str | None]:
        """Send `case`; return the status and what is wrong, if anything."""
        path = case.path if case.path.startswith("/v1") else f"/predictions/flying_objects{case.path}"
        headers = {"Content-Type": case.content_type} if case.content_type else {}
        try:
            response = http.post(f"{self._url}{path}", content=case.body, headers=headers)
        except httpx.TransportError as error:
            return 0, f"no answer ({type(error).__name__})"
        if response.status_code not in case.statuses or "InternalError" in response.text:
            return response.status_code, f"HTTP {response.status_code} {response.text[:200]}"
        return response.status_code, self._difference(case, response) if case.photo else None

    def _difference(self, case: Case, response: httpx.Response) -> str | None:
        answer: Any = response.json()
        if isinstance(answer, dict):
            answer = answer.get("predictions", answer)
        answer = answer[0] if isinstance(answer, list) else answer
        expected = self.expected[case.photo]
        if self._trained and case.same_as_original and answer["predicted"] != self._best:
            return f"{answer['predicted']!r}, the original photo is {self._best!r}"
        if len(answer["probabilities"]) < len(expected.probabilities):  # top_k
            gaps = [abs(p - expected.probabilities[c]) for c, p in answer["probabilities"].items()]
            return f"differs by {max(gaps):.2g}" if max(gaps) > TOLERANCE else None
        return difference(expected, answer)

    def _answer(self, case: Case) -> Golden:
        row = self._predictor.predict([self._predictor.prepare(case.photo or b"")])[0]
        return Golden(case.kind, b"", "", as_probabilities(self._predictor.classes, row))
