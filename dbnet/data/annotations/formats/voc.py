"""Pascal VOC: an XML file per image, <annotation><object><bndbox> and kin."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dbnet.data.annotations.entries import Entry, Findings, Place, Source, Word, collecting
from dbnet.data.annotations.marks import attribute_classes, attribute_marks, member_marks
from dbnet.data.annotations.pairs import pair
from dbnet.data.annotations.shapes import as_points, has_region, rectangle, turned
from dbnet.data.annotations.values import number
from dbnet.data.annotations.xml_files import Element, xml_members
from dbnet.errors import InputError

TITLE = "Pascal VOC"
PLACES = (
    Place("annotations/{split}", "xml"),
    Place("Annotations/{split}", "xml"),
    Place("xmls/{split}", "xml"),
    Place("labels/{split}", "xml"),
    Place("{images}", "xml"),
)


def recognises(head: Any) -> bool:
    return isinstance(head, Element) and head.tag == "annotation"


def read(source: Source, found: Findings) -> Iterator[Entry]:
    """Each object is a text, whatever its name.

    `difficult`, `ignore` and the like are marks where they are true, and so are `attributes`, as
    Datumaro writes them. The outline is `polygon` (x1, y1, x2, y2, ...), `robndbox` (roLabelImg:
    centre, sides, angle in radians) or `bndbox`, the first of these that has a region. The
    transcription is `text` or `transcription`. Coordinates are not shifted: the format counts
    pixels from 1, most tools from 0.

    The image is the one with the file's own name: `filename` and `path` are not followed.
    """
    for name, path in pair(source, ("{}.xml",), found, recognises):
        entry = None
        with collecting(found.problems):
            members = list(xml_members(source.bounds, path, "annotation"))
            size = None
            for element in members:
                if element.tag == "size":
                    size = _size(element, str(path))
            entry = Entry(str(path), name, size, [])
            objects = [element for element in members if element.tag == "object"]
            for index, element in enumerate(objects):
                place = f"{path}, line {element.line}: object[{index}]"
                if element.text_of("deleted") == "1":  # as the LabelMe of the web leaves it
                    found.dropped.append((place, "deleted by its annotator"))
                    continue
                with collecting(found.problems):
                    entry.words.append(_word(element, place))
        if entry:
            yield entry


def _size(element: Element, path: str) -> tuple[float, float] | None:
    """Height and width; None where missing or 0, as some tools write it."""
    sides = [_number(element, key, f"{path}, line {element.line}") for key in ("height", "width")]
    return (sides[0], sides[1]) if all(sides) else None


def _word(element: Element, place: str) -> Word:
    text = element.text_of("text") or element.text_of("transcription") or ""
    members = {child.tag: child.text for child in element.children}
    attributes = {
        each.text_of("name") or "": each.text_of("value") or ""
        for parent in element.all("attributes")
        for each in parent.all("attribute")
    }
    attributes |= {tag: members.get(tag, "") for tag in ("occluded", "truncated")}
    marks = (*member_marks(members), *attribute_marks(attributes))
    labels = (element.text_of("name") or "", *attribute_classes(attributes))
    shapes = [(tag, shape) for tag in _OUTLINES for shape in element.all(tag)[:1]]
    if not shapes:
        raise InputError(f"{place}: has no polygon, robndbox or bndbox")
    outlines = [(tag, _OUTLINES[tag](shape, place)) for tag, shape in shapes]
    first, points = outlines[0]
    if not has_region(points):
        for tag, other in outlines[1:]:
            if has_region(other):
                return Word(place, other, text, marks, labels, repaired=f"{tag} for {first}")
    return Word(place, points, text, marks, labels)


def _polygon(shape: Element, place: str) -> np.ndarray:
    """<x1>, <y1>, <x2>, ...; or a <pt> or <point> with <x> and <y> for each point."""
    if points := shape.all("pt") + shape.all("point"):
        return as_points([[_number(p, key, place) for key in ("x", "y")] for p in points])
    count = len(shape.children) // 2
    keys = [(f"x{i}", f"y{i}") for i in range(1, count + 1)]
    return as_points([[_number(shape, x, place), _number(shape, y, place)] for x, y in keys])


def _turned_box(shape: Element, place: str) -> np.ndarray:
    x, y, width, height, angle = (_number(shape, k, place) for k in ("cx", "cy", "w", "h", "angle"))
    centre, half = np.array([x, y]), np.array([width, height]) / 2
    return turned(rectangle(centre - half, centre + half), np.degrees(angle), centre)


def _box(shape: Element, place: str) -> np.ndarray:
    x0, y0, x1, y1 = (_number(shape, k, place) for k in ("xmin", "ymin", "xmax", "ymax"))
    return rectangle(np.array([x0, y0]), np.array([x1, y1]))


def _number(parent: Element, tag: str, place: str) -> float:
    return number(parent.text_of(tag), f"{place}/{parent.tag}/{tag}:")


_OUTLINES = {"polygon": _polygon, "robndbox": _turned_box, "bndbox": _box}
