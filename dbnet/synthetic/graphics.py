"""Printed graphics other than text: uint8 (H, W), 255 black.

`ems` is the height of a graphic in ems of the body text, `em` is one em in pixels.
"""

import cv2
import numpy as np


def pen_stroke(points: np.ndarray, shape: tuple[int, int], thickness: int) -> np.ndarray:
    """A smooth line through points (x, y), float (n, 2): uint8 (H, W)."""
    ink = np.zeros(shape, np.uint8)
    smooth = cv2.GaussianBlur(points.astype(np.float32), (1, 3), 0)
    cv2.polylines(
        ink, [np.round(smooth * 8).astype(np.int32)], False, 225, thickness, cv2.LINE_AA, 3
    )
    return ink


def barcode(rng: np.random.Generator, ems: float, em: int) -> np.ndarray:
    """Bars of one to four modules."""
    widths = rng.integers(1, 5, rng.integers(50, 90)) * max(1, round(0.09 * em))
    bars = np.repeat(np.arange(len(widths)) % 2 == 0, widths).astype(np.uint8) * 255
    return np.tile(bars, (round(ems * em), 1))


def stacked_code(rng: np.random.Generator, ems: float, em: int) -> np.ndarray:
    """Rows of short bars between two long ones, as in PDF417."""
    shape = int(rng.integers(5, 12)), int(rng.integers(60, 110))
    cells = (rng.random(shape) < 0.5).astype(np.uint8) * 255
    cells[:, :3], cells[:, -3:] = 255, 255
    module = max(4, round(ems * em / 8)), max(1, round(0.08 * em))
    return np.kron(cells, np.ones(module, np.uint8))


def qr_code(rng: np.random.Generator, ems: float, em: int) -> np.ndarray:
    """Random modules and the three finder patterns."""
    count = int(rng.choice([21, 25, 29, 33]))
    cells = (rng.random((count, count)) < 0.5).astype(np.uint8) * 255
    finder = np.zeros((8, 8), np.uint8)
    for edge, value in ((0, 255), (1, 0), (2, 255)):
        finder[edge : 7 - edge, edge : 7 - edge] = value
    cells[:8, :8], cells[:8, -8:], cells[-8:, :8] = finder, finder[:, ::-1], finder[::-1]
    module = max(2, round(ems * em / count))
    return np.kron(cells, np.ones((module, module), np.uint8))


def signature(rng: np.random.Generator, em: int, room: int) -> np.ndarray:
    """A signature on a line, at most `room` pixels wide."""
    height, width = 3 * em, min(room, 12 * em)
    steps = rng.normal(size=(24, 2)).cumsum(axis=0) * (0.25, 0.6) * em
    steps += np.linspace((0.2 * width, 0.5 * height), (0.8 * width, 0.5 * height), 24)
    ink = pen_stroke(steps, (height, width), 1)
    ink[-2] = 255
    return ink


def logo(rng: np.random.Generator, ems: float, em: int) -> np.ndarray:
    """Simple shapes, no letters."""
    h = round(ems * em)
    w = round(h * rng.uniform(1, 2))
    ink = np.zeros((h, w), np.uint8)
    centre, axes = (w // 2, h // 2), (w // 2 - 2, h // 2 - 2)
    shape, aa = rng.integers(4), cv2.LINE_AA
    if shape == 0:
        cv2.ellipse(ink, centre, axes, 0, 0, 360, 255, -1, aa)
        cv2.ellipse(ink, centre, (axes[0] * 2 // 3, axes[1] // 2), 0, 20, 200, 0, -1, aa)
    elif shape == 1:
        for angle in range(0, 360, int(rng.choice([30, 45, 60]))):
            cv2.ellipse(ink, centre, axes, 0, angle, angle + 15, 255, -1, aa)
    elif shape == 2:
        peaks = np.array([[0, 0.7], [0.2, 0], [0.4, 0.6], [0.7, 0], [0.7, 0.7]])
        peaks += 0.3 * rng.random((5, 2))
        cv2.fillPoly(ink, [(peaks * (w - 1, h - 1)).astype(np.int32)], 255, aa)
    else:
        cv2.rectangle(ink, (0, 0), (w - 1, h - 1), 255, max(2, h // 12))
        cv2.circle(ink, centre, h // 3, 255, -1, aa)
        cv2.line(ink, (0, h), (w, 0), 0, max(2, h // 10), aa)
    return ink
