"""How far a kernel grows back into the text it was shrunk from.

DBNet (section 3.4) shrinks a text of area A and perimeter L by D = c A / L, c = 1 - r^2, and
grows the kernel (A', L') back by D' = ratio A' / L'. That is no inverse: the right ratio depends
on the shape, with r = 0.4 from 1.45 for a square to 5.25 for an endless line.

A text's outline has four right corners and otherwise bends as much to the left as to the right.
Growing a corner of turning angle t with a sharp tip adds D^2 tan(t / 2) to the area, so

    A = A' + L' D + 4 D^2,    L = L' + 8 D    (exact for rectangles)

and D L = c A becomes (8 - 4 c) D^2 + (1 - c) L' D - c A' = 0, which has one positive root.
"""

from itertools import chain

import numpy as np
import pyclipper

from dbnet.geometry import split

OUTLINE_TOLERANCE = 0.75  # pixels that outlines may be off the contours they simplify
_CLIPPER_SCALE = 1e5  # pyclipper works in integers, fastest below 2^30
_MITER_LIMIT = 2.0  # length of the sharpest corner's tip, in distances
_SHARPEST = 2 / _MITER_LIMIT**2 - 1  # cosine of that corner's turning angle


def exact_distance(area: np.ndarray, perimeter: np.ndarray, shrink_ratio: float) -> np.ndarray:
    """D that gave kernels of this area and perimeter, float64 (n,) in pixels."""
    c = 1 - shrink_ratio**2
    a, b = 8 - 4 * c, (1 - c) * perimeter
    return (np.sqrt(b * b + 4 * a * c * area) - b) / (2 * a)


def classic_distance(area: np.ndarray, perimeter: np.ndarray, unclip_ratio: float) -> np.ndarray:
    """D' = ratio A' / L' of the paper, float64 (n,) in pixels. Perimeters must not be 0."""
    return unclip_ratio * area / perimeter


def retreat(
    area: np.ndarray, perimeter: np.ndarray, distance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Area and perimeter after the outlines have moved inwards by `distance`, each (n,)."""
    return area - distance * perimeter + 4 * distance**2, perimeter - 8 * distance


def grow(outlines: list[np.ndarray], distances: np.ndarray) -> list[np.ndarray]:
    """Move n outlines outwards, each (P, 2) by its own distance >= 0: n x float32 (Q, 2), pixels.

    Corners stay sharp up to a tip of two distances, because shrinking a text keeps its corners
    sharp; beyond, they are cut off. Of several pieces the largest; (0, 2) where an outline has
    fewer than three points that differ.

    Where all corners stay sharp, all edges outlast the move and no two parts can meet, each
    corner moves along its bisector, all corners of all outlines at once. Parts that meet enclose
    a pocket: up to there, the outline has turned backwards by half a turn or more. Simplified, two
    sides of a neck may overlap, each by OUTLINE_TOLERANCE: growing by more mends that, by less
    only the clipper. The few outlines that are not so simple go through it.
    """
    if not outlines:
        return []
    counts = np.array([len(outline) for outline in outlines])
    ends = np.cumsum(counts)
    firsts = ends - counts
    points = np.concatenate(outlines).astype(np.float64).view(np.complex128)[:, 0]  # (M,), x + iy
    following = np.arange(1, len(points) + 1)
    following[ends - 1] = firsts

    edges = points[following] - points
    after = edges / np.maximum(np.abs(edges), 1e-9)
    before = np.empty_like(after)
    before[following] = after
    turned = after * before.conj()
    turns = np.angle(turned)
    clockwise = np.add.reduceat(turns, firsts) > 0  # (n,), on screen
    side = np.repeat(np.where(clockwise, 1, -1), counts)
    bisectors = -1j * side * (before + after) / np.maximum(1 + turned.real, 1e-9)
    moved = points + np.repeat(distances, counts) * bisectors

    turns *= side
    outlasts = ((moved[following] - moved) * after.conj()).real > 0
    # Half a turn is one to either side: where the outline runs back on itself, the clipper knows.
    sharp = (turned.real >= _SHARPEST) | (turns < 0) & (turned.real > 1e-9 - 1)
    simple = np.logical_and.reduceat(outlasts & sharp, firsts)
    simple &= _least_turn(turns, counts) > -np.pi
    is_convex = np.minimum.reduceat(turns, firsts) >= 0
    simple &= is_convex | (distances > OUTLINE_TOLERANCE)
    moved = moved.view(np.float64).reshape(-1, 2).astype(np.float32)
    grown = split(moved, counts)
    others = np.flatnonzero(~simple).tolist()
    clipped = _clip([outlines[k] for k in others], distances[others])
    for k, polygon in zip(others, clipped, strict=True):
        grown[k] = polygon
    return grown


def _least_turn(turns: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Smallest sum of consecutive turns around each closed outline, (n,).

    The stretches that run over an outline's end are what the others leave of the full turn.
    """
    firsts = np.cumsum(counts) - counts
    total = np.cumsum(turns)  # (M,)
    apart = np.repeat(np.arange(len(counts)) * 1e4, counts)  # no stretch spans two outlines
    highest = np.maximum.accumulate(total - turns + apart) - apart
    lowest = np.minimum.accumulate(total - turns - apart) + apart
    within = np.minimum.reduceat(total - highest, firsts)
    across = 2 * np.pi - np.maximum.reduceat(total - lowest, firsts)
    return np.minimum(within, across)


def _clip(outlines: list[np.ndarray], distances: np.ndarray) -> list[np.ndarray]:
    if not outlines:
        return []
    # pyclipper cuts off decimals: there are none.
    points = np.concatenate(outlines) * _CLIPPER_SCALE
    largest = []
    for path, distance in zip(
        split(points.tolist(), map(len, outlines)), distances.tolist(), strict=True
    ):
        clipper = pyclipper.PyclipperOffset(miter_limit=_MITER_LIMIT)
        try:
            clipper.AddPath(path, pyclipper.JT_MITER, pyclipper.ET_CLOSEDPOLYGON)
        except pyclipper.ClipperException:  # fewer than three points that differ
            largest.append([])
            continue
        pieces = clipper.Execute(distance * _CLIPPER_SCALE)
        largest.append(max(pieces, key=pyclipper.Area, default=[]))
    # Numbers one by one: numpy takes ten times as long over lists of pairs.
    numbers = chain.from_iterable(chain.from_iterable(largest))
    points = np.fromiter(numbers, np.float64).reshape(-1, 2) / _CLIPPER_SCALE
    return split(points.astype(np.float32), map(len, largest))
