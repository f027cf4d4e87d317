"""Reading order, rows and crops on drawn layouts with a known order."""

import cv2
import numpy as np
import pytest

from dbnet.inference.crops import crop_quads
from dbnet.inference.order import reading_order

ROWS = ((200,), (260,), (150, 60), (240, 50), (120, 60, 50), (180, 60), (100, 60))
"""Widths of the texts of each row."""


def receipt() -> list[np.ndarray]:
    """Texts in reading order, n x float32 (20, 2): points along every edge, so that they can bend.

    The first two rows are centred; in the others the first text stands left, the last one right.
    """
    texts = []
    for row, widths in enumerate(ROWS):
        if len(widths) == 1:
            starts = [200 - widths[0] / 2]
        else:
            starts = [10, *(330 - 120 * k for k in reversed(range(len(widths) - 1)))]
        for x, width in zip(starts, widths, strict=True):
            y = 20 + 40 * row
            corners = np.float64([[x, y], [x + width, y], [x + width, y + 18], [x, y + 18]])
            along = np.arange(5)[:, None] / 5
            edges = [
                a + (b - a) * along for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)
            ]
            texts.append(np.concatenate(edges).astype(np.float32))
    return texts


def rows_of() -> list[int]:
    return [row for row, widths in enumerate(ROWS) for _ in widths]


def turned(texts: list[np.ndarray], degrees: float) -> list[np.ndarray]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return [(text @ np.array([[c, s], [-s, c]])).astype(np.float32) for text in texts]


def curled(texts: list[np.ndarray], depth: float) -> list[np.ndarray]:
    """Ends of rows lie `depth` pixels lower than their middle."""
    return [
        np.stack([t[:, 0], t[:, 1] + depth * (t[:, 0] / 200 - 1) ** 2], axis=1).astype(np.float32)
        for t in texts
    ]


def assert_in_order(texts: list[np.ndarray], seed: int = 0) -> None:
    """Check that order and rows of shuffled texts are found."""
    mixed = np.random.default_rng(seed).permutation(len(texts))
    layout = reading_order([texts[index] for index in mixed])
    np.testing.assert_array_equal(mixed[layout.order], np.arange(len(texts)))
    np.testing.assert_array_equal(layout.rows, rows_of())


@pytest.mark.parametrize("degrees", [0, -3, 3, -10, 10, -25, 25, -40, 40])
def test_rows_of_a_skewed_receipt_go_down_and_to_the_right(degrees):
    for seed in range(3):
        assert_in_order(turned(receipt(), degrees), seed)


@pytest.mark.parametrize("depth", [-40, -20, 20, 40])
@pytest.mark.parametrize("degrees", [-10, 0, 10])
def test_rows_of_a_curled_receipt_go_down_and_to_the_right(depth, degrees):
    assert_in_order(turned(curled(receipt(), depth), degrees))


@pytest.mark.parametrize("depth", [30, 45])
def test_rows_curled_at_one_end_only_stay_together(depth):
    bent = [
        np.stack([t[:, 0], t[:, 1] + depth * t[:, 1] / 280 * (t[:, 0] / 200 - 1) ** 2], 1)
        for t in receipt()
    ]
    assert_in_order([text.astype(np.float32) for text in bent])


@pytest.mark.parametrize("degrees", [90, -90, 80, -100])
def test_a_receipt_turned_by_90_degrees_is_read_upright(degrees):
    assert_in_order(turned(receipt(), degrees))


def test_no_text_and_one_text_have_an_order():
    nothing = reading_order([])
    assert (nothing.order.shape, nothing.rows.shape) == ((0,), (0,))
    assert nothing.quads.shape == (0, 4, 2)
    one = reading_order(receipt()[:1])
    assert list(one.order) == [0] and list(one.rows) == [0]


@pytest.mark.parametrize("degrees", [0, 15, -30, 90, -90])
def test_quads_start_at_the_corner_of_the_first_letter(degrees):
    texts = turned(receipt(), degrees)
    layout = reading_order(texts)
    assert layout.quads.dtype == np.float32
    for text, quad in zip(texts, layout.quads, strict=True):
        np.testing.assert_allclose(quad, text[::5], atol=0.1)


def written() -> tuple[np.ndarray, list[np.ndarray]]:
    """uint8 (300, 420, 3) with a dark bar per text, whose first third is red."""
    image = np.full((300, 420, 3), 255, np.uint8)
    texts = receipt()
    for text in texts:
        (x0, y0), (x1, y1) = text.min(axis=0).astype(int), text.max(axis=0).astype(int)
        cv2.rectangle(image, (x0, y0), (x1, y1), (40, 40, 40), -1)
        cv2.rectangle(image, (x0, y0), (x0 + (x1 - x0) // 3, y0 + 8), (255, 0, 0), -1)
    return image, texts


@pytest.mark.parametrize("degrees", [0, 12, -20, 90, -90])
def test_crops_of_a_turned_receipt_are_upright(degrees):
    image, texts = written()
    matrix = cv2.getRotationMatrix2D((210, 150), -degrees, 1)
    matrix[:, 2] += 150  # room on every side
    photo = cv2.warpAffine(image, matrix, (720, 720), borderValue=(255, 255, 255))
    moved = [(t @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32) for t in texts]
    layout = reading_order(moved)
    for text, crop in zip(texts, crop_quads(photo, layout.quads), strict=True):
        width, height = np.ptp(text, axis=0) + 1
        assert crop.shape == pytest.approx((height, width, 3), abs=1)
        red = crop[:, :, 0].astype(int) - crop[:, :, 2] > 120
        assert red[2:7, 3 : crop.shape[1] // 3 - 3].mean() > 0.95, "red at the top left"
        assert red[12:].mean() < 0.05 and red[:, crop.shape[1] // 2 :].mean() < 0.05


def test_crops_of_a_straight_text_are_its_pixels():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    quad = np.float32([[10, 20], [49, 20], [49, 35], [10, 35]])
    [crop] = crop_quads(image, quad[None])
    np.testing.assert_array_equal(crop, image[20:36, 10:50])


def test_crops_over_the_border_repeat_its_pixels():
    image = np.full((40, 50, 3), 200, np.uint8)
    quads = np.float32([[[-5, -5], [20, -5], [20, 10], [-5, 10]], [[9, 9], [9, 9], [9, 9], [9, 9]]])
    large, point = crop_quads(image, quads)
    assert large.shape == (16, 26, 3) and (large == 200).all()
    assert point.shape == (1, 1, 3)
