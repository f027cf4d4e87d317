"""Texts cut out of an image and rectified, for a recogniser."""

import cv2
import numpy as np


def crop_quads(image: np.ndarray, quads: np.ndarray) -> list[np.ndarray]:
    """Each quad as an upright rectangle, uint8 (h, w, 3); sides are the means of opposite edges.

    Args:
        image: uint8 (H, W, 3).
        quads: (n, 4, 2) pixels, clockwise from the corner that becomes the top left.
    """
    return [_crop(image, quad) for quad in np.asarray(quads, np.float64)]


def _crop(image: np.ndarray, quad: np.ndarray) -> np.ndarray:
    edges = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)  # top, right, bottom, left
    width = max(1, round((edges[0] + edges[2]) / 2) + 1)  # both end pixels belong to the text
    height = max(1, round((edges[1] + edges[3]) / 2) + 1)
    # Only what the quad spans is warped: OpenCV refuses sources of more than 32,767 pixels a side.
    low = np.maximum(np.floor(quad.min(axis=0)).astype(int) - 1, 0)  # x, y
    high = np.ceil(quad.max(axis=0)).astype(int) + 2
    part = image[low[1] : high[1], low[0] : high[0]]
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    matrix = cv2.getPerspectiveTransform(
        (quad - low).astype(np.float32), corners.astype(np.float32)
    )
    return cv2.warpPerspective(
        part, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
