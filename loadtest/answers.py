"""Whether an answer is one that a client can use; apart from Locust, which patches what imports it."""

import json


def what_is_wrong(status: int, body: str | None, classes: set[str]) -> str | None:
    """Say what is wrong with an answer, or None. Empty `classes` stand for any names."""
    if status != 200:
        return f"status {status}"
    try:
        answer = json.loads(body or "")
        predicted, probabilities = answer["predicted"], answer["probabilities"]
        total = sum(probabilities.values())
        best = max(probabilities, key=probabilities.__getitem__)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"no answer of ours ({type(error).__name__})"
    if classes and set(probabilities) != classes:
        return f"classes {sorted(probabilities)} instead of {sorted(classes)}"
    if abs(total - 1) > 1e-3:
        return f"probabilities sum to {total:.4f}"
    if predicted not in (best, "unknown"):  # what a calibrated model says of a photo it isn't sure of
        return f"predicted {predicted!r}, but {best!r} is more probable"
    return None
