"""Outlines of the texts that no rectangle describes: curved ones, and those that ran together."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.polynomial.legendre import legvander

from dbnet.postprocess.regions import Pixels, region_mask
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


class _Curves(NamedTuple):
    """Centre lines of k regions: v(u), u along the region's angle and v across, in pixels."""

    firsts: np.ndarray  # (k,), u of the first pixel
    lasts: np.ndarray  # (k,)
    masses: np.ndarray  # (k,), sums of the pixels' weights
    lines: np.ndarray  # (k, _DEGREE + 1), coefficients of Legendre's polynomials of u from -1 to 1
    is_band: np.ndarray  # bool (k,)
    bends: np.ndarray  # (k,), how far the line leaves a straight one


def bent_outlines(
    pixels: Pixels,
    *,
    angles: np.ndarray,
    overshoots: np.ndarray,
    heights: np.ndarray,
    distance: Distance,
) -> list[np.ndarray | None]:
    """Outline of each of k texts whose kernels these are, float32 (Q, 2); None: a rectangle.

    A curved text becomes a band of constant thickness around a curved centre line. A region that
    is no band, such as two lines that ran together, keeps its own shape.

    Args:
        angles, overshoots, heights: (k,), those of the rectangles; radians, pixels, pixels.
    """
    curves = _fit_curves(pixels, angles)
    outlines: list[np.ndarray | None] = [None] * len(angles)
    for index in np.flatnonzero(~curves.is_band | (curves.bends >= MAX_BEND * heights)).tolist():
        outline = None
        if curves.is_band[index]:
            curve = _Curves(*(column[index] for column in curves))
            outline = _curved_outline(curve, angles[index], overshoots[index], distance)
        if outline is None:
            outline = contour_outline(*pixels.of(index), distance=distance)
        outlines[index] = outline
    return outlines


def _fit_curves(pixels: Pixels, angles: np.ndarray) -> _Curves:
    """In the frame of each rectangle, the polynomial that is closest to the pixels.

    Legendre's polynomials separate its straight part, the first two, from its bend. They are found
    for all regions at once by their recurrence, (n + 1) P_(n+1) = (2n + 1) t P_n - n P_(n-1).
    """
    starts, counts = pixels.offsets[:-1], np.diff(pixels.offsets)
    cos, sin = np.cos(angles), np.sin(angles)
    pixel_cos, pixel_sin = np.repeat(cos, counts), np.repeat(sin, counts)
    u = pixel_cos * pixels.x + pixel_sin * pixels.y  # (T,)
    v = pixel_cos * pixels.y - pixel_sin * pixels.x
    firsts, lasts = np.minimum.reduceat(u, starts), np.maximum.reduceat(u, starts)
    masses = np.add.reduceat(pixels.weights, starts)

    t = (u - np.repeat((firsts + lasts) / 2, counts)) * np.repeat(2 / (lasts - firsts), counts)
    basis = np.ones((_DEGREE + 1, len(t)))
    basis[1] = t
    for n in range(1, _DEGREE):
        basis[n + 1] = ((2 * n + 1) * t * basis[n] - n * basis[n - 1]) / (n + 1)
    weighted = basis * pixels.weights
    lines = np.empty((len(angles), _DEGREE + 1))
    across = np.empty_like(t)
    for index, (start, end) in enumerate(pairwise(pixels.offsets.tolist())):
        own = np.s_[:, start:end]
        normal = weighted[own] @ basis[own].T
        lines[index] = np.linalg.lstsq(normal, weighted[own] @ v[start:end], rcond=None)[0]
        across[start:end] = v[start:end] - lines[index] @ basis[own]

    spreads = np.sqrt(12 * np.add.reduceat(pixels.weights * across * across, starts) / masses)
    outline = np.maximum(np.abs(cos), np.abs(sin))  # kernels are drawn with it, see `fit_bands`
    return _Curves(
        firsts=firsts,
        lasts=lasts,
        masses=masses,
        lines=lines,
        is_band=spreads <= _MAX_SPREAD * masses / (lasts - firsts + outline),
        bends=np.ptp(_BASIS[:, 2:] @ lines[:, 2:].T, axis=0),
    )


def _curved_outline(
    curve: _Curves, angle: float, overshoot: float, distance: Distance
) -> np.ndarray | None:
    """Outline of one text, float32 (Q, 2); None: it bends more sharply than it is high.

    1. Mass over length of the centre line is the thickness. Both together give the distance.
    2. The centre line grows at its ends, from which the `overshoot` is taken back. The sides of
       the outline run at half a height from it.
    """
    # 1.
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    along = np.linspace(curve.firsts, curve.lasts, _SAMPLES)
    centres = np.stack([along, _BASIS @ curve.lines], axis=1)
    steps = np.diff(centres, axis=0)
    lengths = np.hypot(*steps.T)
    length = lengths.sum()
    outline = np.abs(steps @ turn).max(axis=1).sum() / length
    thickness = curve.masses / (length + outline)
    thickness = max(thickness - outline, thickness / 2)
    length -= 2 * overshoot
    reach = distance(length * thickness, 2 * (length + thickness))

    # 2.
    move = max(reach - overshoot, 0)
    centres[0] -= steps[0] / lengths[0] * move
    centres[-1] += steps[-1] / lengths[-1] * move
    sides = _sides(_polyline(centres), thickness / 2 + reach)
    return None if sides is None else (sides @ turn).astype(np.float32)


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
    missing = len(weights) - weights.sum()  # pixels at the soft edge that are not kernel
    thickness = 2 * area / perimeter
    outline = cv2.approxPolyDP(contour, max(_STEP, _TOOTH * thickness), True)[:, 0]
    reach = distance(max(area - missing, area / 2), perimeter)
    grown = grow(outline + np.array([x.min(), y.min()]), max(reach - missing / perimeter, 0))
    return grown if len(grown) else None
