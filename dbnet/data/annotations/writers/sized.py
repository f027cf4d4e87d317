"""What a writer gets: an image's annotations and size."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dbnet.structures import Record

ILLEGIBLE = "###"  # as a transcription: a text that is ignored
LOST = "transcriptions of ignored texts become ###"  # what some formats count


class Sized(NamedTuple):
    """One image."""

    record: Record
    height: int  # of the upright image, pixels
    width: int


def words(record: Record) -> Iterator[tuple[np.ndarray, bool, str]]:
    """Outline float32 (P, 2), whether it is ignored, and transcription of each text."""
    for polygon, ignored, text in zip(record.polygons, record.ignored, record.texts, strict=True):
        yield polygon, bool(ignored), text


def numbers(polygon: np.ndarray) -> list[float]:
    """x1, y1, x2, y2, ... as floats with the fewest digits that give the same float32 again."""
    return [float(str(value)) for value in polygon.ravel()]


def pairs(polygon: np.ndarray) -> list[list[float]]:
    """[[x1, y1], [x2, y2], ...], digits as in `numbers`."""
    flat = numbers(polygon)
    return [flat[i : i + 2] for i in range(0, len(flat), 2)]
