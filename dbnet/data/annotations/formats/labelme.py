"""LabelMe: {"shapes": [{"shape_type", "points", "text"?}]}, a JSON file per image."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dbnet.data.annotations.entries import Entry, Findings, Place, Source, Word, collecting
from dbnet.data.annotations.json_files import read_json
from dbnet.data.annotations.marks import attribute_classes, attribute_marks, member_marks
from dbnet.data.annotations.pairs import pair
from dbnet.data.annotations.shapes import ellipse, rectangle
from dbnet.data.annotations.values import first_text, optional, point_pairs, stated_size, typed
from dbnet.errors import InputError

TITLE = "LabelMe"
PLACES = (
    Place("jsons/{split}", "json"),
    Place("annotations/{split}", "json"),
    Place("{images}", "json"),
)


def recognises(head: Any) -> bool:
    return isinstance(head, dict) and isinstance(head.get("shapes"), list)


def read(source: Source, found: Findings) -> Iterator[Entry]:
    """Polygons, quadrilaterals, and rectangles by two opposite corners or all four.

    Of other shapes the box of a mask and any four points are outlines; the region of the rest is
    ignored. `label` is a class; the transcription is `transcription`, `text` or `description`.
    What is true of a shape, its `flags` or `attributes` is a mark. The image is the one with the
    file's own name: `imagePath` is not followed.
    """
    for name, path in pair(source, ("{}.json",), found, recognises):
        entry = None
        with collecting(found.problems):
            content = read_json(path, dict, source, found)
            size = stated_size(content, "imageWidth", "imageHeight", f"{path}")
            entry = Entry(str(path), name, size, [])
            shapes = typed(content.get("shapes"), f"{path}: shapes", list)
            for index, shape in enumerate(shapes):
                place = f"{path}: shapes[{index}]"
                with collecting(found.problems):
                    entry.words.append(_labelme_word(typed(shape, place, dict), place))
        if entry:
            yield entry


def _labelme_word(shape: dict, place: str) -> Word:
    text = first_text(shape, _TEXT_KEYS, place)
    flags = optional(shape, "flags", place, dict) or {}
    attributes = optional(shape, "attributes", place, dict) or {}
    optional(shape, "difficult", place, bool, int)
    word = Word(
        place,
        point_pairs(shape.get("points"), f"{place}/points"),
        text,
        (*member_marks(shape), *attribute_marks(flags), *attribute_marks(attributes)),
        (optional(shape, "label", place, str) or "", *attribute_classes(attributes)),
    )
    return _outlined(word, optional(shape, "shape_type", place, str) or "polygon")


_TEXT_KEYS = ("transcription", "text", "description")
_FOUR_POINTS = ("quadrilateral", "rotation", "oriented_rectangle")  # of forks and of version 6


def _outlined(word: Word, kind: str) -> Word:
    """The word with the outline of its shape, or with the region that is ignored."""
    points = word.points
    if kind == "polygon" or (kind in _FOUR_POINTS and len(points) == 4):
        return word
    if kind == "rectangle":
        if len(points) not in (2, 4):
            raise InputError(f"{word.place}/points: a rectangle has 2 or 4, found {len(points)}")
        return word if len(points) == 4 else word._replace(points=rectangle(*points))
    if kind == "mask" and len(points) == 2:
        return word._replace(points=rectangle(*points), repaired="box of a mask")
    if kind == "circle" and len(points) == 2:  # centre and a point of the rim
        (x, y), (rim_x, rim_y) = points
        radius = float(np.hypot(rim_x - x, rim_y - y))
        return word._replace(points=ellipse(x, y, radius, radius), damaged="shape circle")
    if len(points) == 4:
        return word._replace(repaired=f"shape {kind} of four points")
    return word._replace(damaged=f"shape {kind}")
