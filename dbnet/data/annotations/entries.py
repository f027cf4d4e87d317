"""The places of annotations, and what annotation readers return."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

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
    either_order: bool = False  # the size may also be width, height


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
