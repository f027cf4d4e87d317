"""VIA 1 and 2: {KEY: {"filename", "regions": [{"shape_attributes", "region_attributes"}]}}."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dbnet.data.annotations.entries import Entry, Findings, Place, Source, Word, collecting
from dbnet.data.annotations.json_files import read_json
from dbnet.data.annotations.marks import TEXT_NAMES, attribute_classes, attribute_marks
from dbnet.data.annotations.shapes import as_points, ellipse, sized_box
from dbnet.data.annotations.values import first_text, optional, typed
from dbnet.errors import InputError

TITLE = "VIA"
PLACES = (Place("{split}/via_region_data.json"), Place("{images}/via_region_data.json"))

_PROJECT = "_via_img_metadata"  # a saved project has the annotations below this key


def recognises(head: Any) -> bool:
    if not isinstance(head, dict):
        return False
    first = next(iter(head.values()), None)
    return any(key.startswith("_via_") for key in head) or (
        isinstance(first, dict) and "filename" in first and "regions" in first
    )


def read(source: Source, found: Findings) -> Iterator[Entry]:
    """Exported annotations or a saved project. Polygons and rects.

    The region of a circle, ellipse or polyline is ignored; points are dropped. Region attributes
    and check boxes that are true are marks; the values of the others are classes.

    The transcription is the region attribute `text` or `transcription`. A file that is listed
    without regions is an image without text.
    """
    path = source.annotations
    content = read_json(path, dict, source, found)
    if _PROJECT in content:
        content = typed(content[_PROJECT], f"{path}: {_PROJECT}", dict)
    for key in list(content):
        image, place = content.pop(key), f"{path}: {key}"  # read, its memory may go
        entry = None
        with collecting(found.problems):
            name = typed(typed(image, place, dict).get("filename"), f"{place}/filename", str)
            entry = Entry(place, name, None, [])
            regions = typed(image.get("regions"), f"{place}/regions", list, dict)
            items = regions.items() if isinstance(regions, dict) else enumerate(regions)
            for index, region in items:
                with collecting(found.problems):
                    at = f"{place}/regions[{index}]"
                    shape = typed(region, at, dict).get("shape_attributes")
                    kind = typed(shape, f"{at}/shape_attributes", dict).get("name")
                    if kind in _OUTLINES:
                        entry.words.append(_word(region, kind, at))
                    else:
                        found.dropped.append((at, f"shape {kind}"))
        if entry:
            yield entry


def _word(region: dict, kind: str, place: str) -> Word:
    shape = region["shape_attributes"]
    attributes = optional(region, "region_attributes", place, dict) or {}
    text = first_text(attributes, TEXT_NAMES, f"{place}/region_attributes")
    points = _OUTLINES[kind](shape, f"{place}/shape_attributes")
    damaged = "" if kind in ("polygon", "rect") else f"shape {kind}"
    marks, labels = attribute_marks(attributes), attribute_classes(attributes)
    return Word(place, points, text, marks, labels, damaged=damaged)


def _polygon(shape: dict, place: str) -> np.ndarray:
    xs, ys = (
        [typed(value, f"{place}/{key}[{i}]", int, float) for i, value in enumerate(values)]
        for key in ("all_points_x", "all_points_y")
        for values in [typed(shape.get(key), f"{place}/{key}", list)]
    )
    if len(xs) != len(ys):
        raise InputError(f"{place}: {len(xs)} all_points_x, but {len(ys)} all_points_y")
    return as_points([list(point) for point in zip(xs, ys, strict=True)])


def _rect(shape: dict, place: str) -> np.ndarray:
    sides = ("x", "y", "width", "height")
    return sized_box(*(typed(shape.get(key), f"{place}/{key}", int, float) for key in sides))


def _ellipse(shape: dict, place: str) -> np.ndarray:
    """A circle has one radius `r`; the angle of an ellipse only widens its region."""
    keys = ("cx", "cy", "r", "r") if "r" in shape else ("cx", "cy", "rx", "ry")
    x, y, rx, ry = (typed(shape.get(key), f"{place}/{key}", int, float) for key in keys)
    if shape.get("theta"):
        rx = ry = max(rx, ry)
    return ellipse(x, y, rx, ry)


_OUTLINES = {
    "polygon": _polygon,
    "rect": _rect,
    "circle": _ellipse,
    "ellipse": _ellipse,
    "polyline": _polygon,
}
