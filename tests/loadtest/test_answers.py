"""What counts as a wrong answer under load."""

import json

import pytest

from loadtest.answers import (
    version_of,
    what_is_wrong,
    what_is_wrong_with_explanation,
    what_is_wrong_with_refusal,
    what_is_wrong_with_several,
)

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
        (503, '{"type": "ServiceUnavailableException"}', "status 503 ServiceUnavailableException"),
        (0, None, "no answer"),
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


def test_classes_that_a_folder_lacks_or_does_not_mean() -> None:
    """An answer names more classes than a folder has; folders of days, say, are no classes."""
    answer = json.dumps(GOOD)
    assert what_is_wrong(200, answer, {"a"}) is None
    assert what_is_wrong(200, answer, {"day 1", "day 2"}, labelled=False) is None
    for labelled, classes in ((True, {"c"}), (True, {"a", "c"}), (False, {"a", "c"})):
        wrong = what_is_wrong(200, answer, classes, labelled=labelled)
        assert wrong == "classes ['a', 'b'], without ['c'] of the photos sent"
    spelt = json.dumps(GOOD | {"predicted": "e\u0301", "probabilities": {"e\u0301": 0.7, "b": 0.3}})
    assert what_is_wrong(200, spelt, {"\xe9"}) is None


def test_what_a_server_calls_an_error_is_printed_escaped() -> None:
    assert what_is_wrong(500, json.dumps({"type": "\x1b[31m"}), set()) == r"status 500 \x1b[31m"


def test_the_version_that_answers_is_checked() -> None:
    answer = json.dumps(GOOD | {"model_version": "2.0"})
    assert what_is_wrong(200, answer, CLASSES, "2.0") is None
    assert "version '2.0' instead of '1.0'" in str(what_is_wrong(200, answer, CLASSES, "1.0"))
    assert version_of(answer) == "2.0"
    assert version_of("<html>") is None


@pytest.mark.parametrize(
    ("answers", "wrong"),
    [
        ([GOOD, GOOD], None),
        ([GOOD], "no list of 2 answers"),
        (GOOD, "no list of 2 answers"),
        ([GOOD, {"code": 400, "type": "UnreadableImage"}], "no answer of ours"),
    ],
)
def test_several_answers_are_each_checked(answers: object, wrong: str | None) -> None:
    found = what_is_wrong_with_several(200, json.dumps(answers), CLASSES, 2)
    assert found == wrong or str(wrong) in str(found)


@pytest.mark.parametrize(
    ("explanation", "good"),
    [
        ({"heatmap": [[0.0, 1.0], [0.5, 0.1]]}, True),
        ({"heatmap": [[0.0, 1.1]]}, False),
        ({"heatmap": []}, False),
        ({}, False),
        (None, False),
    ],
)
def test_an_explanation_needs_a_heatmap(explanation: object, good: bool) -> None:
    answer = json.dumps(GOOD | {"explanation": explanation})
    assert (what_is_wrong_with_explanation(200, answer, CLASSES) is None) == good


def test_a_bad_photo_must_be_refused_in_the_right_way() -> None:
    refusal = json.dumps({"code": 415, "type": "UnsupportedFormat", "message": "..."})
    assert what_is_wrong_with_refusal(415, refusal, 415, "UnsupportedFormat") is None
    for status, body in ((400, refusal), (415, "{}"), (200, json.dumps(GOOD)), (0, None)):
        wrong = what_is_wrong_with_refusal(status, body, 415, "UnsupportedFormat")
        assert f"status {status}" in str(wrong)
        assert "instead of 415 UnsupportedFormat" in str(wrong)
    token = json.dumps({"type": "InvalidKeyException"})
    assert what_is_wrong_with_refusal(400, token, 400, "UnreadableImage")
