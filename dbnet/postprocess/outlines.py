"""Outlines of texts that are not rectangles: curved texts, and several texts in one region."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.polynomial.legendre import legvander

from dbnet.postprocess.regions import Pixels, region_mask
from dbnet.postprocess.unclip import grow

MAX_BEND = 0.2
"""Share of a text's height: a text that bends less than this becomes a rectangle."""

_MAX_SPREAD = 2.0  # thickness by variance over thickness by area; above, a region is not a band
_DEGREE = 4  # of the polynomial that is the centre line
_SAMPLES = 65  # points of the centre line
_NODES = 8  # corners along either side of a curved outline
_STEP = 0.75  # pixels: tolerance that removes the steps between pixels from a contour
_TOOTH = 1 / 3  # share of a kernel's thickness: smaller teeth of a contour are removed

# From area and perimeter of a kernel to the distance that its outline moves outwards, in pixels.
Distance = Callable[[float, float], float]


def _spline_fit() -> np.ndarray:
    """Matrix (_NODES, _SAMPLES) from points at even distances to the nodes of a polyline.

    The polyline is the least-squares fit to the points; its nodes are at even distances too.
    """
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
    bends: np.ndarray  # (k,), range of v after subtracting the straight part of the line


def bent_outlines(
    pixels: Pixels,
    *,
    angles: np.ndarray,
    overshoots: np.ndarray,
    heights: np.ndarray,
    distance: Distance,
) -> list[np.ndarray | None]:
    """Outline of the text of each of k kernels, float32 (Q, 2); None: a rectangle describes it.

    A curved text becomes a band of constant thickness around a curved centre line. A region that
    is not a band, such as two text lines in one region, keeps its own contour.

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
    """Centre lines: for each region, the polynomial v(u) that fits its pixels by least squares.

    1. Pixels in the axes of the region's rectangle, u along it and v across.
    2. Legendre polynomials of t, which is u scaled to -1..1, for all pixels at once. Recurrence:
       (n + 1) P_(n+1) = (2n + 1) t P_n - n P_(n-1). The first two make up the straight part of the
       line, the others its bend.
    3. Normal equations of the weighted fit, region by region; `across` gets the residuals.
    4. The residuals of a band are those of its thickness: uniform, with variance thickness^2 / 12.
       If this thickness is far above mass over length, the region is not a band.
    """
    # 1.
    starts, counts = pixels.offsets[:-1], np.diff(pixels.offsets)
    cos, sin = np.cos(angles), np.sin(angles)
    pixel_cos, pixel_sin = np.repeat(cos, counts), np.repeat(sin, counts)
    u = pixel_cos * pixels.x + pixel_sin * pixels.y  # (T,)
    v = pixel_cos * pixels.y - pixel_sin * pixels.x
    firsts, lasts = np.minimum.reduceat(u, starts), np.maximum.reduceat(u, starts)
    masses = np.add.reduceat(pixels.weights, starts)

    # 2.
    t = (u - np.repeat((firsts + lasts) / 2, counts)) * np.repeat(2 / (lasts - firsts), counts)
    basis = np.ones((_DEGREE + 1, len(t)))
    basis[1] = t
    for n in range(1, _DEGREE):
        basis[n + 1] = ((2 * n + 1) * t * basis[n] - n * basis[n - 1]) / (n + 1)

    # 3.
    weighted = basis * pixels.weights
    lines = np.empty((len(angles), _DEGREE + 1))
    across = np.empty_like(t)
    for index, (start, end) in enumerate(pairwise(pixels.offsets.tolist())):
        own = np.s_[:, start:end]
        normal = weighted[own] @ basis[own].T
        lines[index] = np.linalg.lstsq(normal, weighted[own] @ v[start:end], rcond=None)[0]
        across[start:end] = v[start:end] - lines[index] @ basis[own]

    # 4.
    spreads = np.sqrt(12 * np.add.reduceat(pixels.weights * across * across, starts) / masses)
    outline = np.maximum(np.abs(cos), np.abs(sin))  # as in `fit_bands`, step 3
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
    """Outline of one curved text, float32 (Q, 2); None: its sides would cross in a sharp bend.

    1. Mass over the length of the centre line is the thickness, as in `fit_bands`, step 3. Length
       and thickness give area and perimeter of the kernel, and these the distance to grow by.
    2. The centre line is extended at both ends, by the distance less the `overshoot`. The two sides
       of the outline run parallel to it, at half the height of the grown text.
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
    """The outline (2 K, 2) made of both parallels of a polyline (K, 2) at `distance`.

    A node moves along (n1 + n2) / (1 + n1 . n2), n1 and n2 being the normals of its two segments:
    both segments then move by 1 (miter joint). None: a parallel would run backwards, because the
    line bends too sharply for this distance.
    """
    steps = np.diff(line, axis=0)
    directions = steps / np.hypot(*steps.T)[:, None]  # (K - 1, 2)
    normals = directions[:, ::-1] * [-1, 1]
    before, after = normals[:-1], normals[1:]
    joints = (before + after) / (1 + (before * after).sum(axis=1, keepdims=True))
    offsets = distance * np.concatenate([normals[:1], joints, normals[-1:]])  # (K, 2)
    sides = np.stack([line - offsets, line + offsets])  # (2, K, 2)
    if not ((np.diff(sides, axis=1) * directions).sum(axis=2) > 0).all():
        return None
    return np.concatenate([sides[0], sides[1, ::-1]])


def contour_outline(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, *, distance: Distance
) -> np.ndarray | None:
    """The contour of a region, simplified and grown, float32 (Q, 2); None: it has no area.

    1. Area and perimeter of the contour, without the steps between pixels.
    2. The contour without teeth below a third of the mean thickness, 2 area / perimeter.
    3. It is grown by the distance for the kernel. The contour includes the whole soft edge, which
       belongs to the kernel only in part. `missing` is the area that does not belong to it, and
       missing / perimeter the depth by which the contour lies outside the kernel.
    """
    # 1.
    mask = region_mask(x, y)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    (contour,) = contours
    perimeter = cv2.arcLength(cv2.approxPolyDP(contour, _STEP, True), True)
    area = cv2.contourArea(contour)
    missing = len(weights) - weights.sum()

    # 2.
    thickness = 2 * area / perimeter
    outline = cv2.approxPolyDP(contour, max(_STEP, _TOOTH * thickness), True)[:, 0]

    # 3.
    reach = distance(max(area - missing, area / 2), perimeter)
    grown = grow(outline + np.array([x.min(), y.min()]), max(reach - missing / perimeter, 0))
    return grown if len(grown) else None
