"""Outlines of the shapes that annotation tools know, as points float64 (P, 2)."""

import numpy as np

from dbnet.data.annotations.files import as_points, rectangle


def sized_box(x: float, y: float, width: float, height: float) -> np.ndarray:
    """Upright rectangle (4, 2) from its upper left corner and its sides; finite or not."""
    values = as_points([[x, y], [width, height]])
    if len(values) != 2:  # too large for float64
        return np.full((4, 2), np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        return rectangle(values[0], values[0] + values[1])


def turned(points: np.ndarray, degrees: float, about: np.ndarray) -> np.ndarray:
    """Points (P, 2) turned about a point (2,); clockwise on the screen, where y points down."""
    angle = np.radians(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    return (points - about) @ np.array([[cos, sin], [-sin, cos]]) + about


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> np.ndarray:
    """Polygon (16, 2) around an upright ellipse; finite or not."""
    angles = np.arange(16) * (np.pi / 8)
    reach = 1 / np.cos(np.pi / 16)  # so that the sides touch the ellipse
    with np.errstate(over="ignore", invalid="ignore"):
        return np.stack(
            [x + radius_x * reach * np.cos(angles), y + radius_y * reach * np.sin(angles)], axis=1
        )


def has_region(points: np.ndarray) -> bool:
    """Whether points (P, 2) are three at least, finite, and not on one upright or level line."""
    return len(points) > 2 and bool(
        np.isfinite(points).all() and (np.ptp(points, axis=0) > 0).all()
    )
