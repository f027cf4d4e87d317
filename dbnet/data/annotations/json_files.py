"""JSON files: whole or one member at a time, with the line and column of errors."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbnet.data.annotations.entries import Findings, Source
from dbnet.data.annotations.files import read_text
from dbnet.data.annotations.values import shown, typed
from dbnet.errors import InputError


def read_json(path: Path, kind: type, source: Source, found: Findings) -> Any:
    """Contents of a JSON file of this kind, dict or list; keys that stand twice are problems."""
    content, repeated = load_json(source.bounds, path)
    found.problems.extend(repeated)
    return typed(content, f"{path}", kind)


def load_json(bounds: tuple[Path, ...], path: Path) -> tuple[Any, list[str]]:
    """Contents of a JSON file, and a problem for each key that an object holds twice."""
    problems: list[str] = []
    text = read_text(bounds, path)
    with _json_errors(path):
        return json.loads(text, object_pairs_hook=_as_dict(path, problems)), problems


def json_members(
    bounds: tuple[Path, ...], path: Path, key: str, problems: list[str]
) -> Iterator[tuple[str, Any]]:
    """The members of the object under `key` in a JSON file, one at a time.

    Where `key` comes first, only the text and one member are in memory. Notes a problem for each
    key that an object holds twice; raises ValueError where there is no such object.
    """
    # ijson is as fast, but drops repeated keys without notice, names neither line nor column of an
    # error, and turns lone surrogates into "?".
    text = read_text(bounds, path)
    head = re.match(rf'{_BLANK}{{{_BLANK}"{key}"{_BLANK}:{_BLANK}{{{_BLANK}', text)
    if head is None:
        content, repeated = load_json(bounds, path)
        problems.extend(repeated)
        yield from typed(typed(content, f"{path}", dict).get(key), f"{path}: {key}", dict).items()
        return
    decoder = json.JSONDecoder(object_pairs_hook=_as_dict(path, problems))
    names: set[str] = set()
    at = head.end()
    with _json_errors(path):
        more = text[at : at + 1] != "}"
        while more:
            if text[at : at + 1] != '"':
                reason = "Expecting property name enclosed in double quotes"
                raise json.JSONDecodeError(reason, text, at)
            name, at = decoder.raw_decode(text, at)
            at = _after_blanks(text, at)
            if text[at : at + 1] != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
            value, at = decoder.raw_decode(text, _after_blanks(text, at + 1))
            if name in names:
                problems.append(_twice(path, name, value))
            else:
                names.add(name)
                yield name, value
            at = _after_blanks(text, at)
            more = text[at : at + 1] == ","
            if more:
                at = _after_blanks(text, at + 1)
            elif text[at : at + 1] != "}":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at += 1
        front = f'{{"{key}": {{}}'
        try:
            decoder.decode(front + text[at:])
        except json.JSONDecodeError as error:
            place = at + error.pos - len(front)
            raise json.JSONDecodeError(error.msg, text, place) from None


_BLANK = r"[ \t\n\r]*"
_BLANKS = re.compile(_BLANK)


def _after_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


@contextmanager
def _json_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{path}: no valid JSON at {place}: {error.msg}") from None
    except (RecursionError, ValueError) as error:  # too deep, or numbers with too many digits
        raise InputError(f"{path}: JSON cannot be read: {error}") from None


def _as_dict(path: Path, problems: list[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """For `object_pairs_hook`: a dict, and a problem for each key that stands twice."""

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            problems.extend(
                _twice(path, key, result[key]) for key, count in counts.items() if count > 1
            )
        return result

    return as_dict


def _twice(path: Path, key: str, value: Any) -> str:
    return f"{path}: key {key!r} stands twice in one object, the last time with {shown(value)}"
