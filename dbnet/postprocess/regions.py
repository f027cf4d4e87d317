"""Connected regions of a probability map, as runs of pixels along its rows.

A map of a million pixels has one or two thousand runs of text: work per run costs little.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from dbnet.ragged import ranges

_BLOCK = 1 << 15  # pixels


class Regions(NamedTuple):
    """n connected parts of a map. Their R runs lie region by region, each run in one row."""

    offsets: np.ndarray  # (n + 1,), where the runs of each region start, and R
    scores: np.ndarray  # float64 (n,), mean probability of the pixels, without those of holes
    rows: np.ndarray  # float64 (R,), y
    firsts: np.ndarray  # float64 (R,), x of the first pixel
    lasts: np.ndarray  # float64 (R,), x of the last pixel
    masses: np.ndarray  # float64 (R,), sum of the weights w of the pixels
    moments: np.ndarray  # float64 (R,), sum of w x
    squares: np.ndarray  # float64 (R,), sum of w x^2
    starts: np.ndarray  # (R,), index of the first pixel in `weights`
    weights: np.ndarray  # float64 (T,), share of each pixel that belongs to the kernel, 0..1

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums of (R,) values over the runs of each region, (n,)."""
        return np.add.reduceat(values, self.offsets[:-1])

    def pixels_of(self, index: np.ndarray) -> "Pixels":
        """The pixels of the k regions at (k,) indices, region by region."""
        owner, run = ranges(self.offsets[index], self.offsets[index + 1])
        first, start = self.firsts[run], self.starts[run]
        size = (self.lasts[run] - first + 1).astype(np.intp)
        place, pixel = ranges(start, start + size)
        return Pixels(
            offsets=np.searchsorted(owner[place], np.arange(len(index) + 1)),
            x=pixel + (first - start)[place],
            y=self.rows[run][place],
            weights=self.weights[pixel],
        )


class Pixels(NamedTuple):
    """T pixels of k regions, region by region."""

    offsets: np.ndarray  # (k + 1,), where the pixels of each region start, and T
    x: np.ndarray  # float64 (T,)
    y: np.ndarray  # float64 (T,)
    weights: np.ndarray  # float64 (T,), see `Regions`

    def of(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y and weights of one region."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        return self.x[part], self.y[part], self.weights[part]


def find_regions(prob_map: np.ndarray, bin_thresh: float) -> Regions:
    """Regions of float32 (H, W) probabilities above `bin_thresh` that touch by a side or corner.

    Pixels at the soft edge of a kernel belong to it in part, see `_score`. Pixels of holes
    belong to it wholly.
    """
    # 1. Runs from `start` up to `end`, in scan order. To find what touches, each row has one more
    #    pixel, of background: no run touches the next row's by the end of its own.
    width = prob_map.shape[1]
    stride = width + 1
    is_text = prob_map > bin_thresh
    first_place, end_place = _runs(is_text)  # (R,), in the flat map
    size = end_place - first_place
    row = first_place // width
    start, end = first_place + row, end_place + row

    # 2. Their regions.
    region, holed = _connect(start, end, stride)

    # 3. The shares of their pixels in the kernels.
    scores, weights = _score(prob_map[is_text], size, region, bin_thresh)
    if holed:
        hole_start, hole_end, hole_region = _holes(start, end, region, holed, stride)
        start, end = np.append(start, hole_start), np.append(end, hole_end)
        size, row = end - start, start // stride
        region = np.append(region, hole_region)
        weights = np.append(weights, np.ones((hole_end - hole_start).sum()))

    # 4. Sums over each run, then all runs sorted by region.
    first = start - row * stride
    masses, moments, squares = _moments(weights, first, size)
    order = np.argsort(region, kind="stable")
    return Regions(
        offsets=np.searchsorted(region[order], np.arange(len(scores) + 1)),
        scores=scores,
        rows=row[order].astype(np.float64),
        firsts=first[order].astype(np.float64),
        lasts=(first + size - 1.0)[order],
        masses=masses[order],
        moments=moments[order],
        squares=squares[order],
        starts=(np.cumsum(size) - size)[order],
        weights=weights,
    )


def _runs(is_text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First pixel of each run along the rows of bool (H, W), and the pixel after its last, (R,)."""
    flat = is_text.ravel()
    borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    # A run that goes on at the start of the next row is two.
    wraps = np.flatnonzero(is_text[:-1, -1] & is_text[1:, 0]) + 1
    borders = np.concatenate(
        [
            np.flatnonzero(flat[:1]),
            borders,
            np.repeat(wraps * is_text.shape[1], 2),
            np.flatnonzero(flat[-1:]) + len(flat),
        ]
    )
    if len(wraps):
        borders.sort()
    return borders[::2], borders[1::2]


def _connect(start: np.ndarray, end: np.ndarray, stride: int) -> tuple[np.ndarray, list[int]]:
    """The region of each run, 0..n - 1, and the regions that have holes.

    Runs touch where one lies in the row below the other and they share a side or a corner. Each
    run starts with its own number. In each round, runs that touch take the lower number of the two,
    and so do all that share a number with them. A few rounds are enough.
    """
    above, below = ranges(
        np.searchsorted(end, start + stride, "left"), np.searchsorted(start, end + stride, "right")
    )
    root = np.arange(len(start))
    one, other = above, below
    while len(one):
        np.minimum.at(root, np.maximum(root[one], root[other]), np.minimum(root[one], root[other]))
        while not np.array_equal(root, further := root[root]):
            root = further
        apart = root[one] != root[other]
        one, other = one[apart], other[apart]
    is_root = root == np.arange(len(root))
    region = (np.cumsum(is_root) - 1)[root]
    # With runs as nodes and touches as edges, loops = edges - nodes + 1. Each is a hole.
    runs = np.bincount(region)
    loops = np.bincount(region[above], minlength=len(runs)) - runs + 1
    return region, np.flatnonzero(loops > 0).tolist()


def _score(
    probabilities: np.ndarray, size: np.ndarray, region: np.ndarray, bin_thresh: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean probability of each region, (n,), and the share of each pixel in its kernel, (T,).

    The edge of a kernel is soft in the map. A pixel belongs to the kernel not at all at
    `bin_thresh`, by half at 0.5 and wholly at 1 - `bin_thresh`: otherwise its outermost pixels
    would thicken it. Where the network is less sure, the level of the region's inside takes the
    place of 1 - `bin_thresh`. That level is the mean probability, weighted by itself.

    Args:
        probabilities: float32 (T,), of the pixels of the runs.
        size, region: (R,), pixels and region of each run.
    """
    shares = probabilities.astype(np.float64)  # still the probabilities
    totals, squares = np.empty((2, len(size)))  # sums of p and p^2 over each run
    for runs, pixels, at in _blocks(size):
        totals[runs] = np.add.reduceat(shares[pixels], at)
        squares[runs] = np.add.reduceat(np.square(shares[pixels]), at)
    total = np.bincount(region, totals)
    scores = total / np.bincount(region, size)
    if bin_thresh >= 0.5:  # then all pixels lie above 1 - bin_thresh
        return scores, np.ones(len(shares))
    level = np.bincount(region, squares) / total
    span = np.minimum(level, 1 - bin_thresh) - bin_thresh  # (n,)
    for runs, pixels, _ in _blocks(size):
        values = shares[pixels]  # a view
        if values.min() >= 1 - bin_thresh:  # as inside large regions
            values[:] = 1
            continue
        values -= bin_thresh
        values /= np.repeat(span[region[runs]], size[runs])
        np.minimum(values, 1, out=values)
    return scores, shares


def _moments(
    weights: np.ndarray, first: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of w, w x and w x^2 over R runs from their `first` x, (R,) each."""
    sums = np.empty((3, len(size)))
    for runs, pixels, at in _blocks(size):
        if weights[pixels].min() == 1:
            sums[:, runs] = _power_sums(first[runs], size[runs])
            continue
        x = np.arange(pixels.stop - pixels.start, dtype=np.float64)
        x += np.repeat(first[runs] - at, size[runs])
        sums[0, runs] = np.add.reduceat(weights[pixels], at)
        values = weights[pixels] * x
        sums[1, runs] = np.add.reduceat(values, at)
        values *= x
        sums[2, runs] = np.add.reduceat(values, at)
    return sums[0], sums[1], sums[2]


def _power_sums(first: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sums of 1, x and x^2 over the `count` whole numbers x from `first` on, (R,) each."""
    middle = first + (count - 1) / 2
    return count, count * middle, count * (middle**2 + (count**2 - 1) / 12)


def _blocks(size: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """R runs of these sizes, in blocks whose arrays of pixels stay in the processor's cache.

    Yields the runs of a block, their pixels in an array of all T pixels, and the first pixel of
    each run within the block.
    """
    at = np.cumsum(size) - size
    borders = np.searchsorted(at, np.arange(0, size.sum(), _BLOCK)).tolist()
    for first, last in pairwise(dict.fromkeys([*borders, len(size)])):
        pixels = slice(at[first], at[last - 1] + size[last - 1])
        yield slice(first, last), pixels, at[first:last] - at[first]


def _holes(
    start: np.ndarray, end: np.ndarray, region: np.ndarray, holed: list[int], stride: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of the pixels that lie in holes of some regions: starts, ends, regions."""
    found = []
    for index in holed:
        own = region == index
        _, pixel = ranges(start[own], end[own])
        row, column = np.divmod(pixel, stride)
        mask = region_mask(column, row)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        filled = cv2.drawContours(np.zeros_like(mask), contours, 0, 1, cv2.FILLED)
        hole = np.zeros((len(mask), mask.shape[1] + 2), bool)
        hole[:, 1:-1] = filled > mask
        borders = np.flatnonzero(hole.ravel()[1:] != hole.ravel()[:-1]) + 1
        row_in, column_in = np.divmod(borders, hole.shape[1])
        borders = (row_in + row.min()) * stride + column_in - 1 + column.min()
        found.append((borders[::2], borders[1::2], np.full(len(borders) // 2, index)))
    starts, ends, regions = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return starts, ends, regions


def region_mask(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The pixels of one region as uint8 (h, w), 0 or 1, over their bounding box."""
    column, row = (x - x.min()).astype(np.intp), (y - y.min()).astype(np.intp)
    mask = np.zeros((row.max() + 1, column.max() + 1), np.uint8)
    mask[row, column] = 1
    return mask
