"""ICDAR: gts/{split}/gt_NAME.txt for each image. Ignored texts lose their transcription.

A line is x1,y1,x2,y2,x3,y3,x4,y4,text. An outline of more or fewer corners, and a text that would
be taken for more coordinates, are written as in Total-Text: all coordinates, then ,####text.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from dbnet.data.annotations.formats.icdar import parse_icdar_line
from dbnet.data.annotations.writers.sized import ILLEGIBLE, LOST, Sized, numbers, words
from dbnet.errors import InputError

CHANGED = "line breaks and blanks around texts become one blank, or none"


def write(folder: Path, split: str, images: Iterable[Sized]) -> Counter[str]:
    """See the package.

    Raises:
        InputError: two images differ in their ending alone: they would share a file.
    """
    lost: Counter[str] = Counter()
    owners: dict[Path, str] = {}
    for record, _, _ in images:
        name = PurePosixPath(record.image_id)
        path = folder / "gts" / split / name.parent / f"gt_{name.stem}.txt"
        if path in owners:
            raise InputError(
                f"{record.image_id} and {owners[path]}: ICDAR has one file, {path.name}, for both; "
                "rename one image or choose another format"
            )
        owners[path] = record.image_id
        lines = []
        for polygon, ignored, text in words(record):
            one_line = " ".join(text.splitlines()).strip()
            lost[CHANGED] += one_line != text and not ignored
            lost[LOST] += ignored and text not in ("", ILLEGIBLE)
            lines.append(_line(polygon, ILLEGIBLE if ignored else one_line))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return +lost


def _line(polygon: np.ndarray, text: str) -> str:
    """The form without a mark if a reader gets the same from it, else the one with ####."""
    coordinates = ",".join(f"{value:.9g}" for value in numbers(polygon))
    line = f"{coordinates},{text}"
    if len(polygon) == 4:
        points, read = parse_icdar_line(line)
        if len(points) == 4 and read == text:
            return line
    return f"{coordinates},####{text}"
