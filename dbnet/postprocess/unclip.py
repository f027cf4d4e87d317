"""How far a kernel grows back into the text it was shrunk from.

DBNet (section 3.4) shrinks a text of area A and perimeter L by D = c A / L, c = 1 - r^2, and
grows the kernel (A', L') back by D' = ratio A' / L'. That is no inverse: the right ratio depends
on the shape, with r = 0.4 from 1.45 for a square to 5.25 for an endless line.

A text's outline has four right corners and otherwise bends as much to the left as to the right.
Growing a corner of turning angle t with a sharp tip adds D^2 tan(t / 2) to the area, so

    A = A' + L' D + 4 D^2,    L = L' + 8 D    (exact for rectangles)

and D L = c A becomes (8 - 4 c) D^2 + (1 - c) L' D - c A' = 0, which has one positive root.
"""

from typing import TypeVar

import numpy as np
import pyclipper

Size = TypeVar("Size", float, np.ndarray)  # of one kernel, or of n

_CLIPPER_SCALE = 1e5  # pyclipper works in integers, fastest below 2^30
_MITER_LIMIT = 2.0  # length of the sharpest corner's tip, in distances


def exact_distance(area: Size, perimeter: Size, shrink_ratio: float) -> Size:
    """D that gave kernels of this area and perimeter, in pixels."""
    c = 1 - shrink_ratio**2
    a, b = 8 - 4 * c, (1 - c) * perimeter
    return (np.sqrt(b * b + 4 * a * c * area) - b) / (2 * a)


def classic_distance(area: Size, perimeter: Size, unclip_ratio: float) -> Size:
    """D' = ratio A' / L' of the paper, in pixels. Perimeters must not be 0."""
    return unclip_ratio * area / perimeter


def grow(outline: np.ndarray, distance: float) -> np.ndarray:
    """Move an outline (P, 2) outwards by `distance` >= 0: float32 (Q, 2), pixels.

    Corners stay sharp up to a tip of two distances, because shrinking a text keeps its corners
    sharp; beyond, they are cut off. Of several pieces the largest; (0, 2) where the outline has
    fewer than three points that differ.
    """
    clipper = pyclipper.PyclipperOffset(miter_limit=_MITER_LIMIT)
    path = np.round(outline * _CLIPPER_SCALE).astype(np.int64)
    try:
        clipper.AddPath(path.tolist(), pyclipper.JT_MITER, pyclipper.ET_CLOSEDPOLYGON)
    except pyclipper.ClipperException:  # fewer than three points that differ
        return np.zeros((0, 2), np.float32)
    pieces = clipper.Execute(distance * _CLIPPER_SCALE)
    largest: list[list[int]] = max(pieces, key=pyclipper.Area, default=[])
    return (np.array(largest, np.float64).reshape(-1, 2) / _CLIPPER_SCALE).astype(np.float32)
