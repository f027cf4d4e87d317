"""What the annotation readers share: their result, and files and JSON values with clear errors.

Text files are UTF-8, with or without a byte order mark. All errors are ValueErrors that begin with
the file, and the place in it where there is one.
"""

import json
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dbnet.errors import InputError

LINKS_HINT = "copy the file instead of linking it, or allow links with --data.follow-links"
LINKED_FOLDER = "a linked folder"  # why a folder is not walked

KINDS = {"text": (".txt", ".csv"), "json": (".json",), "xml": (".xml",)}  # endings of files


class Place(NamedTuple):
    """Where the annotations of a split may lie."""

    path: str  # below the root; {split} is its name, {images} the folder of its images
    kind: str = ""  # of the files in it, a key of KINDS, where it is a folder; "": it is a file


class Source(NamedTuple):
    """Where one split lies."""

    root: Path  # for messages
    images: Path  # folder
    format: str
    annotations: Path  # file or folder
    bounds: tuple[Path, ...]  # resolved folders and files that links must not leave; (): they may


class Word(NamedTuple):
    """One annotated text, not yet checked."""

    place: str  # file and position, for messages
    points: np.ndarray  # float64 (P, 2), any P, finite or not
    text: str  # "" where unknown
    marks: tuple[str, ...] = ()  # what the annotation says about the text, such as "illegible"
    labels: tuple[str, ...] = ()  # its classes: they ignore it as marks do, else are not reported
    repaired: str = ""  # how the reader made an outline of something else, such as of a mask's box
    damaged: str = ""  # why the outline only covers the text, such as "circle": it is ignored


class Entry(NamedTuple):
    """One annotated image, not yet checked."""

    place: str  # file and position, for messages
    name: str  # relative to the folder of images, as written
    size: tuple[float, float] | None  # height, width, where the annotation states them
    words: list[Word]
    relative: bool = False  # points are fractions of the image's width and height, not pixels


class Findings(NamedTuple):
    """What a reader notes beside the entries; complete when the last one has been taken."""

    dropped: list[tuple[str, str]]  # place, reason: texts given as something else than a polygon
    problems: list[str]
    warnings: list[str]  # what every start should say
    notes: list[str]  # what only a check says


@contextmanager
def collecting(problems: list[str]) -> Iterator[None]:
    """Note a ValueError and go on behind the block."""
    try:
        yield
    except ValueError as error:
        problems.append(str(error))


def printable(line: str) -> str:
    """On one line, and escaped where it cannot be written: names and keys may hold anything."""
    return " ".join(line.splitlines()).encode("utf-8", "backslashreplace").decode()


def shown(value: Any) -> str:
    """A value for a message, on one line and not too long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}..."


def listed(names: Collection[str]) -> str:
    """The first few names for a message."""
    return ", ".join(list(names)[:5]) + (", ..." if len(names) > 5 else "")


def walk(
    folder: Path | str,
    *,
    links: bool = False,
    skipped: list[str] | None = None,
    below: str = "",
    above: tuple[str, ...] = (),
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Posix names of the files in `folder`, any depth, in no order.

    Hidden files and folders and those that cannot be read are left out.

    Args:
        links: linked folders are walked too, apart from those that lead back to one above them.
        skipped: gets the names of folders that are not walked and of links that lead nowhere, each
            with the reason.
        below, above: the name and the real paths of the folders so far.
    """
    skipped = [] if skipped is None else skipped
    folders = []
    if links:
        if (real := os.path.realpath(folder)) in above:
            return
        above = (*above, real)
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                if entry.name[0] == ".":
                    continue
                if entry.is_dir(follow_symlinks=links):
                    folders.append(entry)
                elif entry.is_file():
                    yield f"{below}{entry.name}", entry
                elif entry.is_symlink():
                    what = LINKED_FOLDER if entry.is_dir() else "a link that leads nowhere"
                    skipped.append(f"{below}{entry.name} ({what})")
    except OSError as error:
        skipped.append(f"{below.rstrip('/') or '.'} ({error.strerror})")
    for entry in folders:
        yield from walk(
            entry.path, links=links, skipped=skipped, below=f"{below}{entry.name}/", above=above
        )


def list_files(folder: Path, suffixes: Collection[str], *, links: bool = False) -> list[str]:
    """Sorted posix names of the files that `walk` finds with one of these suffixes."""
    files = walk(folder, links=links)
    return sorted(name for name, _ in files if Path(name).suffix.lower() in suffixes)


def not_walked(folder: Path, *, links: bool = False) -> list[str]:
    """Sorted: folders below `folder` that `walk` leaves out, and links that lead nowhere."""
    skipped: list[str] = []
    deque(walk(folder, links=links, skipped=skipped), maxlen=0)
    return sorted(skipped)


def inside(path: Path, bounds: tuple[Path, ...]) -> bool:
    """Whether a path stays in one of the bounds, which are resolved, once links are followed."""
    return not bounds or any(map(path.resolve().is_relative_to, bounds))


def read_text(bounds: tuple[Path, ...], path: Path) -> str:
    """Contents of a UTF-8 file that must not lie outside the bounds."""
    if not inside(path, bounds):
        raise InputError(f"{path}: leads out of {bounds[0]}; {LINKS_HINT}")
    try:
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def load_json(bounds: tuple[Path, ...], path: Path) -> tuple[Any, list[str]]:
    """Contents of a JSON file, and a problem for each key that an object holds twice."""
    problems: list[str] = []
    text = read_text(bounds, path)
    with _json_errors(path):
        return json.loads(text, object_pairs_hook=_as_dict(path, problems)), problems


def json_members(
    bounds: tuple[Path, ...], path: Path, key: str, problems: list[str]
) -> Iterator[tuple[str, Any]]:
    """The members of the object under `key` in a JSON file, one at a time.

    Where `key` comes first, only the text and one member are in memory. Notes a problem for each
    key that an object holds twice; raises ValueError where there is no such object.
    """
    # ijson is as fast, but drops repeated keys without notice, names neither line nor column of an
    # error, and turns lone surrogates into "?".
    text = read_text(bounds, path)
    head = re.match(rf'{_BLANK}{{{_BLANK}"{key}"{_BLANK}:{_BLANK}{{{_BLANK}', text)
    if head is None:
        content, repeated = load_json(bounds, path)
        problems.extend(repeated)
        yield from typed(typed(content, f"{path}", dict).get(key), f"{path}: {key}", dict).items()
        return
    decoder = json.JSONDecoder(object_pairs_hook=_as_dict(path, problems))
    names: set[str] = set()
    at = head.end()
    with _json_errors(path):
        more = text[at : at + 1] != "}"
        while more:
            if text[at : at + 1] != '"':
                reason = "Expecting property name enclosed in double quotes"
                raise json.JSONDecodeError(reason, text, at)
            name, at = decoder.raw_decode(text, at)
            at = _after_blanks(text, at)
            if text[at : at + 1] != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
            value, at = decoder.raw_decode(text, _after_blanks(text, at + 1))
            if name in names:
                problems.append(_twice(path, name, value))
            else:
                names.add(name)
                yield name, value
            at = _after_blanks(text, at)
            more = text[at : at + 1] == ","
            if more:
                at = _after_blanks(text, at + 1)
            elif text[at : at + 1] != "}":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at += 1
        front = f'{{"{key}": {{}}'
        try:
            decoder.decode(front + text[at:])
        except json.JSONDecodeError as error:
            place = at + error.pos - len(front)
            raise json.JSONDecodeError(error.msg, text, place) from None


_BLANK = r"[ \t\n\r]*"
_BLANKS = re.compile(_BLANK)


def _after_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


@contextmanager
def _json_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{path}: no valid JSON at {place}: {error.msg}") from None
    except (RecursionError, ValueError) as error:  # too deep, or numbers with too many digits
        raise InputError(f"{path}: JSON cannot be read: {error}") from None


def _as_dict(path: Path, problems: list[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """For `object_pairs_hook`: a dict, and a problem for each key that stands twice."""

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            problems.extend(
                _twice(path, key, result[key]) for key, count in counts.items() if count > 1
            )
        return result

    return as_dict


def _twice(path: Path, key: str, value: Any) -> str:
    return f"{path}: key {key!r} stands twice in one object, the last time with {shown(value)}"


_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a number",
}


def typed(value: Any, place: str, *types: type) -> Any:
    """The value, if it is of one of the JSON types (exactly: true is no integer)."""
    if type(value) not in types:
        found = "is missing" if value is None else f"found {shown(value)}"
        raise InputError(f"{place}: {found}; must be {' or '.join(_NAMES[t] for t in types)}")
    return value


def optional(parent: dict, key: str, place: str, *types: type) -> Any:
    """The value under a key if it is of one of the JSON types; None where missing or null."""
    value = parent.get(key)
    return None if value is None else typed(value, f"{place}/{key}", *types)


def stated_size(parent: dict, width: str, height: str, place: str) -> tuple[float, float] | None:
    """Height and width under these keys, None where either is missing."""
    size = tuple(optional(parent, key, place, int, float) for key in (height, width))
    return None if None in size else size


def point_pairs(value: Any, place: str) -> np.ndarray:
    """A list of [x, y] as float64 (P, 2)."""
    numbers = (int, float)
    if not isinstance(value, list) or not all(
        isinstance(p, list) and len(p) == 2 and type(p[0]) in numbers and type(p[1]) in numbers
        for p in value
    ):
        raise InputError(f"{place}: must be a list of [x, y] pairs, found {shown(value)}")
    return as_points(value)


def as_points(values: list) -> np.ndarray:
    """Numbers as float64 (P, 2); those too large for it become infinite."""
    try:
        return np.array(values, np.float64).reshape(-1, 2)
    except OverflowError:  # an integer of more than 308 digits
        return np.full((1, 2), np.inf)


def rectangle(corner: np.ndarray, opposite: np.ndarray) -> np.ndarray:
    """Upright rectangle over two opposite corners (2,), as float64 (4, 2)."""
    (x0, y0), (x1, y1) = corner, opposite
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
