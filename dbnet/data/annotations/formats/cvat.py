"""CVAT for images 1.1: <annotations><image name width height><polygon points> and <box>."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dbnet.data.annotations.entries import Entry, Findings, Place, Source, Word, collecting
from dbnet.data.annotations.marks import TEXT_NAMES, attribute_classes, attribute_marks
from dbnet.data.annotations.shapes import as_points, ellipse, rectangle, sized_box, turned
from dbnet.data.annotations.values import number, shown
from dbnet.data.annotations.xml_files import Element, xml_members
from dbnet.errors import InputError

TITLE = "CVAT for images"
PLACES = (
    Place("annotations/{split}.xml"),
    Place("{split}.xml"),
    Place("{split}/annotations.xml"),
    Place("{images}/annotations.xml"),
)


def recognises(head: Any) -> bool:
    if not isinstance(head, Element) or head.tag != "annotations":
        return False
    tags = {child.tag for child in head.children}
    return "track" not in tags and bool(tags & {"image", "meta", "version"})


def read(source: Source, found: Findings) -> Iterator[Entry]:
    """Polygons and boxes, turned ones too, whatever their label.

    The box of a mask and four points are outlines too; the region of an ellipse, a polyline or
    other points is ignored. The transcription is the attribute `text` or `transcription`.
    Attributes with the value true are marks, and so is `occluded`; the label and the other values
    are classes.
    """
    path = source.annotations
    for image in xml_members(source.bounds, path, "annotations"):
        if image.tag == "track":
            raise InputError(
                f"{path}, line {image.line}: a track; export as CVAT for images, not for video"
            )
        if image.tag != "image":
            continue
        place = f"{path}, line {image.line}"
        entry = None
        with collecting(found.problems):
            name = image.attributes.get("name")
            if name is None:
                raise InputError(f"{place}: the image has no name")
            size = None
            if {"width", "height"} <= image.attributes.keys():
                size = (_number(image, "height", place), _number(image, "width", place))
            entry = Entry(place, name, size, [])
            for shape in image.children:
                at = f"{path}, line {shape.line}: {name}, {shape.tag}"
                with collecting(found.problems):
                    if shape.tag in _OUTLINES:
                        entry.words.append(_word(shape, at))
                    elif shape.tag != "tag":  # of the image
                        found.dropped.append((at, f"shape {shape.tag}"))
        if entry:
            yield entry


def _word(shape: Element, place: str) -> Word:
    attributes = {
        child.attributes.get("name", ""): child.text.strip() for child in shape.all("attribute")
    }
    text = next((attributes[name] for name in TEXT_NAMES if attributes.get(name)), "")
    occluded = {"occluded": shape.attributes.get("occluded", "0")}
    marks = (*attribute_marks(attributes), *attribute_marks(occluded))
    points = _OUTLINES[shape.tag](shape, place)
    word = Word(place, points, text, marks, _classes(shape, attributes))
    if shape.tag == "mask":
        return word._replace(repaired="box of a mask")
    if shape.tag == "points" and len(points) == 4:
        return word._replace(repaired="shape points of four points")
    return word if shape.tag in ("polygon", "box") else word._replace(damaged=f"shape {shape.tag}")


def _classes(shape: Element, attributes: dict[str, str]) -> tuple[str, ...]:
    return (shape.attributes.get("label", ""), *attribute_classes(attributes))


def _polygon(shape: Element, place: str) -> np.ndarray:
    points = shape.attributes.get("points", "")
    try:
        pairs = [pair.split(",") for pair in points.split(";")]
        return as_points([[float(x), float(y)] for x, y in pairs])
    except ValueError:
        raise InputError(f"{place}: points must be x,y;x,y;..., found {shown(points)}") from None


def _box(shape: Element, place: str) -> np.ndarray:
    """`rotation` turns clockwise, in degrees, about the centre."""
    x0, y0, x1, y1 = (_number(shape, key, place) for key in ("xtl", "ytl", "xbr", "ybr"))
    points = rectangle(np.array([x0, y0]), np.array([x1, y1]))
    if "rotation" not in shape.attributes:
        return points
    return turned(points, _number(shape, "rotation", place), points.mean(axis=0))


def _number(element: Element, key: str, place: str) -> float:
    return number(element.attributes.get(key), f"{place}: {key}")


def _mask(shape: Element, place: str) -> np.ndarray:
    """The box of a run-length mask."""
    return sized_box(*(_number(shape, key, place) for key in ("left", "top", "width", "height")))


def _ellipse(shape: Element, place: str) -> np.ndarray:
    x, y, rx, ry = (_number(shape, key, place) for key in ("cx", "cy", "rx", "ry"))
    points = ellipse(x, y, rx, ry)
    if "rotation" not in shape.attributes:
        return points
    return turned(points, _number(shape, "rotation", place), np.array([x, y]))


_OUTLINES = {
    "polygon": _polygon,
    "box": _box,
    "mask": _mask,
    "ellipse": _ellipse,
    "polyline": _polygon,
    "points": _polygon,
}
