"""YOLO: a text file per image, a class and coordinates as fractions of width and height a line.

class x1 y1 x2 y2 x3 y3 x4 y4         oriented boxes (OBB)
class x1 y1 x2 y2 ... xn yn           segmentation, any number of points
class x_centre y_centre width height  boxes

A file classes.txt beside them names the classes, one a line.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from dbnet.data.annotations.entries import Entry, Findings, Place, Source, Word, collecting
from dbnet.data.annotations.files import read_text
from dbnet.data.annotations.heads import Lines
from dbnet.data.annotations.pairs import pair
from dbnet.data.annotations.shapes import as_points, rectangle
from dbnet.data.annotations.values import shown
from dbnet.errors import InputError

TITLE = "YOLO"
PLACES = (
    Place("labels/{split}", "text"),
    Place("{split}/labels", "text"),
    Place("{images}", "text"),
)

_CLASSES = "classes.txt"

_LARGEST = 2  # coordinate, with room for what reaches over the border

_LINE = re.compile(
    r"\s*\d{1,9}(?:\s+[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?){4,}\s*", re.ASCII | re.I
)


def recognises(head: Any) -> bool:
    """Numbers between blanks; those behind the class lie in 0..1, with room for rounding."""
    if not isinstance(head, Lines) or not all(map(_LINE.fullmatch, head)):
        return False
    return max(max(map(float, line.split()[1:])) for line in head) <= _LARGEST


def read(source: Source, found: Findings) -> Iterator[Entry]:
    """All classes are text; the name of one ignores its texts as a mark does.

    There are no transcriptions.
    """
    pairs = pair(source, ("{}.txt",), found, recognises, own=(_CLASSES,))
    classes = _class_names(source)
    for name, path in pairs:
        words = []
        with collecting(found.problems):
            for number, line in enumerate(read_text(source.bounds, path).splitlines(), 1):
                if line.strip():
                    with collecting(found.problems):
                        place = f"{path}, line {number}"
                        points = _points(line, place)
                        labels = classes[int(line.split()[0]) :][:1]
                        words.append(Word(place, points, "", labels=labels))
        yield Entry(str(path), name, None, words, relative=True)


def _class_names(source: Source) -> tuple[str, ...]:
    path = source.annotations / _CLASSES
    return tuple(read_text(source.bounds, path).splitlines()) if path.is_file() else ()


def _points(line: str, place: str) -> np.ndarray:
    """Float64 (P, 2), fractions of width and height."""
    if not _LINE.fullmatch(line):
        raise InputError(f"{place}: must be a class and 4, 6 or more numbers: {shown(line)}")
    numbers = [float(field) for field in line.split()[1:]]
    if max(numbers) > _LARGEST:
        raise InputError(
            f"{place}: coordinates must be fractions of the image's width and height, 0..1: "
            f"{shown(line)}"
        )
    if len(numbers) == 4:
        centre, half = np.array(numbers[:2]), np.array(numbers[2:]) / 2
        return rectangle(centre - half, centre + half)
    if len(numbers) % 2:
        raise InputError(
            f"{place}: {len(numbers)} numbers behind the class are no pairs; "
            f"leave out confidences: {shown(line)}"
        )
    return as_points(numbers)
