"""Annotation formats: a file for each, which reads it into the same plain entries.

A format's module has four names:

    TITLE                  as people call it
    PLACES                 where a split's annotations usually lie below the root: files only, or
                           folders only, which hold a file for each image (pairs.py finds them)
    recognises(head)       whether a file that begins so (heads.py) is of this format
    read(source, found)    its entries, one image at a time: a large split need not fit in memory

A file belongs to the first format in FORMATS that recognises it. entries.py has the endings that
are looked at (KINDS). Readers share json_files.py, xml_files.py, values.py and shapes.py.

`read` raises InputError where a file as a whole makes no sense. What is wrong with one image or one
text goes to `found.problems`, so that one pass finds everything. A reader takes names, coordinates,
texts and marks as they are written: checks of images, names and outlines, and which marks stand for
a text that is ignored, are shared (checks.py).

Text and JSON files are UTF-8, with or without a byte order mark. Coordinates are in pixels of the
upright image, or fractions of its sides where the entry says so. A transcription `###` marks an
illegible text in every format.
"""

from collections.abc import Iterator
from typing import Any, Protocol

from dbnet.data.annotations.entries import Entry, Findings, Place, Source
from dbnet.data.annotations.formats import (
    coco,
    cvat,
    doctr,
    icdar,
    labelme,
    labelstudio,
    paddle,
    ufo,
    via,
    voc,
    yolo,
)


class Format(Protocol):
    """A module of this package."""

    TITLE: str

    @property
    def PLACES(self) -> tuple[Place, ...]: ...
    def recognises(self, head: Any) -> bool: ...
    def read(self, source: Source, found: Findings) -> Iterator[Entry]: ...


FORMATS: dict[str, Format] = {
    "ufo": ufo,
    "coco": coco,
    "icdar": icdar,
    "labelme": labelme,
    "paddle": paddle,
    "doctr": doctr,
    "labelstudio": labelstudio,
    "cvat": cvat,
    "via": via,
    "voc": voc,
    "yolo": yolo,
}
