"""What people and programs read: tables, JSON files."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dbnet.structures import Detections


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Indented JSON; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown that is readable as it is: first column to the left, figures to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]

    def row(cells: list[str]) -> str:
        first, *rest = (
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *rest]) + " |"

    return "\n".join([row(lines[0]), row(rule), *(row(line) for line in lines[1:])])


def metrics_table(columns: dict[str, dict[str, float]]) -> str:
    """Precision, recall and hmean of several evaluations ("model", "oracle"), one column each."""
    names = {
        "CLEval": "cleval/{}",
        "CLEval, mean of images": "cleval/{}_per_image",
        "IoU": "iou/{}",
        "IoU, mean of images": "iou/{}_per_image",
    }
    rows = [
        [f"{label} {figure}", *(f"{c[key.format(figure)]:.4f}" for c in columns.values())]
        for label, key in names.items()
        for figure in ("precision", "recall", "hmean")
    ]
    return table(["", *columns], rows)


def predictions_json(predictions: dict[str, Detections]) -> dict[str, Any]:
    """UFO form: original pixels, rounded to hundredths, with the score of each text."""
    return {
        "images": {
            image_id: {
                "words": {
                    f"{number:04d}": {
                        "points": np.round(polygon.astype(np.float64), 2).tolist(),
                        "score": round(float(score), 4),
                    }
                    for number, (polygon, score) in enumerate(
                        zip(found.polygons, found.scores, strict=True), start=1
                    )
                }
            }
            for image_id, found in predictions.items()
        }
    }
