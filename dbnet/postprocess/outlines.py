"""Outlines of the texts that no rectangle describes: curved ones, and those that ran together."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.polynomial.legendre import legvander

from dbnet.postprocess.regions import region_mask
from dbnet.postprocess.unclip import grow

MAX_BEND = 0.2
"""Of a text's height: a text that bends less than this is a rectangle."""

_MAX_SPREAD = 2.0  # thickness by variance over thickness by area: above, a region is no band
_DEGREE = 4  # of the centre line, a polynomial
_SAMPLES = 65  # points of the centre line
_NODES = 8  # corners along either side of a curved outline
_STEP = 0.75  # pixels: steps between pixels are not corners
_TOOTH = 1 / 3  # of a kernel's thickness: teeth up to this are left out

# Area and perimeter of a kernel -> how far its outline moves outwards, all in pixels.
Distance = Callable[[float, float], float]


def _spline_fit() -> np.ndarray:
    """(_NODES, _SAMPLES): from even samples to the nodes of the polyline closest to them."""
    position = np.linspace(0, _NODES - 1, _SAMPLES)
    hats = np.maximum(1 - np.abs(position[:, None] - np.arange(_NODES)), 0)
    return np.linalg.pinv(hats)


_SPLINE_FIT = _spline_fit()
_BASIS = legvander(np.linspace(-1, 1, _SAMPLES), _DEGREE)  # (_SAMPLES, _DEGREE + 1)


def bent_outline(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    *,
    angle: float,
    overshoot: float,
    height: float,
    distance: Distance,
) -> np.ndarray | None:
    """Outline of the text whose kernel these (T,) pixels are, float32 (Q, 2); None: a rectangle.

    A curved text becomes a band of constant thickness around a curved centre line. A region that
    is no band, such as two lines that ran together, keeps its own shape.

    1. In the frame of the rectangle, u along `angle` and v across, the centre line is the
       polynomial v(u) that is closest to the pixels. Legendre's polynomials separate its straight
       part, the first two, from its bend.
    2. Mass over length of the centre line is the thickness. Both together give the distance.
    3. The centre line grows at its ends, from which the `overshoot` is taken back. The sides of
       the outline run at half a height from it.

    `height` is that of the rectangle, in pixels.
    """
    # 1.
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    u, v = turn @ [x, y]  # (T,)
    first, last, mass = u.min(), u.max(), weights.sum()
    basis = legvander((2 * u - first - last) / (last - first), _DEGREE)  # (T, _DEGREE + 1)
    weighted = basis.T * weights
    line = np.linalg.lstsq(weighted @ basis, weighted @ v, rcond=None)[0]
    across = v - basis @ line
    spread = np.sqrt(12 * (weights @ (across * across)) / mass)
    pixel = np.abs(turn[0]).max()  # kernels are drawn with their outline, see `fit_bands`
    if spread > _MAX_SPREAD * mass / (last - first + pixel):
        return contour_outline(x, y, weights, distance=distance)
    if np.ptp(_BASIS[:, 2:] @ line[2:]) < MAX_BEND * height:
        return None

    # 2.
    centres = np.stack([np.linspace(first, last, _SAMPLES), _BASIS @ line], axis=1)
    steps = np.diff(centres, axis=0)
    lengths = np.hypot(*steps.T)
    length = lengths.sum()
    outline = np.abs(steps @ turn).max(axis=1).sum() / length
    thickness = mass / (length + outline)
    thickness = max(thickness - outline, thickness / 2)
    length -= 2 * overshoot
    reach = distance(length * thickness, 2 * (length + thickness))

    # 3.
    move = max(reach - overshoot, 0)
    centres[0] -= steps[0] / lengths[0] * move
    centres[-1] += steps[-1] / lengths[-1] * move
    sides = _sides(_polyline(centres), thickness / 2 + reach)
    if sides is None:
        return contour_outline(x, y, weights, distance=distance)
    return (sides @ turn).astype(np.float32)


def _polyline(points: np.ndarray) -> np.ndarray:
    """The polyline of _NODES nodes that is closest to a curve given by (_SAMPLES, 2) points."""
    length = np.append(0, np.cumsum(np.hypot(*np.diff(points, axis=0).T)))
    even = np.linspace(0, length[-1], _SAMPLES)
    return _SPLINE_FIT @ np.stack([np.interp(even, length, axis) for axis in points.T], axis=1)


def _sides(line: np.ndarray, distance: float) -> np.ndarray | None:
    """Both sides of a polyline (K, 2) at `distance`, one outline (2 K, 2); None: they cross."""
    steps = np.diff(line, axis=0)
    directions = steps / np.hypot(*steps.T)[:, None]  # (K - 1, 2)
    normals = directions[:, ::-1] * [-1, 1]
    before, after = normals[:-1], normals[1:]
    joints = (before + after) / (1 + (before * after).sum(axis=1, keepdims=True))
    offsets = distance * np.concatenate([normals[:1], joints, normals[-1:]])  # (K, 2)
    sides = np.stack([line - offsets, line + offsets])  # (2, K, 2)
    if not ((np.diff(sides, axis=1) * directions).sum(axis=2) > 0).all():
        return None  # the line bends more sharply than the text is high
    return np.concatenate([sides[0], sides[1, ::-1]])


def contour_outline(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, *, distance: Distance
) -> np.ndarray | None:
    """The region's own outline, simplified and grown, float32 (Q, 2); None: it has no area."""
    mask = region_mask(x, y)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    (contour,) = contours
    perimeter = cv2.arcLength(cv2.approxPolyDP(contour, _STEP, True), True)
    area = cv2.contourArea(contour)
    missing = len(weights) - weights.sum()
    thickness = 2 * area / perimeter
    outline = cv2.approxPolyDP(contour, max(_STEP, _TOOTH * thickness), True)[:, 0]
    reach = distance(max(area - missing, area / 2), perimeter)
    grown = grow(outline + np.array([x.min(), y.min()]), max(reach - missing / perimeter, 0))
    return grown if len(grown) else None
