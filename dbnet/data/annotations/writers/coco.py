"""COCO: annotations/instances_{split}.json with one category, "text". Nothing is lost.

The transcription is in `text`, as in COCO-Text's `utf8_string` but under the more common name.
An ignored text is `iscrowd` 1; its segmentation stays a polygon.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dbnet.data.annotations.writers.sized import Sized, numbers, words
from dbnet.geometry import area


def write(folder: Path, split: str, images: Iterable[Sized]) -> Counter[str]:
    """See the package."""
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (record, height, width) in enumerate(images, 1):
        listed.append(
            {"id": number, "file_name": record.image_id, "width": width, "height": height}
        )
        for polygon, ignored, text in words(record):
            x, y = (float(value) for value in polygon.min(axis=0))
            right, bottom = (float(value) for value in polygon.max(axis=0))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "segmentation": [numbers(polygon)],
                    "bbox": [x, y, right - x, bottom - y],
                    "area": float(area(polygon)),
                    "iscrowd": int(ignored),
                    "text": text,
                }
            )
    content = {
        "images": listed,
        "categories": [{"id": 1, "name": "text"}],
        "annotations": annotations,
    }
    path = folder / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return Counter()
