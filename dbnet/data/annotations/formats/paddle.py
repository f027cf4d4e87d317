"""PaddleOCR, PPOCRLabel: a line per image in Label.txt, its name, a tab, its texts as JSON.

FOLDER/NAME.jpg<TAB>[{"transcription": "TOTAL", "points": [[x, y], ...], "difficult": false}]
"""

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from dbnet.data.annotations.entries import Entry, Findings, Place, Source, Word, collecting
from dbnet.data.annotations.files import read_text
from dbnet.data.annotations.heads import Lines
from dbnet.data.annotations.marks import member_marks
from dbnet.data.annotations.values import optional, point_pairs, shown, typed
from dbnet.errors import InputError

TITLE = "PaddleOCR"
PLACES = (
    Place("{images}/Label.txt"),
    Place("{split}/Label.txt"),
    Place("{split}.txt"),
    Place("{split}_label.txt"),
    Place("annotations/{split}.txt"),
    Place("gts/{split}.txt"),
    Place("labels/{split}.txt"),
)

_UNREAD = ("*", "###")  # transcriptions that PaddleOCR's training ignores


def recognises(head: Any) -> bool:
    return isinstance(head, Lines) and all("\t[" in line for line in head)


def read(source: Source, found: Findings) -> Iterator[Entry]:
    """`difficult` is ignored text, and so are the transcriptions `*` and `###`.

    `key_cls` is a class; other members that are true are marks.
    """
    path = source.annotations
    for number, line in enumerate(read_text(source.bounds, path).split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        entry = None
        with collecting(found.problems):
            name, tab, content = line.partition("\t")
            if not tab:
                raise InputError(f"{place}: no tab behind the image's name: {shown(line)}")
            entry = Entry(place, _below_images(name.strip(), source), None, [])
            for index, word in enumerate(typed(_parsed(content, place), place, list)):
                with collecting(found.problems):
                    entry.words.append(_word(word, f"{place}: [{index}]"))
        if entry:
            yield entry


def _below_images(name: str, source: Source) -> str:
    """The image's name below the folder of images, where it is given from a folder above that."""
    below = PurePosixPath(name.replace("\\", "/"))
    folders = (source.images, *source.images.parents[:2], *source.annotations.parents[:2])
    for folder in folders:
        if (folder / below).is_relative_to(source.images) and (folder / below).is_file():
            return (folder / below).relative_to(source.images).as_posix()
    return name


def _parsed(content: str, place: str) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        reason = f"no valid JSON behind the tab, column {error.colno}: {error.msg}"
        raise InputError(f"{place}: {reason}") from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"{place}: JSON cannot be read: {error}") from None


def _word(word: Any, place: str) -> Word:
    word = typed(word, place, dict)
    text = optional(word, "transcription", place, str) or ""
    optional(word, "difficult", place, bool)
    points = point_pairs(word.get("points"), f"{place}/points")
    labels = (optional(word, "key_cls", place, str) or "",)
    marks = (*member_marks(word), *["difficult"] * (text.strip() in _UNREAD))
    return Word(place, points, text, marks, labels)
