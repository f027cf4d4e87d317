"""UFO: jsons/{split}.json. Nothing is lost."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dbnet.data.annotations.writers.sized import Sized, pairs


def write(folder: Path, split: str, images: Iterable[Sized]) -> Counter[str]:
    """See the package."""
    content: dict[str, Any] = {}
    for record, height, width in images:
        words = {
            f"{number:04d}": {
                "points": pairs(polygon),
                "transcription": text,
                "illegibility": bool(ignored),
            }
            for number, (polygon, ignored, text) in enumerate(
                zip(record.polygons, record.ignored, record.texts, strict=True), 1
            )
        }
        content[record.image_id] = {"img_w": width, "img_h": height, "words": words}
    path = folder / "jsons" / f"{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"images": content}, ensure_ascii=False), encoding="utf-8")
    return Counter()
