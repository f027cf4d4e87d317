"""docTR's labels.json: {FILE: {"polygons": [[[x, y], ...], ...], "img_dimensions", "img_hash"}}."""

from collections.abc import Iterator
from typing import Any

from dbnet.data.annotations.entries import Entry, Findings, Place, Source, Word, collecting
from dbnet.data.annotations.json_files import read_json
from dbnet.data.annotations.values import point_pairs, shown, typed
from dbnet.errors import InputError

TITLE = "docTR"
PLACES = (
    Place("{split}/labels.json"),
    Place("{images}/labels.json"),
    Place("labels/{split}.json"),
)


def recognises(head: Any) -> bool:
    first = next(iter(head.values()), None) if isinstance(head, dict) else None
    return isinstance(first, dict) and ("polygons" in first or "img_hash" in first)


def read(source: Source, found: Findings) -> Iterator[Entry]:
    """`polygons` may also be {CLASS: list of polygons}; a class ignores its texts as a mark does.

    There are no transcriptions. All other classes are text.

    `img_dimensions` may be missing; files exist with both orders of height and width.
    """
    path = source.annotations
    content = read_json(path, dict, source, found)
    for name in list(content):
        image, place = content.pop(name), f"{path}: {name}"  # read, its memory may go
        entry = None
        with collecting(found.problems):
            image = typed(image, place, dict)
            size = _size(image, f"{place}/img_dimensions")
            entry = Entry(place, name, size, [], either_order=True)
            polygons = typed(image.get("polygons"), f"{place}/polygons", list, dict)
            for key, polygon, name in _numbered(polygons, f"{place}/polygons"):
                with collecting(found.problems):
                    entry.words.append(Word(key, point_pairs(polygon, key), "", labels=(name,)))
        if entry:
            yield entry


def _size(image: dict, place: str) -> tuple[float, float] | None:
    sides = image.get("img_dimensions")
    if sides is None:
        return None
    if not isinstance(sides, list) or len(sides) != 2:
        raise InputError(f"{place}: must be [height, width], found {shown(sides)}")
    height, width = (typed(side, place, int, float) for side in sides)
    return (height, width) if height and width else None


def _numbered(polygons: Any, place: str, name: str = "") -> Iterator[tuple[str, Any, str]]:
    """Place, points and class of each."""
    if isinstance(polygons, list):
        for index, polygon in enumerate(polygons):
            yield f"{place}[{index}]", polygon, name
        return
    for name, members in polygons.items():
        yield from _numbered(typed(members, f"{place}/{name}", list), f"{place}/{name}", name)
