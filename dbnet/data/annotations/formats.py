"""Four annotation formats, each read into the same plain entries.

Images lie in images/{split}/. Where the annotations are looked for, below ROOT:

    ufo      jsons/{split}.json
    coco     annotations/{split}.json or {split}.json
    icdar    gts/{split}/, annotations/{split}/ or images/{split}/,
             one gt_NAME.txt, NAME.txt or NAME.csv for NAME.jpg
    labelme  jsons/{split}/ or images/{split}/, one NAME.json for NAME.jpg

Text files are UTF-8, with or without a byte order mark. Coordinates are taken as they are written,
in pixels of the upright image. A transcription `###` marks an illegible text in every format.

A reader gives one image at a time: a large split need not fit in memory. It raises ValueError
where a file as a whole makes no sense; what is wrong with single images and texts is collected in
`Findings.problems`, so that one pass finds everything.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dbnet.data.annotations.files import (
    Entry,
    Findings,
    Word,
    as_points,
    collecting,
    json_members,
    load_json,
    optional,
    pair,
    point_pairs,
    read_text,
    rectangle,
    shown,
    stated_size,
    typed,
)
from dbnet.errors import InputError

ILLEGIBLE = "###"


# ------------------------------------------------------------------------------------------------
# UFO: {"images": {FILE: {"words": {ID: {"points", "transcription"?, "illegibility"?}}}}}


def read_ufo(root: Path, split: str, source: Path, found: Findings) -> Iterator[Entry]:
    """`img_w` and `img_h` are optional. An image with no words is legal."""
    for name, image in json_members(root, source, "images", found.problems):
        place = f"{source}: images/{name}"
        entry = None
        with collecting(found.problems):
            image = typed(image, place, dict)
            entry = Entry(place, name, stated_size(image, "img_w", "img_h", place), [])
            for key, word in typed(image.get("words"), f"{place}/words", dict).items():
                with collecting(found.problems):
                    entry.words.append(_ufo_word(word, f"{place}/words/{key}"))
        if entry:
            yield entry


def _ufo_word(word: Any, place: str) -> Word:
    word = typed(word, place, dict)
    text = optional(word, "transcription", place, str) or ""
    illegible = optional(word, "illegibility", place, bool) or False
    points = point_pairs(word.get("points"), f"{place}/points")
    return Word(place, points, illegible or text == ILLEGIBLE, text)


# ------------------------------------------------------------------------------------------------
# ICDAR: one text per line, x1,y1,x2,y2,x3,y3,x4,y4,text


def read_icdar(root: Path, split: str, source: Path, found: Findings) -> Iterator[Entry]:
    """Blank lines are skipped; an empty file is an image without text."""
    pairs, problems = pair(root, split, source, ("gt_{}.txt", "{}.txt", "{}.csv"))
    found.problems.extend(problems)
    for name, path in pairs:
        words = []
        with collecting(found.problems):
            for number, line in enumerate(_LINE_END.split(read_text(root, path)), 1):
                if not line.strip():
                    continue
                place = f"{path}, line {number}"
                try:
                    points, text = parse_icdar_line(line)
                except ValueError as error:
                    found.problems.append(f"{place}: {error}: {shown(line)}")
                    continue
                words.append(Word(place, points, text == ILLEGIBLE, text))
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


# ------------------------------------------------------------------------------------------------
# COCO: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "segmentation" or "bbox"}]}


def read_coco(root: Path, split: str, source: Path, found: Findings) -> Iterator[Entry]:
    """Each polygon of a segmentation is a text, whatever its category; the box where there is none.

    `iscrowd` is ignored text. The transcription is `text` or `transcription`, in the annotation or
    its `attributes`. Run-length masks are dropped.
    """
    content, problems = load_json(root, source)
    found.problems.extend(problems)
    content = typed(content, f"{source}", dict)
    entries: dict[int | str, Entry] = {}
    for index, image in enumerate(typed(content.get("images"), f"{source}: images", list)):
        place = f"{source}: images[{index}]"
        with collecting(found.problems):
            image = typed(image, place, dict)
            key = typed(image.get("id"), f"{place}/id", int, str)
            name = typed(image.get("file_name"), f"{place}/file_name", str)
            if key in entries:
                raise InputError(f"{place}/id: {key!r} is taken by {entries[key].name}")
            entries[key] = Entry(place, name, stated_size(image, "width", "height", place), [])

    annotations = typed(content.get("annotations"), f"{source}: annotations", list)
    for index, annotation in enumerate(annotations):
        annotations[index] = None  # read, its memory may go
        place = f"{source}: annotations[{index}]"
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
        with np.errstate(over="ignore", invalid="ignore"):  # the check finds what is not finite
            outlines = [rectangle(box[0], box[0] + box[1])]
    return [Word(place, points, bool(crowd) or text == ILLEGIBLE, text) for points in outlines]


def _flat_pairs(value: Any, place: str) -> np.ndarray:
    if not isinstance(value, list) or len(value) % 2:
        raise InputError(f"{place}: must be a list x1, y1, x2, y2, ..., found {shown(value)}")
    return point_pairs([value[i : i + 2] for i in range(0, len(value), 2)], place)


# ------------------------------------------------------------------------------------------------
# LabelMe: {"shapes": [{"shape_type", "points", "text"?}]}, one file per image


def read_labelme(root: Path, split: str, source: Path, found: Findings) -> Iterator[Entry]:
    """Polygons, and rectangles by two opposite corners or all four; other shapes are dropped.

    `label` is a class name and not looked at; the transcription is `transcription`, `text` or
    `description`. The image is the one with the file's own name: `imagePath` is not followed.
    """
    pairs, problems = pair(root, split, source, ("{}.json",))
    found.problems.extend(problems)
    for name, path in pairs:
        entry = None
        with collecting(found.problems):
            content, repeated = load_json(root, path)
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
    return Word(place, points, text == ILLEGIBLE, text)


READERS = {"ufo": read_ufo, "icdar": read_icdar, "coco": read_coco, "labelme": read_labelme}
