"""When an answer counts as training's."""

import re
from typing import Any

import pytest

from model.golden import EXACT, Golden, difference

GOLDEN = Golden("00.jpg", b"", "b", {"a": 0.1, "b": 0.7, "c": 0.2})
TIE = Golden("01.jpg", b"", "a", {"a": 0.5, "b": 0.5 - EXACT / 2, "c": EXACT / 2})


def answer(predicted: str, *probabilities: float) -> dict[str, Any]:
    return {"predicted": predicted, "probabilities": dict(zip("abc", probabilities, strict=True))}


@pytest.mark.parametrize(
    ("golden", "given"),
    [
        (GOLDEN, answer("b", 0.1, 0.7, 0.2)),
        (GOLDEN, answer("b", 0.1 + EXACT / 2, 0.7 - EXACT / 2, 0.2)),
        (TIE, answer("b", 0.5 - EXACT / 2, 0.5, EXACT / 2)),
    ],
)
def test_as_training(golden: Golden, given: dict[str, Any]) -> None:
    assert difference(golden, given, EXACT) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (answer("b", 0.1 + 2 * EXACT, 0.7 - 2 * EXACT, 0.2), "differ by up to 0.002"),
        (answer("a", 0.1, 0.7, 0.2), "'a', training answered 'b'"),
        ({"predicted": "b", "probabilities": {"a": 0.3, "b": 0.7}}, r"classes \['a', 'b'\]"),
        ({"code": 400, "type": "UnreadableImage"}, "no answer but .*UnreadableImage"),
        (answer("d", 0.1, 0.7, 0.2), "'d'"),
    ],
)
def test_otherwise(given: dict[str, Any], message: str) -> None:
    found = difference(GOLDEN, given, EXACT)
    assert found is not None
    assert found.startswith("00.jpg: ")
    assert re.search(message, found), found
