"""Outlines of the shapes that annotation tools know, as points float64 (P, 2)."""

import numpy as np


def as_points(values: list) -> np.ndarray:
    """Numbers as float64 (P, 2); those too large for it become infinite."""
    try:
        return np.array(values, np.float64).reshape(-1, 2)
    except OverflowError:  # an integer of more than 308 digits
        return np.full((1, 2), np.inf)


def rectangle(corner: np.ndarray, opposite: np.ndarray) -> np.ndarray:
    """Upright rectangle over two opposite corners (2,), as float64 (4, 2)."""
    (x0, y0), (x1, y1) = corner, opposite
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


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
