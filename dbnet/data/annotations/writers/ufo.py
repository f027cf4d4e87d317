"""UFO: jsons/{split}.json. Nothing is lost."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dbnet.data.annotations.writers.sized import Sized, pairs, words


def write(folder: Path, split: str, images: Iterable[Sized]) -> Counter[str]:
    """See the package."""
    content: dict[str, Any] = {}
    for record, height, width in images:
        entries = {
            f"{number:04d}": {
                "points": pairs(polygon),
                "transcription": text,
                "illegibility": ignored,
            }
            for number, (polygon, ignored, text) in enumerate(words(record), 1)
        }
        content[record.image_id] = {"img_w": width, "img_h": height, "words": entries}
    path = folder / "jsons" / f"{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"images": content}, ensure_ascii=False), encoding="utf-8")
    return Counter()
