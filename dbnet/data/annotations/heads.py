"""The beginning of an annotation file, by which its format is recognised without reading it all."""

import json
import re
from pathlib import Path
from typing import Any

from dbnet.data.annotations.xml_files import xml_head

_HEAD = 1 << 16  # bytes
_LINES = 20

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]|[^"\[\]{},]+', re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}


class Lines(tuple[str, ...]):
    """The first lines of a text file that are not blank."""


def read_head(path: Path) -> Any:
    """What a file begins with: Lines, a JSON value cut short, or an XML element cut short.

    Returns None where the file is empty, cannot be read, or is not what its ending says.
    """
    try:
        with path.open("rb") as file:
            block = file.read(_HEAD)
    except OSError:
        return None
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return xml_head(path, block)
    text = block.decode("utf-8", "ignore").removeprefix("\ufeff")
    if suffix == ".json":
        return json_head(text)
    lines = text.splitlines()
    if len(block) == _HEAD and len(lines) > 1:
        lines.pop()  # cut short
    return Lines([line for line in lines if line.strip()][:_LINES]) or None


def json_head(text: str) -> Any:
    """The value that a JSON text begins with, up to the last member that is complete.

    Returns None where it is no JSON.
    """
    closing: list[str] = []
    end = 0  # where the text may be cut: `closing` closes it there
    at = 0
    for token in _TOKEN.finditer(text):
        if token.start() != at:
            break  # a string that does not end
        at = token.end()
        symbol = token.group()
        if symbol in _CLOSING:
            closing.append(_CLOSING[symbol])
        elif closing and symbol == closing[-1]:
            closing.pop()
        elif symbol != ",":
            continue
        end = token.start() if symbol == "," else at
        if not closing:
            break
    try:
        return json.loads(text[:end] + "".join(reversed(closing)))
    except (ValueError, RecursionError):
        return None
