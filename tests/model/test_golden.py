"""When an answer counts as training's."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.errors import InputError
from model.golden import TOLERANCE, Golden, difference, read_golden

GOLDEN = Golden("00.jpg", b"", "b", {"a": 0.1, "b": 0.7, "c": 0.2})
TIE = Golden("01.jpg", b"", "a", {"a": 0.5, "b": 0.5 - TOLERANCE / 2, "c": TOLERANCE / 2})


def answer(predicted: str, *probabilities: float) -> dict[str, Any]:
    return {"predicted": predicted, "probabilities": dict(zip("abc", probabilities, strict=True))}


@pytest.mark.parametrize(
    ("golden", "given"),
    [
        (GOLDEN, answer("b", 0.1, 0.7, 0.2)),
        (GOLDEN, answer("b", 0.1 + TOLERANCE / 2, 0.7 - TOLERANCE / 2, 0.2)),
        (TIE, answer("b", 0.5 - TOLERANCE / 2, 0.5, TOLERANCE / 2)),
    ],
)
def test_as_training(golden: Golden, given: dict[str, Any]) -> None:
    assert difference(golden, given) is None  # neither tells how strange the photo is
    assert difference(golden, {**given, "novelty": 0.5}) is None
    assert difference(replace(golden, novelty=0.5), {**given, "novelty": 0.5 + TOLERANCE / 2}) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (answer("b", 0.1 + 2 * TOLERANCE, 0.7 - 2 * TOLERANCE, 0.2), "differ by up to 0.002"),
        (answer("a", 0.1, 0.7, 0.2), "'a', training answered 'b'"),
        ({**answer("b", 0.1, 0.7, 0.2), "novelty": 0.502}, r"novelty 0\.502, training had 0\.5000"),
        ({**answer("b", 0.1, 0.7, 0.2), "novelty": None}, "novelty None, training had"),
        ({"predicted": "b", "probabilities": {"a": 0.3, "b": 0.7}}, r"classes \['a', 'b'\]"),
        ({"code": 400, "type": "UnreadableImage"}, "no answer but .*UnreadableImage"),
        (answer("d", 0.1, 0.7, 0.2), "'d'"),
    ],
)
def test_otherwise(given: dict[str, Any], message: str) -> None:
    found = difference(replace(GOLDEN, novelty=0.5), {"novelty": 0.5, **given})
    assert found is not None
    assert found.startswith("00.jpg: ")
    assert re.search(message, found), found


@pytest.mark.parametrize("novelty", [1.5, -0.1, "high", True, float("nan")])
def test_a_novelty_that_is_no_share_is_refused(tmp_path: Path, novelty: object) -> None:
    entry = {"file": "00.jpg", "label": "a", "probabilities": {"a": 1.0}, "novelty": novelty}
    (tmp_path / "golden.json").write_text(json.dumps([entry]))
    (tmp_path / "00.jpg").write_bytes(b"photo")
    with pytest.raises(InputError, match=rf"golden\.json': {novelty!r} isn't a novelty; train or"):
        read_golden(tmp_path)
    (tmp_path / "golden.json").write_text(json.dumps([{**entry, "novelty": 1}]))
    assert read_golden(tmp_path)[0].novelty == 1
