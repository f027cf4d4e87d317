"""COCO: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "segmentation"}]}."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dbnet.data.annotations.files import (
    Entry,
    Findings,
    Place,
    Source,
    Word,
    collecting,
    load_json,
    optional,
    point_pairs,
    shown,
    stated_size,
    typed,
)
from dbnet.data.annotations.shapes import sized_box
from dbnet.errors import InputError

TITLE = "COCO"
PLACES = (
    Place("annotations/{split}.json"),
    Place("{split}.json"),
    Place("annotations/instances_{split}.json"),
    Place("annotations/instances_{split}2014.json"),
    Place("annotations/instances_{split}2017.json"),
    Place("instances_{split}.json"),
    Place("{split}/_annotations.coco.json"),
    Place("{images}/_annotations.coco.json"),
)


def recognises(head: Any) -> bool:
    if not isinstance(head, dict):
        return False
    images, annotations = (
        value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}
        for value in (head.get("images"), head.get("annotations"))
    )
    return "file_name" in images or ("image_id" in annotations and "paragraphs" not in annotations)


def read(source: Source, found: Findings) -> Iterator[Entry]:
    """Each polygon of a segmentation is a text, whatever its category; the box where there is none.

    `iscrowd` is ignored text. The transcription is `text` or `transcription`, in the annotation or
    its `attributes`. Run-length masks are dropped.
    """
    path = source.annotations
    content, problems = load_json(source.bounds, path)
    found.problems.extend(problems)
    content = typed(content, f"{path}", dict)
    entries: dict[int | str, Entry] = {}
    for index, image in enumerate(typed(content.get("images"), f"{path}: images", list)):
        place = f"{path}: images[{index}]"
        with collecting(found.problems):
            image = typed(image, place, dict)
            key = typed(image.get("id"), f"{place}/id", int, str)
            name = typed(image.get("file_name"), f"{place}/file_name", str)
            if key in entries:
                raise InputError(f"{place}/id: {key!r} is taken by {entries[key].name}")
            entries[key] = Entry(place, name, stated_size(image, "width", "height", place), [])

    annotations = typed(content.get("annotations"), f"{path}: annotations", list)
    for index, annotation in enumerate(annotations):
        annotations[index] = None  # read, its memory may go
        place = f"{path}: annotations[{index}]"
        with collecting(found.problems):
            annotation = typed(annotation, place, dict)
            key = typed(annotation.get("image_id"), f"{place}/image_id", int, str)
            if key not in entries:
                raise InputError(f"{place}/image_id: no image has the id {key!r}")
            if isinstance(annotation.get("segmentation"), dict):
                found.dropped.append((place, "run-length mask"))
            else:
                entries[key].words.extend(_coco_words(annotation, place))
    for key in list(entries):
        yield entries.pop(key)


def _coco_words(annotation: dict, place: str) -> list[Word]:
    attributes = optional(annotation, "attributes", place, dict) or {}
    text = (
        optional(annotation, "text", place, str)
        or optional(annotation, "transcription", place, str)
        or optional(attributes, "text", f"{place}/attributes", str)
        or optional(attributes, "transcription", f"{place}/attributes", str)
        or ""
    )
    crowd = optional(annotation, "iscrowd", place, int, bool) or False
    polygons = optional(annotation, "segmentation", place, list)
    if polygons:
        outlines = [
            _flat_pairs(polygon, f"{place}/segmentation[{index}]")
            for index, polygon in enumerate(polygons)
        ]
    else:
        box = _flat_pairs(annotation.get("bbox"), f"{place}/bbox")
        if len(box) != 2:
            raise InputError(f"{place}/bbox: must be x, y, width, height")
        outlines = [sized_box(*box.ravel())]
    marks = ("iscrowd",) if crowd else ()
    return [Word(place, points, text, marks) for points in outlines]


def _flat_pairs(value: Any, place: str) -> np.ndarray:
    if not isinstance(value, list) or len(value) % 2:
        raise InputError(f"{place}: must be a list x1, y1, x2, y2, ..., found {shown(value)}")
    return point_pairs([value[i : i + 2] for i in range(0, len(value), 2)], place)
