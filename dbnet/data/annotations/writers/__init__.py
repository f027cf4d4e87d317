"""Annotations in other formats: a file for each, with one function.

    write(folder, split, images)    the annotations of a split below `folder`; gives what was lost

`images` are records with the size of their upright image, whose files lie in
`folder`/images/`split`/ under their `image_id`. Coordinates are written with the digits that give
the same float32 again. What a format cannot hold is counted: {"what is lost": number of texts}.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from dbnet.data.annotations.writers import coco, icdar, paddle, ufo
from dbnet.data.annotations.writers.sized import Sized

__all__ = ["WRITERS", "Sized", "Writer"]


class Writer(Protocol):
    """A module of this package."""

    def write(self, folder: Path, split: str, images: Iterable[Sized]) -> Counter[str]: ...


WRITERS: dict[str, Writer] = {"ufo": ufo, "coco": coco, "icdar": icdar, "paddle": paddle}
