"""Whether an answer is one that a client can use; apart from Locust, which patches what imports it."""

import json
import unicodedata
from collections.abc import Set
from typing import Any

from model.text import printable


def what_is_wrong(
    status: int,
    body: str | None,
    classes: Set[str],
    version: str | None = None,
    labelled: bool = True,
) -> str | None:
    """Say what is wrong with the answer to one photo, or None.

    Args:
        status: of HTTP; 0 if there was no answer.
        body: as it came.
        classes: that it must name; it may name more.
        version: of the model that must have answered; None for any.
        labelled: whether these are classes for certain. Else they are names of folders, which may say
            something else, and count if the answer names one of them.
    """
    return _status(status, body) or _fault(_read(body), classes, version, labelled)


def what_is_wrong_with_several(
    status: int, body: str | None, classes: Set[str], count: int, labelled: bool = True
) -> str | None:
    """Say what is wrong with the answer to a form of `count` photos, or None."""
    if wrong := _status(status, body):
        return wrong
    answers = _read(body)
    if not isinstance(answers, list) or len(answers) != count:
        return f"no list of {count} answers"
    return next(
        (wrong for answer in answers if (wrong := _fault(answer, classes, None, labelled))), None
    )


def what_is_wrong_with_explanation(
    status: int, body: str | None, classes: Set[str], labelled: bool = True
) -> str | None:
    """Say what is wrong with an explained answer, or None."""
    if wrong := what_is_wrong(status, body, classes, labelled=labelled):
        return wrong
    try:
        rows = _read(body)["explanation"]["heatmap"]
        values = [value for row in rows for value in row]
        good = bool(values) and all(0 <= value <= 1 for value in values)
    except (KeyError, TypeError):
        good = False
    return None if good else "no explanation with a heatmap from 0 to 1"


def what_is_wrong_with_refusal(status: int, body: str | None, expected: int, kind: str) -> str | None:
    """Say in which way a bad photo wasn't refused as it should be, or None."""
    if (status, error_type(body)) == (expected, kind):
        return None
    found = printable(f"status {status} {error_type(body) or ''}".strip())
    return f"{found} instead of {expected} {kind}"


def error_type(body: str | None) -> str | None:
    """Read what an error calls itself."""
    document = _read(body)
    found = document.get("type") if isinstance(document, dict) else None
    return found if isinstance(found, str) else None


def version_of(body: str | None) -> str | None:
    """Read which version of the model answered."""
    document = _read(body)
    found = document.get("model_version") if isinstance(document, dict) else None
    return found if isinstance(found, str) else None


def _read(body: str | None) -> Any:
    try:
        return json.loads(body or "")
    except ValueError:
        return None


def _status(status: int, body: str | None) -> str | None:
    if status == 200:
        return None
    if status == 0:
        return "no answer"
    return printable(f"status {status} {error_type(body) or ''}".strip())


def _fault(answer: Any, classes: Set[str], version: str | None, labelled: bool) -> str | None:
    try:
        predicted, probabilities = answer["predicted"], answer["probabilities"]
        total = sum(probabilities.values())
        best = max(probabilities, key=probabilities.__getitem__)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"no answer of ours ({type(error).__name__})"
    known = {unicodedata.normalize("NFC", name) for name in probabilities}
    if (unknown := classes - known) and (labelled or unknown != classes):
        return f"classes {sorted(known)}, without {sorted(unknown)} of the photos sent"
    if abs(total - 1) > 1e-3:
        return f"probabilities sum to {total:.4f}"
    if predicted not in (best, "unknown"):  # what a calibrated model says of a photo it isn't sure of
        return f"predicted {predicted!r}, but {best!r} is more probable"
    if version and answer.get("model_version") != version:
        return f"version {answer.get('model_version')!r} instead of {version!r}"
    return None
