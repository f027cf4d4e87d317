"""ICDAR: a text file per image, one text per line, x1,y1,x2,y2,x3,y3,x4,y4,text.

Also two corners (x0,y0,x1,y1,text), polygons of any number of points, MLT's script before the text
(...,Latin,SALE), and RCTW's mark before a quoted text (...,1,"SALE" where it is difficult, else 0).
"""

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dbnet.data.annotations.entries import Entry, Findings, Place, Source, Word, collecting
from dbnet.data.annotations.files import number_of, read_text
from dbnet.data.annotations.heads import Lines
from dbnet.data.annotations.pairs import pair
from dbnet.data.annotations.shapes import as_points, rectangle
from dbnet.data.annotations.values import shown
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
    layout = layout_of(head)
    with suppress(InputError):
        return all(len(parse_icdar_line(line, layout)[0]) for line in head)
    return False


def read(source: Source, found: Findings) -> Iterator[Entry]:
    """Blank lines are skipped; an empty file is an image without text.

    How many of a line's numbers are coordinates is decided for all files together: `layout_of`.
    """
    pairs = pair(source, ("gt_{}.txt", "{}.txt", "{}.csv"), found, recognises)
    layout = layout_of(_sample(source, [path for _, path in pairs]))
    if layout != QUADS:
        found.notes.append(f"{source.annotations}: {layout.description()}")
    for name, path in pairs:
        words = []
        with collecting(found.problems):
            for number, line in enumerate(_LINE_END.split(read_text(source.bounds, path)), 1):
                if not line.strip():
                    continue
                place = f"{path}, line {number}"
                try:
                    points, text = parse_icdar_line(line, layout)
                except ValueError as error:
                    found.problems.append(f"{place}: {error}: {shown(line)}")
                    continue
                words.append(_word(place, points, text, layout))
                if len(points) != 4 and layout.outlines == "quads":
                    found.notes.append(f"{place}: read as {len(points)} points")
        yield Entry(str(path), name, None, words)


_LINE_END = re.compile(r"\r\n|\n|\r")
_NUMBER = re.compile(
    r"\s*[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|nan|inf)\s*", re.ASCII | re.IGNORECASE
)
_SPACED_BOX = re.compile(r"\s*(-?\d+) (-?\d+) (-?\d+) (-?\d+)\s+(\".*\")\s*", re.ASCII)

# The field before the text in the multi-lingual sets (MLT 2017 and 2019).
_SCRIPTS = frozenset((
    "arabic", "bangla", "chinese", "hindi", "japanese", "korean", "latin", "mixed", "none",
    "symbols",
))  # fmt: skip

# The mark and the text of RCTW 2017.
_DIFFICULT = re.compile(r'\s*([01])\s*,\s*(".*)')

_SAMPLED_FILES = 2000

# Shares of a set's lines that decide for all of it. Few texts look like more coordinates
# (1,234,000 won), and few lines of a good file are broken.
_POLYGONS_FROM, _BOXES_FROM, _SCRIPTS_FROM = 0.2, 0.5, 0.9


class Layout(NamedTuple):
    """What the lines of a set have in common."""

    outlines: Literal["boxes", "quads", "polygons"] = "quads"
    scripts: bool = False  # the first field of the text is a script
    difficult: bool = False  # the first field of the text is 1 where it is difficult, else 0

    def description(self) -> str:
        kinds = {
            "boxes": "lines are read as left, top, right, bottom, text",
            "quads": "lines are read as four points and a text",
            "polygons": "lines are read as any number of points and a text",
        }
        before = ", with a script before it" if self.scripts else ""
        before += ", with 1 before it where it is difficult" if self.difficult else ""
        return kinds[self.outlines] + before


QUADS = Layout()


def _word(place: str, points: np.ndarray, text: str, layout: Layout) -> Word:
    marked = _DIFFICULT.fullmatch(text) if layout.difficult else None
    if marked is None:
        return Word(place, points, text)
    return Word(place, points, marked[2], ("difficult",) if marked[1] == "1" else ())


def layout_of(lines: Collection[str]) -> Layout:
    """The layout of a set, by its lines that are not blank."""
    split = [_comma_separated(line).split(",") for line in lines if "####" not in line]
    counts = [_leading_numbers(fields) for fields in split]
    if not counts:
        return QUADS
    pairs = list(zip(split, counts, strict=True))
    longer = [n >= 10 and n % 2 == 0 and any(f.strip() for f in fields[n:]) for fields, n in pairs]
    scripts = [len(f) > n + 1 and f[n].strip().lower() in _SCRIPTS for f, n in pairs]
    has_scripts = sum(scripts) >= _SCRIPTS_FROM * len(counts)
    boxes_from = _BOXES_FROM if max(counts) >= 8 else _POLYGONS_FROM  # x0,y0,x1,y1,12,50
    if sum(n in (4, 5) for n in counts) > boxes_from * len(counts):
        return Layout("boxes", has_scripts)
    is_open = any(n in (6, 7, 10, 11) for n in counts)  # other lines read alike as quads
    if is_open and (sum(longer) >= _POLYGONS_FROM * len(counts) or max(counts) < 8):
        return Layout("polygons", has_scripts)
    marked = [n == 9 and _DIFFICULT.fullmatch(",".join(f[8:])) is not None for f, n in pairs]
    return Layout("quads", has_scripts, sum(marked) >= _SCRIPTS_FROM * len(counts))


def _sample(source: Source, paths: list[Path]) -> list[str]:
    """Lines of files from all of the set; what cannot be read says so later."""
    lines: list[str] = []
    for path in paths[:: len(paths) // _SAMPLED_FILES + 1]:
        with suppress(InputError):
            text = read_text(source.bounds, path)
            lines += [line for line in _LINE_END.split(text) if line.strip()]
    return lines


def parse_icdar_line(line: str, layout: Layout = QUADS) -> tuple[np.ndarray, str]:
    """Points float64 (P, 2) and text of one line. Raises InputError, saying what is wrong.

    How many of the leading numbers are coordinates, where texts may be numbers with commas too:

    1. Numbers, then a field that begins with `####`: all of them, and the text follows the mark.
       This is how the ground truth of CTW1500 and Total-Text is commonly written.
    2. In a set of boxes 4 to 7: the first 4, two opposite corners.
    3. In a set of polygons 6 or more: all pairs; an odd last number begins the text.
    4. Else 6 or 7: the first 6, three points.
    5. Else 8 to 11: the first 8. The rest of the line is the text, commas included, so
       `...,12,34` and `...,1,234,567` stay quads.
    6. Else 12 or more: all pairs; an odd last number begins the text.

    The text is taken verbatim, quotation marks included, without the blanks around it and the
    script before it.
    """
    line = _comma_separated(line)
    marked = re.split(r",\s*####", line, maxsplit=1)
    fields = marked[0].split(",")
    count = _leading_numbers(fields)
    if len(marked) == 2 and count == len(fields):
        if count % 2 or count < 6:
            raise InputError(
                f"{number_of(count, 'number')} before ####, expected pairs, 3 at least"
            )
        return _points(fields), marked[1].strip()
    fields = line.split(",")
    found = _leading_numbers(fields)
    count = _coordinates(found, layout)
    if not count:
        expected = _EXPECTED[layout.outlines]
        raise InputError(f"begins with {number_of(found, 'number')}, expected {expected}")
    points = _points(fields[:count])
    has_script = layout.scripts and len(fields) > count + 1
    if has_script and fields[count].strip().lower() in _SCRIPTS:
        count += 1
    text = ",".join(fields[count:]).strip()
    return (points if len(points) > 2 else rectangle(*points)), text


_EXPECTED = {
    "boxes": "x0,y0,x1,y1,text",
    "quads": "x1,y1,x2,y2,x3,y3,x4,y4,text",
    "polygons": "x1,y1,x2,y2,x3,y3,...,text",
}


def _coordinates(numbers: int, layout: Layout) -> int:
    """How many of so many leading numbers are coordinates; 0 where they are too few."""
    if layout.outlines == "boxes" and 4 <= numbers < 8:
        return 4
    if layout.outlines == "polygons" and numbers >= 6:
        return numbers // 2 * 2
    if numbers < 8:
        return 6 if numbers >= 6 else 0
    return 8 if numbers < 12 else numbers // 2 * 2


def _points(fields: list[str]) -> np.ndarray:
    return as_points([float(field) for field in fields])


def _comma_separated(line: str) -> str:
    """A line of ICDAR 2013, `38 43 920 215 "Tiredness"`, as the others are."""
    spaced = _SPACED_BOX.fullmatch(line)
    return ",".join(spaced.groups()) if spaced else line


def _leading_numbers(fields: list[str]) -> int:
    for count, field in enumerate(fields):
        if not _NUMBER.fullmatch(field):
            return count
    return len(fields)
