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
_RAMP = 1 / 8  # of a window, over which its weight falls and the next one's rises


def window_starts(length: int, window: int) -> list[int]:
    """First pixels of the windows that cover `length` pixels, evenly spaced, multiples of STRIDE.

    One window where `length` <= `window`. Both are multiples of STRIDE.
    """
    step = window * (1 - _OVERLAP)
    count = 1 if length <= window else 1 + math.ceil((length - window) / step)
    starts = np.linspace(0, max(length - window, 0), count) / STRIDE
    return [int(start) * STRIDE for start in np.floor(starts)]


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
    image: np.ndarray, network: Network, *, window: int, batch_size: int
) -> np.ndarray:
    """The probability map of a whole image, float32 (H, W), 0..1.

    The maps of overlapping windows are averaged, so that a text across several of them comes out
    whole. Beside the image and its map, memory is that of one batch of windows.

    Args:
        image: uint8 (H, W, 3) RGB, sides multiples of STRIDE.
        window: longest side of a window in pixels, a multiple of STRIDE.
        batch_size: windows that go through the network together.
    """
    height, width = image.shape[:2]
    size = (min(window, height), min(window, width))
    down, right = (window_starts(*axis) for axis in zip((height, width), size, strict=True))
    row_weights, column_weights = window_weights(down, size[0]), window_weights(right, size[1])
    joined = np.zeros((height, width), np.float32)
    rows_of, columns_of = (
        zip(down, row_weights, strict=True),
        zip(right, column_weights, strict=True),
    )
    places = list(product(rows_of, columns_of))
    for first in range(0, len(places), batch_size):
        batch = places[first : first + batch_size]
        parts = [image[y : y + size[0], x : x + size[1]] for (y, _), (x, _) in batch]
        maps = network(np.stack(parts).transpose(0, 3, 1, 2))[:, 0]  # (N, h, w)
        for ((y, rows), (x, columns)), prob_map in zip(batch, maps, strict=True):
            joined[y : y + size[0], x : x + size[1]] += prob_map * rows[:, None] * columns
    return np.minimum(joined, 1, out=joined)  # sums of float32 weights may exceed 1 by an ulp


def check_finite(prob_map: np.ndarray, name: str) -> None:
    """Raise InputError where a probability map of the image `name` holds NaN or infinities."""
    if not np.isfinite(prob_map).all():
        raise InputError(
            f"{name}: the network's map holds values that are not finite; "
            "use --precision fp32 or other weights"
        )
