"""Text tables, and files of text, JSON and pictures, each written whole or not at all."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dbnet.runtime.files import write_bytes
from dbnet.runtime.profiler import Change


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    write_bytes(path, text.encode())


def write_picture(path: Path, picture: np.ndarray) -> None:
    """JPEG or PNG, by the suffix, of uint8 (H, W, 3) RGB; whole or not at all.

    Raises:
        OSError: it could not be written, or has too many pixels on a side for its type.
    """
    encodes, content = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not encodes:
        raise OSError(f"{path}: cannot be written")
    write_bytes(path, content.tobytes())


def write_json(path: Path, value: Any) -> None:
    """Indented JSON; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Markdown that is readable as it is: so many columns of words to the left, then figures to
    the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    rule = ["-" * w if i < words else "-" * (w - 1) + ":" for i, w in enumerate(widths)]

    def row(cells: list[str]) -> str:
        padded = (
            cell.ljust(w) if i < words else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join(padded) + " |"

    return "\n".join([row(lines[0]), row(rule), *(row(line) for line in lines[1:])])


def metrics_table(evaluations: dict[str, dict[str, float]]) -> str:
    """Precision, recall and hmean of several evaluations ("outlines", "oracle"), a row each."""
    figures = [f"{m}/{f}" for m in ("cleval", "iou") for f in ("precision", "recall", "hmean")]
    widest = max(map(len, evaluations))
    lines = [f"{'':{widest}}  CLEval P       R       H   IoU P       R       H"]
    for name, values in evaluations.items():
        cells = (f"{values[figure]:.4f}" for figure in figures)
        lines.append(f"{name:{widest}}    {'  '.join(cells)}")
    return "\n".join(lines)


def changes_table(changes: list[Change]) -> str:
    """Medians per batch against the baseline's."""
    rows = [
        [
            change.stage,
            f"{1000 * change.before:.2f}",
            f"{1000 * change.after:.2f}",
            f"{change.after / change.before - 1:+.0%}" if change.before else "",
            f"{1000 * change.noise:.2f}",
            "SLOWER" if change.regressed else "",
        ]
        for change in changes
    ]
    return table(["stage", "before ms", "now ms", "change", "noise ms", ""], rows)
