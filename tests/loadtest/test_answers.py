"""What counts as a wrong answer under load."""

import json

import pytest

from loadtest.answers import what_is_wrong

CLASSES = {"a", "b"}
GOOD = {"predicted": "a", "confidence": 0.7, "probabilities": {"a": 0.7, "b": 0.3}}


def test_a_good_answer_is_right() -> None:
    assert what_is_wrong(200, json.dumps(GOOD), CLASSES) is None
    assert what_is_wrong(200, json.dumps(GOOD), set()) is None
    assert what_is_wrong(200, json.dumps(GOOD | {"predicted": "unknown"}), CLASSES) is None


@pytest.mark.parametrize(
    ("status", "body", "wrong"),
    [
        (503, json.dumps(GOOD), "status 503"),
        (200, None, "no answer of ours"),
        (200, "<html>", "no answer of ours"),
        (200, "[1]", "no answer of ours"),
        (200, json.dumps({"predicted": "a"}), "no answer of ours"),
        (200, json.dumps(GOOD | {"probabilities": {"a": 0.7, "c": 0.3}}), "classes"),
        (200, json.dumps(GOOD | {"probabilities": {"a": 0.7, "b": 0.2}}), "sum to 0.9"),
        (200, json.dumps(GOOD | {"predicted": "b"}), "'a' is more probable"),
    ],
)
def test_what_is_wrong_is_named(status: int, body: str | None, wrong: str) -> None:
    assert wrong in str(what_is_wrong(status, body, CLASSES))
