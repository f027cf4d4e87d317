"""LabelMe: {"shapes": [{"shape_type", "points", "text"?}]}, a JSON file per image."""

from collections.abc import Iterator
from typing import Any

from dbnet.data.annotations.files import (
    Entry,
    Findings,
    Place,
    Source,
    Word,
    collecting,
    load_json,
    optional,
    pair,
    point_pairs,
    rectangle,
    stated_size,
    typed,
)
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
    """Polygons, and rectangles by two opposite corners or all four; other shapes are dropped.

    `label` is a class name and not looked at; the transcription is `transcription`, `text` or
    `description`. The image is the one with the file's own name: `imagePath` is not followed.
    """
    pairs, problems = pair(source, ("{}.json",))
    found.problems.extend(problems)
    for name, path in pairs:
        entry = None
        with collecting(found.problems):
            content, repeated = load_json(source.bounds, path)
            found.problems.extend(repeated)
            content = typed(content, f"{path}", dict)
            size = stated_size(content, "imageWidth", "imageHeight", f"{path}")
            entry = Entry(str(path), name, size, [])
            shapes = typed(content.get("shapes"), f"{path}: shapes", list)
            for index, shape in enumerate(shapes):
                place = f"{path}: shapes[{index}]"
                with collecting(found.problems):
                    kind = optional(typed(shape, place, dict), "shape_type", place, str)
                    if kind in (None, "polygon", "rectangle"):
                        entry.words.append(_labelme_word(shape, kind, place))
                    else:
                        found.dropped.append((place, f"shape {kind}"))
        if entry:
            yield entry


def _labelme_word(shape: dict, kind: str | None, place: str) -> Word:
    text = (
        optional(shape, "transcription", place, str)
        or optional(shape, "text", place, str)
        or optional(shape, "description", place, str)
        or ""
    )
    points = point_pairs(shape.get("points"), f"{place}/points")
    if kind == "rectangle" and len(points) != 4:
        if len(points) != 2:
            raise InputError(f"{place}/points: a rectangle has 2 or 4, found {len(points)}")
        points = rectangle(points[0], points[1])
    return Word(place, points, text)
