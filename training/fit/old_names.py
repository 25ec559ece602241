"""Names that settings.json, run.json, last.ckpt and the range tests' tables had in earlier versions."""

from typing import Any

_NEW = {
    "rate": "lr",
    "rate_from": "lr_from",
    "open_blocks": "trainable_blocks",
    "share": "lr_scale",  # of an optimizer's groups
    "running": "current",
}


def with_new_names(document: Any) -> Any:
    """Rename old keys, however deep; a document of this version stays as it is."""
    if isinstance(document, dict):
        return {_NEW.get(key, key): with_new_names(value) for key, value in document.items()}
    if isinstance(document, list):
        return [with_new_names(value) for value in document]
    return document
