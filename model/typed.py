"""Whether what a JSON document holds has the types of the dataclass that it is to become."""

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from model.errors import InputError

_SHOWN = 60  # characters of a wrong value


def check_fields(kind: type, document: Mapping[str, Any], where: str, remedy: str) -> None:
    """Compare each value of `document` with the annotation of `kind`'s field of that name.

    Lists stand for tuples and sequences, text for paths and enumerations, objects for dataclasses;
    whole numbers, of 64 bits at most, are floats too. Missing and unknown keys are for `exact_keys`.

    Raises:
        InputError: one has another type; the message begins with `where` and ends with `remedy`.
    """
    hints = get_type_hints(kind)
    if not isinstance(document, Mapping):
        raise InputError(f"{where}: {document!r:.60} isn't an object; {remedy}")
    for name, value in document.items():
        if name in hints and not _fits(value, hints[name]):
            shown = repr(value) if len(repr(value)) <= _SHOWN else f"{repr(value)[:_SHOWN]}..."
            wanted = getattr(hints[name], "__name__", str(hints[name]))
            raise InputError(f"{where}: {name} {shown} isn't of the type {wanted}; {remedy}")


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return isinstance(value, dict) and all(
            _fits(one, hints[name]) for name, one in value.items() if name in hints
        )
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(_fits(one, inner[1]) for one in value.values())
    if isinstance(origin, type) and issubclass(origin, Sequence):  # tuples and lists too
        fixed = origin is tuple and inner[-1] is not Ellipsis
        kinds = inner if fixed else [inner[0]] * (len(value) if isinstance(value, list) else 0)
        return isinstance(value, list) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return isinstance(value, str | int) and value in {one.value for one in hint}
    if type(value) is int and not -(2**63) <= value < 2**63:
        return hint is Any
    simple = {float: (int, float), int: (int,), str: (str,), bool: (bool,), Path: (str,)}
    return type(value) in {**simple, NoneType: (NoneType,)}.get(hint, (type(value),))
