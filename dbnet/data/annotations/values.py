"""Values in annotation files: checks of their type, with the file and the place in the error."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from dbnet.data.annotations.shapes import as_points
from dbnet.errors import InputError


def shown(value: Any) -> str:
    """A value for a message, on one line and not too long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}..."


_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a number",
}


def typed(value: Any, place: str, *types: type) -> Any:
    """The value, if it is of one of the JSON types (exactly: true is no integer)."""
    if type(value) not in types:
        found = "is missing" if value is None else f"found {shown(value)}"
        raise InputError(f"{place}: {found}; must be {' or '.join(_NAMES[t] for t in types)}")
    return value


def optional(parent: dict, key: str, place: str, *types: type) -> Any:
    """The value under a key if it is of one of the JSON types; None where missing or null."""
    value = parent.get(key)
    return None if value is None else typed(value, f"{place}/{key}", *types)


def stated_size(parent: dict, width: str, height: str, place: str) -> tuple[float, float] | None:
    """Height and width under these keys, None where either is missing or 0."""
    size = tuple(optional(parent, key, place, int, float) for key in (height, width))
    return size if all(size) else None


def first_text(parent: dict, keys: Sequence[str], place: str) -> str:
    """The first string under one of the keys that is not empty; "" where there is none."""
    return next(filter(None, [optional(parent, key, place, str) for key in keys]), "")


def number(text: str | None, place: str) -> float:
    """The number that a text of an XML file holds; `text` is None where the file lacks it."""
    try:
        return float(text or "")
    except ValueError:
        found = "is missing" if text is None else f"found {shown(text)}"
        raise InputError(f"{place} {found}; must be a number") from None


def point_pairs(value: Any, place: str) -> np.ndarray:
    """A list of [x, y] as float64 (P, 2)."""
    numbers = (int, float)
    if not isinstance(value, list) or not all(
        isinstance(p, list) and len(p) == 2 and type(p[0]) in numbers and type(p[1]) in numbers
        for p in value
    ):
        raise InputError(f"{place}: must be a list of [x, y] pairs, found {shown(value)}")
    return as_points(value)
