"""Whether a model answers its golden photos as training did: the one rule of gate, worker and rollout.

The packaging gate asks it of an archive, each worker of itself at its start, a deployment of the
running server.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from model.bundle import Golden, as_probabilities
from model.calibration import UNKNOWN
from model.engines import REDUCED
from model.errors import FlyobjError
from model.image import DEFAULT_LIMITS
from model.predictor import Predictor


def difference(golden: Golden, answer: Mapping[str, Any], tolerance: float = REDUCED) -> str | None:
    """Say how `answer` differs from training's beyond `tolerance`, or None.

    That is the engine's; by default the widest, for answers of a server, whose workers have held
    themselves against their own.

    "unknown" differs from no name: the probabilities that led to it are compared.
    """
    expected, got = golden.probabilities, answer.get("probabilities")
    if not isinstance(got, Mapping):
        return f"{golden.name}: no answer but {dict(answer)}"
    if set(got) != set(expected):
        return f"{golden.name}: classes {sorted(got)}, training had {sorted(expected)}"
    top, gap = max(expected, key=expected.__getitem__), max(abs(got[c] - expected[c]) for c in got)
    predicted = str(answer.get("predicted"))
    # Another top class is right only where training had the two level.
    behind = 0.0 if predicted == UNKNOWN else expected[top] - expected.get(predicted, 0.0)
    if gap > tolerance or behind > tolerance:
        return (
            f"{golden.name}: {answer.get('predicted')!r}, training answered {top!r}; probabilities "
            f"differ by up to {gap:.2g}, {tolerance:g} is allowed"
        )
    return None


def self_check(predictor: Predictor, golden: Sequence[Golden]) -> None:
    """Let `predictor` answer the golden photos one by one.

    Raises:
        FlyobjError: an answer differs from training's; the message is one line.
    """
    found = []
    for photo in golden:
        row = predictor.predict([predictor.prepare(photo.photo, DEFAULT_LIMITS)])[0]
        probabilities = as_probabilities(predictor.classes, row)
        answer = {"predicted": predictor.name(row), "probabilities": probabilities}
        found.append(difference(photo, answer, predictor.engine.tolerance))
    wrong = [line for line in found if line]
    if wrong:
        raise FlyobjError(
            f"the model answers {len(wrong)} of {len(golden)} golden photos otherwise than training "
            f"did, so it is not served: {'; '.join(wrong)}"
        )
