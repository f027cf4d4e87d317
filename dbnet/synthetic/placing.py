"""Position of a sheet in the image: its mapping, its mask, and the outlines of its texts."""

from collections.abc import Collection

import cv2
import numpy as np

from dbnet.synthetic.sheet import Sheet
from dbnet.synthetic.surface import Surface


class PlacedSheet:
    """Mapping from paper to image: the surface, then a homography (3, 3)."""

    def __init__(self, surface: Surface, matrix: np.ndarray) -> None:
        self.surface, self.matrix = surface, matrix

    def points(self, points: np.ndarray) -> np.ndarray:
        """Map points from the paper to the image, float64 (n, 2)."""
        moved = self.surface.move(np.asarray(points, np.float64))
        return cv2.perspectiveTransform(moved[None], self.matrix)[0]

    def back(self, points: np.ndarray) -> np.ndarray:
        """Map points from the image to the paper, float64 (n, 2)."""
        flat = cv2.perspectiveTransform(points[None], np.linalg.inv(self.matrix))[0]
        return self.surface.back(flat)


def place(
    rng: np.random.Generator,
    sheet: Sheet,
    slot: tuple[np.ndarray, np.ndarray],
    kinds: Collection[str],
    *,
    scanned: bool,
) -> np.ndarray:
    """A random homography (3, 3) from the sheet to its slot: tilted, turned and shifted."""
    height, width = sheet.ink.shape
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    spread = 1.0 if scanned else 4.0 if rng.random() < 0.85 else 15.0
    angle = np.deg2rad(rng.normal(0, spread))
    cos, sin = np.cos(angle), np.sin(angle)
    tilted = flat @ np.array([[cos, sin], [-sin, cos]])
    tilted += rng.uniform(-0.04, 0.04, (4, 2)) * min(width, height) * (not scanned)
    corner, room = slot
    low, high = tilted.min(axis=0), tilted.max(axis=0)
    # Smaller where it does not fit, unless it may be cut off.
    fit = float(min(1.0, (room / (high - low)).min())) if "cut off" not in kinds else 1.0
    fit = max(fit, 8.5 / sheet.size) if sheet.size > 8.5 else 1.0
    tilted, low, high = tilted * fit, low * fit, high * fit
    free = room - (high - low)
    where = rng.uniform(-0.3, 1.3, 2) if "cut off" in kinds else rng.uniform(0, 1, 2)
    where = np.where(free < 0, np.clip(where, 0, 1), where)
    tilted += corner - low + free * where
    return cv2.getPerspectiveTransform(flat, tilted.astype(np.float32))


def paper_mask(placed: PlacedSheet, paper: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Mask of the paper in the image: uint8 (H, W), 255 or 0."""
    height, width = paper
    x, y = np.linspace(0, width, 40), np.linspace(0, height, 60)
    sides = [
        np.stack([x, np.zeros(40)], axis=1),
        np.stack([np.full(60, width), y], axis=1),
        np.stack([x, np.full(40, height)], axis=1)[::-1],
        np.stack([np.zeros(60), y], axis=1)[::-1],
    ]
    border = np.round(placed.points(np.concatenate(sides)) * 16).astype(np.int32)
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [border], 255, cv2.LINE_8, 4)
    return mask


def outline(placed: PlacedSheet, quad: np.ndarray, em: int) -> np.ndarray:
    """Outline of a quad in the image: 4 corners, more where the paper is bent, float32 (P, 2)."""
    top_left, top_right, bottom_right, bottom_left = quad.astype(np.float64)
    steps = max(1, int(np.ceil(np.linalg.norm(top_right - top_left) / em)))
    t = np.linspace(0, 1, steps + 1)[:, None]
    top = top_left + t * (top_right - top_left)
    bottom = bottom_right + t * (bottom_left - bottom_right)
    ring = placed.points(np.concatenate([top, bottom])).astype(np.float32)
    simple = cv2.approxPolyDP(ring, 0.4, True)[:, 0]
    return simple if len(simple) > 4 else ring[[0, steps, steps + 1, -1]]
