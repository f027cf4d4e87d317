"""The distance by which a kernel is grown back to the text it was shrunk from ("unclip").

Targets shrink a text of area A and perimeter L by D = c A / L, c = 1 - r^2 (DBNet, section 3.4).
The kernel that is left has area A' and perimeter L'. The paper grows it back by
D' = ratio A' / L', with a fixed ratio. This does not invert the shrinking: the ratio that gives
D' = D depends on the shape. For r = 0.4 it is 1.45 for a square and 5.25 for an endless line.

`exact_distance` solves for D instead:

1. Growing an outline by D adds L' D to its area, plus D^2 tan(t / 2) at each corner, where t is the
   angle by which the outline turns there and corners stay sharp. It adds 2 D tan(t / 2) per corner
   to the perimeter. Turns to the other side count negative.
2. The outline of a text has four corners of 90 degrees, tan(t / 2) = 1. All its other bends are
   taken to cancel out: a curved text bends as much to one side on its upper edge as to the other on
   its lower edge. Hence

       A = A' + L' D + 4 D^2,    L = L' + 8 D    (exact for rectangles)

3. Put into D L = c A, this gives 8 D^2 + L' D = c A' + c L' D + 4 c D^2, or

       (8 - 4 c) D^2 + (1 - c) L' D - c A' = 0

   As c lies in 0..1, the first coefficient is positive and the last one negative: the equation has
   exactly one positive root.
"""

from typing import TypeVar

import numpy as np
import pyclipper

Size = TypeVar("Size", float, np.ndarray)  # of one kernel, or of n

# pyclipper works in integers, and is fastest below 2^30: up to 10,000 pixels at this scale.
_CLIPPER_SCALE = 1e5
_MITER_LIMIT = 2.0  # longest tip of a sharp corner, in units of the distance; longer ones are cut


def exact_distance(area: Size, perimeter: Size, shrink_ratio: float) -> Size:
    """The D that the kernels A' (`area`) and L' (`perimeter`) were shrunk by, in pixels.

    The positive root of step 3 in the module's docstring. Area in square pixels.
    """
    c = 1 - shrink_ratio**2
    a, b = 8 - 4 * c, (1 - c) * perimeter
    return (np.sqrt(b * b + 4 * a * c * area) - b) / (2 * a)


def classic_distance(area: Size, perimeter: Size, unclip_ratio: float) -> Size:
    """The paper's D' = ratio A' / L', in pixels. Perimeters must not be 0."""
    return unclip_ratio * area / perimeter


def grow(outline: np.ndarray, distance: float) -> np.ndarray:
    """Move an outline (P, 2) outwards by `distance` >= 0; returns float32 (Q, 2), pixels.

    Corners stay sharp, because shrinking a text keeps its corners sharp. A corner whose tip would
    be longer than two distances is cut off. Of several pieces, the largest is returned. The result
    is empty, (0, 2), if the outline has fewer than three different points.
    """
    clipper = pyclipper.PyclipperOffset(miter_limit=_MITER_LIMIT)
    path = np.round(outline * _CLIPPER_SCALE).astype(np.int64)
    try:
        clipper.AddPath(path.tolist(), pyclipper.JT_MITER, pyclipper.ET_CLOSEDPOLYGON)
    except pyclipper.ClipperException:  # fewer than three different points
        return np.zeros((0, 2), np.float32)
    pieces = clipper.Execute(distance * _CLIPPER_SCALE)
    largest: list[list[int]] = max(pieces, key=pyclipper.Area, default=[])
    return (np.array(largest, np.float64).reshape(-1, 2) / _CLIPPER_SCALE).astype(np.float32)
