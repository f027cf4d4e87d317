"""UFO: {"images": {FILE: {"words": {ID: {"points", "transcription"?, "illegibility"?}}}}}."""

from collections.abc import Iterator
from typing import Any

from dbnet.data.annotations.entries import Entry, Findings, Place, Source, Word, collecting
from dbnet.data.annotations.json_files import json_members
from dbnet.data.annotations.marks import member_marks
from dbnet.data.annotations.values import optional, point_pairs, stated_size, typed

TITLE = "UFO"
PLACES = (Place("jsons/{split}.json"),)


def recognises(head: Any) -> bool:
    return isinstance(head, dict) and isinstance(head.get("images"), dict)


def read(source: Source, found: Findings) -> Iterator[Entry]:
    """`img_w` and `img_h` are optional. An image with no words is legal.

    The `tags` and `word_tags` of a word are marks, and so are its members that are true.
    """
    path = source.annotations
    for name, image in json_members(source.bounds, path, "images", found.problems):
        place = f"{path}: images/{name}"
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
    optional(word, "illegibility", place, bool)
    for key in ("tags", "word_tags"):
        optional(word, key, place, list, str)
    points = point_pairs(word.get("points"), f"{place}/points")
    return Word(place, points, text, member_marks(word))
