"""Painted regions, as COCO and Label Studio write them, and what they cover."""

from typing import Any

import numpy as np

from dbnet.data.annotations.shapes import rectangle
from dbnet.data.image_files import MAX_PIXELS


def coco_box(mask: dict[str, Any]) -> np.ndarray | None:
    """Upright box (4, 2) of {"size": [height, width], "counts": run lengths or their short form}.

    Columns come one after the other. None where nothing is painted, or the counts make no sense.
    """
    try:
        height, width = map(int, mask["size"])
        counts = mask["counts"]
        runs = np.array(_long_form(counts) if isinstance(counts, str) else counts, np.int64)
        _check_size(height, width)
        if runs.min(initial=0) < 0 or runs.sum() != height * width:
            return None
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return None
    return _box_of(np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T)


def _long_form(text: str) -> list[int]:
    """Run lengths from COCO's text: 5 bits a character, differences to the run before the last."""
    runs: list[int] = []
    at = 0
    while at < len(text):
        value = shift = 0
        code = 0x20
        while code & 0x20:
            code = ord(text[at]) - 48
            value |= (code & 0x1F) << shift
            at, shift = at + 1, shift + 5
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs


def labelstudio_box(rle: Any, height: float, width: float) -> np.ndarray | None:
    """Upright box (4, 2) of a brush stroke in Label Studio's own run lengths of RGBA pixels.

    None where nothing is painted, or the run lengths are not those of so many pixels.
    """
    try:
        height, width = int(height), int(width)
        _check_size(height, width)
        bits = "".join(format(byte, "08b") for byte in bytes(rle))
        values = _rgba_values(bits, 4 * height * width)
    except (TypeError, ValueError, OverflowError):
        return None
    return _box_of(values.reshape(height, width, 4)[:, :, 3] > 0)


def _rgba_values(bits: str, expected: int) -> np.ndarray:
    """The run lengths are bits: how many values, bits of a value, four sizes of a run's length;
    then runs of one value, or of values one by one."""
    at = 0

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int(bits[at - size : at], 2)

    if number(32) != expected:
        raise ValueError
    word = number(5) + 1
    sizes = [number(4) + 1 for _ in range(4)]
    values = np.zeros(expected, np.uint8)
    start = 0
    while start < expected:
        is_run = number(1)
        end = start + 1 + number(sizes[number(2)])
        if is_run:
            values[start:end] = number(word)
        else:
            values[start:end] = [number(word) for _ in range(start, end)]
        start = end
    return values


def _check_size(height: int, width: int) -> None:
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError


def _box_of(painted: np.ndarray) -> np.ndarray | None:
    """Of a mask bool (H, W), whose pixels reach half a unit around their centres."""
    rows, columns = np.flatnonzero(painted.any(axis=1)), np.flatnonzero(painted.any(axis=0))
    if not len(rows):
        return None
    first, last = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]])
    return rectangle(first - 0.5, last + 0.5)
