"""Marks and classes of annotated texts."""

import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from dbnet.settings import EvalDataConfig

TEXT_NAMES = ("text", "transcription", "utf8_string")

_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")
_TAGS = ("tags", "word_tags")
_READABLE = ("legible", "readable")


@lru_cache(4096)
def spelling(mark: str) -> str:
    """What all spellings of a mark share: `Don't care`, `dont_care` and `DontCare` are one."""
    mark = unicodedata.normalize("NFKC", mark).casefold().strip()
    return "".join(filter(str.isalnum, mark)) or mark


_KNOWN = {*map(spelling, EvalDataConfig.ignore_marks), "illegibility"}


def attribute_marks(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Of attributes that the annotator chose: those that are true, and options that are on.

    `illegible` where `legible` is false.
    """
    return tuple(_marks(attributes, attributes.keys()))


def member_marks(text: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the object or element that is a text: its members that are true, and its tags.

    1 and "true" count as true where the name is one of `--data.ignore-marks` by default: other
    numbers count something.
    """
    known = {name for name in text if spelling(name) in _KNOWN}
    return tuple(_marks(text, known))


def attribute_classes(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Values that are words, such as `illegible` of `legibility`, apart from transcriptions."""
    return tuple(
        value
        for name, value in attributes.items()
        if name not in TEXT_NAMES and isinstance(value, str)
    )


def _marks(members: Mapping[str, Any], chosen: Any) -> Iterator[str]:
    for name, value in members.items():
        if isinstance(value, dict) and name in chosen:
            yield from (option for option, is_on in value.items() if is_on is True)
        elif name in _TAGS and isinstance(value, (list, str)):
            yield from map(str, [value] if isinstance(value, str) else value)
        elif name in TEXT_NAMES or not isinstance(value, (bool, int, str)):
            continue
        elif name.lower() in _READABLE:
            yield from ["illegible"] * (str(value).strip().lower() in _NO)
        elif value is True or (name in chosen and str(value).strip().lower() in _YES):
            yield "illegible" if name.lower() == "illegibility" else name
