"""Polygons: float32 (P, 2) arrays, xy in pixels, P >= 3, either orientation."""

from collections.abc import Sequence

import cv2
import numpy as np
import pyclipper

from dbnet.ragged import RaggedPolygons

# pyclipper works in integers: three decimal digits survive.
_CLIPPER_SCALE = 1000.0


def area(polygon: np.ndarray) -> float:
    """Enclosed area in square pixels, never negative (shoelace formula)."""
    x, y = np.asarray(polygon, np.float64).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def offset(polygon: np.ndarray, distance: float) -> list[np.ndarray]:
    """Move the outline outwards by `distance` pixels, inwards if negative, with round corners.

    Returns the pieces, the largest first: none if a shrunk polygon vanishes, several if it falls
    apart. Vatti clipping as in MhLiao/DB, the paper's code (pyclipper, JT_ROUND).
    """
    clipper = pyclipper.PyclipperOffset()
    path = np.round(np.asarray(polygon, np.float64) * _CLIPPER_SCALE).astype(np.int64)
    clipper.AddPath(path.tolist(), pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
    pieces = clipper.Execute(distance * _CLIPPER_SCALE)
    arrays = [(np.asarray(p, np.float64) / _CLIPPER_SCALE).astype(np.float32) for p in pieces]
    return sorted((p for p in arrays if len(p) >= 3), key=area, reverse=True)


def min_area_quad(polygon: np.ndarray) -> np.ndarray:
    """Smallest enclosing rectangle, float32 (4, 2), clockwise on screen from the top left."""
    return min_area_quads([polygon])[0]


def min_area_quads(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """`min_area_quad` for n polygons, float32 (n, 4, 2)."""
    boxes = [cv2.boxPoints(cv2.minAreaRect(np.asarray(p, np.float32))) for p in polygons]
    corners = np.array(boxes, np.float32).reshape(-1, 4, 2)
    x, y = (corners - corners.mean(axis=1, keepdims=True)).T  # (4, n)
    order = np.argsort(np.arctan2(y, x).T, axis=1)
    corners = np.take_along_axis(corners, order[..., None], axis=1)
    order = corners.sum(axis=2).argmin(axis=1, keepdims=True) + np.arange(4)
    return np.take_along_axis(corners, order[..., None] % 4, axis=1)


def transform(polygons: list[np.ndarray], matrix: np.ndarray) -> list[np.ndarray]:
    """Apply a (3, 3) matrix (affine or projective) to all points: n x float32 (P, 2)."""
    ragged = RaggedPolygons.pack(polygons)
    return ragged.with_points(transform_points(ragged.points, matrix)).split()


def transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a (3, 3) matrix to (M, 2) points; float32 (M, 2)."""
    x, y = points.T.astype(np.float64)
    moved = matrix[:, :1] * x + matrix[:, 1:2] * y + matrix[:, 2:]  # (3, M)
    return (moved[:2] / moved[2]).T.astype(np.float32, order="C")
