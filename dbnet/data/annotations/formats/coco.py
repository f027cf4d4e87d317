"""COCO: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "segmentation"}]}."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dbnet.data.annotations.entries import Entry, Findings, Place, Source, Word, collecting
from dbnet.data.annotations.json_files import read_json
from dbnet.data.annotations.marks import (
    TEXT_NAMES,
    attribute_classes,
    attribute_marks,
    member_marks,
)
from dbnet.data.annotations.masks import coco_box
from dbnet.data.annotations.shapes import has_region, sized_box
from dbnet.data.annotations.values import (
    first_text,
    optional,
    point_pairs,
    shown,
    stated_size,
    typed,
)
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

    The box also stands for a run-length mask and for polygons without a region. What is true of an
    annotation or its `attributes`, such as `iscrowd`, and the `legibility` of COCO-Text are marks.
    The transcription is `text`, `transcription` or `utf8_string`, in the annotation or its
    `attributes`.
    """
    path = source.annotations
    content = read_json(path, dict, source, found)
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

    names = _category_names(optional(content, "categories", f"{path}", list) or [])
    annotations = typed(content.get("annotations"), f"{path}: annotations", list)
    for index, annotation in enumerate(annotations):
        annotations[index] = None  # read, its memory may go
        place = f"{path}: annotations[{index}]"
        with collecting(found.problems):
            annotation = typed(annotation, place, dict)
            key = typed(annotation.get("image_id"), f"{place}/image_id", int, str)
            if key not in entries:
                raise InputError(f"{place}/image_id: no image has the id {key!r}")
            if "bbox" not in annotation and isinstance(annotation.get("segmentation"), dict):
                box = coco_box(annotation["segmentation"])
                if box is None:
                    found.dropped.append((f"{place} of {entries[key].name}", "run-length mask"))
                    continue
                annotation["bbox"] = [*box[0].tolist(), *(box[2] - box[0]).tolist()]
            entries[key].words.extend(_coco_words(annotation, names, place))
    for key in list(entries):
        yield entries.pop(key)


def _category_names(categories: list) -> dict[Any, str]:
    """Id -> name; categories of another form have none, for a name only says what is ignored."""
    return {
        category["id"]: category["name"]
        for category in categories
        if isinstance(category, dict)
        and isinstance(category.get("id"), (int, str))
        and isinstance(category.get("name"), str)
    }


def _coco_words(annotation: dict, names: dict[Any, str], place: str) -> list[Word]:
    attributes = optional(annotation, "attributes", place, dict) or {}
    text = first_text(annotation, TEXT_NAMES, place)
    other_text = first_text(attributes, TEXT_NAMES, f"{place}/attributes")
    text = text or other_text
    marks = _marks(annotation, attributes, place)
    category = annotation.get("category_id")
    name = names.get(category, "") if isinstance(category, (int, str)) else ""
    labels = (name, *attribute_classes(attributes))
    polygons = optional(annotation, "segmentation", place, list, dict)
    if isinstance(polygons, dict):
        box = _box(annotation, place)
        return [Word(place, box, text, marks, labels, repaired="box of a mask")]
    if polygons and all(isinstance(value, (int, float)) for value in polygons):
        polygons = [polygons]  # not in a list of its own
    if not polygons:
        return [Word(place, _box(annotation, place), text, marks, labels)]
    outlines = [
        _flat_pairs(polygon, f"{place}/segmentation[{index}]")
        for index, polygon in enumerate(polygons)
    ]
    if annotation.get("bbox") and not any(map(has_region, outlines)):
        box = _box(annotation, place)
        return [Word(place, box, text, marks, labels, repaired="box of an empty polygon")]
    if any(map(has_region, outlines)):  # an empty one beside it is the tool's, no text
        outlines = [outline for outline in outlines if len(outline)]
    return [Word(place, points, text, marks, labels) for points in outlines]


def _marks(annotation: dict, attributes: dict, place: str) -> tuple[str, ...]:
    for key in ("iscrowd", "ignore"):
        optional(annotation, key, place, int, bool)
    marks = [*member_marks(annotation), *attribute_marks(attributes)]
    legibility = optional(annotation, "legibility", place, str) or "legible"
    return tuple(marks if legibility == "legible" else [*marks, legibility])


def _box(annotation: dict, place: str) -> np.ndarray:
    box = _flat_pairs(annotation.get("bbox"), f"{place}/bbox")
    if len(box) != 2:
        raise InputError(f"{place}/bbox: must be x, y, width, height")
    return sized_box(*box.ravel())


def _flat_pairs(value: Any, place: str) -> np.ndarray:
    if not isinstance(value, list) or len(value) % 2:
        raise InputError(f"{place}: must be a list x1, y1, x2, y2, ..., found {shown(value)}")
    return point_pairs([value[i : i + 2] for i in range(0, len(value), 2)], place)
