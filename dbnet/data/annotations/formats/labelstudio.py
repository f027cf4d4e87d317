"""Label Studio's JSON export: [{"data", "annotations": [{"result": [{"type", "value"}]}]}].

Coordinates are in per cent of the image's sides. The parts of one region (rectangle or polygon,
labels, transcription) share an id.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from dbnet.data.annotations.entries import Entry, Findings, Place, Source, Word, collecting
from dbnet.data.annotations.json_files import read_json
from dbnet.data.annotations.masks import labelstudio_box
from dbnet.data.annotations.shapes import ellipse, sized_box, turned
from dbnet.data.annotations.values import optional, point_pairs, shown, typed
from dbnet.data.image_files import IMAGE_SUFFIXES
from dbnet.errors import InputError

TITLE = "Label Studio"
PLACES = (Place("jsons/{split}.json"), Place("annotations/{split}.json"), Place("{split}.json"))

_UPLOADED = re.compile(r"[0-9a-f]{4,8}-(.+)")  # what an upload's name begins with


def recognises(head: Any) -> bool:
    first = head[0] if isinstance(head, list) and head else None
    return isinstance(first, dict) and isinstance(first.get("data"), dict)


def read(source: Source, found: Findings) -> Iterator[Entry]:
    """Rectangles, turned ones too, and polygons.

    The region of an ellipse and the box of a brush stroke are ignored; key points are dropped. What
    was chosen for a region are its marks. The transcription is the region's text area.

    Tasks that nobody has finished are left out. Where several people have annotated a task, the
    one marked as ground truth counts, else the last.
    """
    path = source.annotations
    tasks = read_json(path, list, source, found)
    for index, task in enumerate(tasks):
        tasks[index] = None  # read, its memory may go
        place = f"{path}: [{index}]"
        entry = None
        with collecting(found.problems):
            name = _file_name(typed(task, place, dict), place, source.images)
            results = _results(task, place, found.notes)
            if results is not None:
                entry = Entry(place, name, None, [])
                for region in _regions(results, place):
                    with collecting(found.problems):
                        entry = _with_word(entry, region, found)
        if entry:
            yield entry


def _file_name(task: dict, place: str, images: Path) -> str:
    """From the address of the task's image: of an upload, a local file or the web."""
    for value in typed(task.get("data"), f"{place}/data", dict).values():
        if not isinstance(value, str):
            continue
        address = urlsplit(value.replace("\\", "/"))
        name = parse_qs(address.query).get("d", [unquote(address.path)])[0]
        if not any(PurePosixPath(n).suffix.lower() in IMAGE_SUFFIXES for n in (name, value)):
            continue
        last = PurePosixPath(name).name
        uploaded = _UPLOADED.fullmatch(last)
        candidates = [value, name.lstrip("/"), last, *(uploaded.groups() if uploaded else ())]
        return next((n for n in candidates if (images / n).is_file()), last)
    raise InputError(f"{place}/data: names no image: {shown(task['data'])}")


def _results(task: dict, place: str, notes: list[str]) -> list | None:
    """The parts of all regions, None where nobody has finished the task."""
    key = "annotations" if "annotations" in task else "completions"  # its name before version 1
    finished = []
    for index, annotation in enumerate(typed(task.get(key), f"{place}/{key}", list)):
        at = f"{place}/{key}[{index}]"
        if not optional(typed(annotation, at, dict), "was_cancelled", at, bool):
            finished.append((annotation, at))
    if not finished:
        return None
    if len(finished) > 1:
        notes.append(f"{place}: {len(finished)} annotations, one of them is read")
    truths = [pair for pair in finished if pair[0].get("ground_truth") is True]
    annotation, at = (truths or finished)[-1]
    return typed(annotation.get("result"), f"{at}/result", list)


def _regions(results: list, place: str) -> Iterator[tuple[str, list[dict]]]:
    """The parts of each region, and its place; parts without a value, such as relations, not."""
    regions: dict[str | int, tuple[str, list[dict]]] = {}
    for index, part in enumerate(results):
        at = f"{place}/result[{index}]"
        if isinstance(typed(part, at, dict).get("value"), dict):
            key = optional(part, "id", at, str) or index
            regions.setdefault(key, (at, []))[1].append(part)
    yield from regions.values()


def _with_word(entry: Entry, region: tuple[str, list[dict]], found: Findings) -> Entry:
    """The entry with the region's text, and with the size of the image that it states."""
    place, parts = region
    shapes = [part for part in parts if _DRAWN & part["value"].keys()]
    kinds = {str(part.get("type")) for part in parts}
    points = None
    if shapes and not any(kind.startswith("keypoint") for kind in kinds):
        part = shapes[0]
        if optional(part, "image_rotation", place, int, float):
            at = f"{place}/image_rotation"
            raise InputError(f"{at}: the image was turned; save it turned instead")
        width, height = (
            typed(part.get(f"original_{side}"), f"{place}/original_{side}", int, float)
            for side in ("width", "height")
        )
        entry = entry._replace(size=(height, width))
        points = _points(part["value"], f"{place}/value", width, height)
    if points is not None:
        damaged = next((why for key, why in _REGIONS.items() if key in part["value"]), "")
        word = Word(place, points, _text(parts), _choices(parts), _labels(parts), damaged=damaged)
        entry.words.append(word)
    elif not all(kind in ("choices", "textarea", "rating") for kind in kinds):  # of the image
        found.dropped.append((f"{place} of {entry.name}", f"region {' '.join(sorted(kinds))}"))
    return entry


_DRAWN = {"points", "width", "radiusX", "rle"}
_REGIONS = {"radiusX": "shape ellipse", "rle": "brush stroke"}


def _points(value: dict, place: str, width: float, height: float) -> np.ndarray | None:
    """Float64 (P, 2) in pixels of an image of width x height; None where nothing is painted.

    A rectangle turns clockwise, in degrees, about its upper left corner.
    """
    if "rle" in value:
        return labelstudio_box(value["rle"], height, width)
    scale = np.array([width, height]) / 100
    if "points" in value:
        return point_pairs(value["points"], f"{place}/points") * scale
    if "radiusX" in value:
        sides = ("x", "y", "radiusX", "radiusY")
        points = ellipse(*(typed(value.get(k), f"{place}/{k}", int, float) for k in sides)) * scale
        angle = optional(value, "rotation", place, int, float) or 0
        return turned(points, angle, points.mean(axis=0))
    sides = ("x", "y", "width", "height")
    box = sized_box(*(typed(value.get(key), f"{place}/{key}", int, float) for key in sides))
    points = box * np.float64(scale)
    return turned(points, optional(value, "rotation", place, int, float) or 0, points[0])


def _text(parts: list[dict]) -> str:
    """Of the text area; a list where the area allows several."""
    for part in parts:
        for value in (part["value"].get("text"), (part.get("meta") or {}).get("text")):
            text = " ".join(map(str, value)) if isinstance(value, list) else value
            if isinstance(text, str) and text:
                return text
    return ""


def _choices(parts: list[dict]) -> tuple[str, ...]:
    """What was chosen for the region."""
    chosen = [choice for part in parts for choice in part["value"].get("choices") or ()]
    paths = [path for part in parts for path in part["value"].get("taxonomy") or ()]
    chosen += [path[-1] for path in paths if isinstance(path, list) and path]
    return tuple(map(str, chosen))


def _labels(parts: list[dict]) -> tuple[str, ...]:
    """Classes of the region, under `labels`, `rectanglelabels`, `polygonlabels`, ..."""
    return tuple(
        str(name)
        for part in parts
        for key, names in part["value"].items()
        if key.endswith("labels") and isinstance(names, list)
        for name in names
    )
