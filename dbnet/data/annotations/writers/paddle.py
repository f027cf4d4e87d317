"""PaddleOCR: {split}.txt beside images/, for `data_dir` DIR and `label_file_list` DIR/{split}.txt.

An ignored text is `###`, which PaddleOCR's training leaves out, and `difficult`; it loses its
transcription. PaddleOCR also leaves out a text whose transcription is `*`.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from dbnet.data.annotations.writers.sized import ILLEGIBLE, LOST, Sized, pairs, words
from dbnet.errors import InputError

STAR = "the transcription * stands for an ignored text in PaddleOCR"


def write(folder: Path, split: str, images: Iterable[Sized]) -> Counter[str]:
    """See the package.

    Raises:
        InputError: the name of an image holds a tab or a line break.
    """
    lost: Counter[str] = Counter()
    lines = []
    for record, _, _ in images:
        if any(sign in record.image_id for sign in "\t\r\n"):
            raise InputError(
                f"{record.image_id!r}: PaddleOCR's lists cannot hold a tab or a line break in a "
                "name; rename the image or choose another format"
            )
        listed = []
        for polygon, ignored, text in words(record):
            lost[LOST] += ignored and text not in ("", ILLEGIBLE)
            lost[STAR] += not ignored and text == "*"
            transcription = ILLEGIBLE if ignored else text
            word = {"transcription": transcription, "points": pairs(polygon), "difficult": ignored}
            listed.append(word)
        content = json.dumps(listed, ensure_ascii=False)
        lines.append(f"images/{split}/{record.image_id}\t{content}\n")
    (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    return +lost
