"""A large image through the network in overlapping windows, joined to one probability map."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np

from dbnet.errors import InputError

# uint8 (N, 3, H, W) RGB, H and W multiples of 32 -> probability maps, float32 (N, 1, H, W).
Network = Callable[[np.ndarray], np.ndarray]

STRIDE = 32  # of the network: sides are multiples of it
_OVERLAP = 1 / 4  # of a window, that neighbours share at least, but for the rounding to STRIDE
_FAINT = 0.05  # a probability below which nothing is text; thresholds are far above
_CONTEXT = 96  # pixels added around what the smaller scale found; its padding shifts it by less
_RAMP = 1 / 8  # of a window, over which its weight falls and the next one's rises


def window_starts(length: int, window: int) -> list[int]:
    """First pixels of the windows that cover `length` pixels, evenly spaced, multiples of STRIDE.

    One window where `length` <= `window`. Both are multiples of STRIDE.
    """
    step = window * (1 - _OVERLAP)
    count = 1 if length <= window else 1 + math.ceil((length - window) / step)
    starts = np.linspace(0, max(length - window, 0), count) / STRIDE
    return [int(start) * STRIDE for start in np.floor(starts)]


def window_length(length: int, window: int) -> int:
    """The shortest windows that cover `length` pixels as often as those of `window` pixels do.

    An image slightly longer than one window would otherwise be computed almost twice. Both
    arguments and the result are multiples of STRIDE.
    """
    count = len(window_starts(length, window))
    shortest = length / (1 + (count - 1) * (1 - _OVERLAP))
    return STRIDE * math.ceil(shortest / STRIDE)


def window_weights(starts: list[int], window: int) -> list[np.ndarray]:
    """Each window's weight along one axis, float32 (window,); they sum to 1 at every pixel.

    One window passes over to the next in the middle of what they share. Near the border of a
    window, where the network sees too little around a pixel, its weight is 0.
    """
    shared = window - np.diff(starts).max(initial=0)
    ramp = max(min(window * _RAMP, shared), 1e-3)
    place = np.arange(window) + 0.5  # of the pixels' centres, from the window's edge
    shares = []
    for index, start in enumerate(starts):
        rise = fall = np.ones(window)
        if index > 0:
            seam = (start + starts[index - 1] + window) / 2 - start
            rise = np.clip((place - seam) / ramp + 0.5, 0, 1)
        if index + 1 < len(starts):
            seam = (starts[index + 1] + start + window) / 2 - start
            fall = np.clip((seam - place) / ramp + 0.5, 0, 1)
        shares.append((rise * fall).astype(np.float32))
    return shares


def windowed_map(
    image: np.ndarray, network: Network, *, window: int, seen: np.ndarray | None = None
) -> np.ndarray:
    """The probability map of a whole image, float32 (H, W), 0..1.

    The maps of overlapping windows are averaged, so that a text across several of them comes out
    whole. Beside the image and its map, memory is that of one window at the network.

    Args:
        image: uint8 (H, W, 3) RGB, sides multiples of STRIDE.
        window: longest side of a window in pixels, a multiple of STRIDE.
        seen: probability map of the same image at a smaller scale, float32 (h, w). Windows
            cover the bounding box of its text. Windows without text are skipped; the map is 0
            there. None: windows cover the image.
    """
    joined = np.zeros(image.shape[:2], np.float32)
    faint = np.ones((1, 1), bool) if seen is None else seen >= _FAINT
    if not faint.any():
        return joined
    top, bottom = _span(np.asarray(faint.any(axis=1)), image.shape[0])
    left, right = _span(np.asarray(faint.any(axis=0)), image.shape[1])
    size = (window_length(bottom - top, window), window_length(right - left, window))
    down = [top + start for start in window_starts(bottom - top, size[0])]
    along = [left + start for start in window_starts(right - left, size[1])]
    row_weights = window_weights(down, size[0])
    column_weights = window_weights(along, size[1])
    for (y, rows), (x, columns) in product(
        zip(down, row_weights, strict=True), zip(along, column_weights, strict=True)
    ):
        seen_rows = _at(y, size[0], image.shape[0], faint.shape[0])
        seen_columns = _at(x, size[1], image.shape[1], faint.shape[1])
        if faint[seen_rows, seen_columns].any():
            place = slice(y, y + size[0]), slice(x, x + size[1])
            prob_map = network(image[place].transpose(2, 0, 1)[None])[0, 0]  # (h, w)
            joined[place] += prob_map * rows[:, None] * columns
    return np.minimum(joined, 1, out=joined)  # sums of float32 weights may exceed 1 by an ulp


def _span(seen: np.ndarray, length: int) -> tuple[int, int]:
    """First pixel and end, multiples of STRIDE, of what is `seen` along an axis of `length` pixels.

    A context of _CONTEXT pixels is added on both sides.
    """
    found = np.flatnonzero(seen)
    scale = length / len(seen)
    first = int(found[0] * scale) - _CONTEXT
    end = math.ceil((found[-1] + 1) * scale) + _CONTEXT
    return max(first // STRIDE * STRIDE, 0), min(-(-end // STRIDE) * STRIDE, length)


def _at(start: int, length: int, image: int, seen: int) -> slice:
    """Slice of the smaller map that covers a window, with _CONTEXT pixels on both sides.

    Args:
        start, length: of the window along an axis of `image` pixels.
        seen: length of that axis in the smaller map.
    """
    scale = seen / image
    first, end = (start - _CONTEXT) * scale, (start + length + _CONTEXT) * scale
    return slice(max(int(first), 0), math.ceil(end))


def check_finite(prob_map: np.ndarray, name: str) -> None:
    """Raise InputError where a probability map of the image `name` holds NaN or infinities."""
    if not np.isfinite(prob_map).all():
        raise InputError(
            f"{name}: the network's map holds values that are not finite; "
            "use --precision fp32 or other weights"
        )
