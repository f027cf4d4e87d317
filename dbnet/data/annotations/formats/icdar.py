"""ICDAR: a text file per image, one text per line, x1,y1,x2,y2,x3,y3,x4,y4,text."""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from dbnet.data.annotations.files import (
    Entry,
    Findings,
    Place,
    Source,
    Word,
    as_points,
    collecting,
    pair,
    read_text,
    shown,
)
from dbnet.data.annotations.heads import Lines
from dbnet.errors import InputError

TITLE = "ICDAR"
PLACES = (
    Place("gts/{split}", "text"),
    Place("annotations/{split}", "text"),
    Place("{images}", "text"),
)


def recognises(head: Any) -> bool:
    if not isinstance(head, Lines):
        return False
    with suppress(InputError):
        return all(len(parse_icdar_line(line)[0]) for line in head)
    return False


def read(source: Source, found: Findings) -> Iterator[Entry]:
    """Blank lines are skipped; an empty file is an image without text."""
    pairs, problems = pair(source, ("gt_{}.txt", "{}.txt", "{}.csv"))
    found.problems.extend(problems)
    for name, path in pairs:
        words = []
        with collecting(found.problems):
            for number, line in enumerate(_LINE_END.split(read_text(source.bounds, path)), 1):
                if not line.strip():
                    continue
                place = f"{path}, line {number}"
                try:
                    points, text = parse_icdar_line(line)
                except ValueError as error:
                    found.problems.append(f"{place}: {error}: {shown(line)}")
                    continue
                words.append(Word(place, points, text))
                if len(points) != 4:
                    found.notes.append(f"{place}: read as {len(points)} points")
        yield Entry(str(path), name, None, words)


_LINE_END = re.compile(r"\r\n|\n|\r")
_NUMBER = re.compile(
    r"\s*[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|nan|inf)\s*", re.ASCII | re.IGNORECASE
)


def parse_icdar_line(line: str) -> tuple[np.ndarray, str]:
    """Points float64 (P, 2) and text of one line. Raises ValueError, saying what is wrong.

    How many of the leading numbers are coordinates, where texts may be numbers with commas too:

    1. Numbers, then a field that begins with `####`: all of them, and the text follows the mark.
       This is how the ground truth of CTW1500 and Total-Text is commonly written.
    2. Else 8 to 11 leading numbers: the first 8. The rest of the line is the text, commas
       included, so `...,12,34` and `...,1,234,567` stay quads.
    3. Else 12 or more leading numbers: all pairs; an odd last number begins the text.

    The text is taken verbatim, quotation marks included, without the blanks around it.
    """
    marked = re.split(r",\s*####", line, maxsplit=1)
    fields = marked[0].split(",")
    count = _leading_numbers(fields)
    if len(marked) == 2 and count == len(fields):
        if count % 2 or count < 6:
            raise InputError(f"{count} numbers before ####, expected pairs, 3 at least")
        text = marked[1]
    else:
        fields = line.split(",")
        count = _leading_numbers(fields)
        if count < 8:
            raise InputError(f"begins with {count} numbers, expected x1,y1,x2,y2,x3,y3,x4,y4,text")
        count = 8 if count < 12 else count // 2 * 2
        text = ",".join(fields[count:])
    return as_points([float(field) for field in fields[:count]]), text.strip()


def _leading_numbers(fields: list[str]) -> int:
    for count, field in enumerate(fields):
        if not _NUMBER.fullmatch(field):
            return count
    return len(fields)
