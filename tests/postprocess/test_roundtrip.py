"""Polygons -> target maps -> polygons: the post-process inverts the shrink."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks.oracle import best_iou, draw_texts, kernel_map
from configs import Config
from dbnet import geometry
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.reference.targets import shrink_distance

SIZE = 640


def detect(polygons: list[np.ndarray], **changes) -> list[np.ndarray]:
    cfg = Config()
    postprocess = DBPostprocessor(
        replace(cfg.postprocess, **changes), shrink_ratio=cfg.targets.shrink_ratio
    )
    return postprocess(kernel_map(polygons, SIZE)).polygons


# Corners of kernels are whole pixels, and half a pixel more or less of a kernel are up to three of
# a line: texts of 8 to 20 pixels cannot come back better than this.
@pytest.mark.parametrize("use_polygon", [False, True], ids=["box", "polygon"])
@pytest.mark.parametrize(
    ("kind", "mean", "above_07"),
    [
        ("straight lines", 0.89, 0.98),
        ("straight words", 0.915, 0.995),
        ("rotated lines", 0.915, 0.985),
        ("rotated words", 0.92, 0.995),
        ("curved lines", 0.93, 0.995),
    ],
)
def test_texts_come_back(kind, mean, above_07, use_polygon):
    if kind == "curved lines" and not use_polygon:
        pytest.skip("a rectangle is no curve")
    rng = np.random.default_rng(7)
    pages = [draw_texts(kind, SIZE, rng) for _ in range(4)]
    found = [detect(page, use_polygon=use_polygon) for page in pages]
    assert [len(polygons) for polygons in found] == [len(page) for page in pages]
    ious = np.concatenate(
        [best_iou(page, polygons) for page, polygons in zip(pages, found, strict=True)]
    )
    assert len(ious) > 100
    assert ious.mean() > mean
    assert (ious > 0.7).mean() > above_07


@pytest.mark.parametrize("kind", ["straight lines", "rotated words", "curved lines"])
def test_the_exact_offset_beats_the_classic_ones(kind):
    texts = draw_texts(kind, SIZE, np.random.default_rng(8))
    exact, low, high = (
        best_iou(texts, detect(texts, unclip_ratio=unclip_ratio)).mean()
        for unclip_ratio in (None, 1.5, 2.0)
    )
    assert exact > max(low, high) + 0.04


@pytest.mark.parametrize("use_polygon", [False, True], ids=["box", "polygon"])
def test_large_texts_come_back_almost_exactly(use_polygon):
    texts = [
        np.float32([[40, 30], [600, 30], [600, 110], [40, 110]]),
        cv2.boxPoints(((320, 300), (500, 90), 12)),
        cv2.boxPoints(((320, 520), (300, 120), -9)),
    ]
    found = detect(texts, use_polygon=use_polygon)
    assert best_iou(texts, found).min() > 0.96


@pytest.mark.parametrize("use_polygon", [False, True], ids=["box", "polygon"])
def test_texts_at_the_border_come_back(use_polygon):
    last = SIZE - 1
    texts = [
        np.float32([[0, 0], [200, 0], [200, 24], [0, 24]]),
        np.float32([[last - 150, 100], [last, 100], [last, 124], [last - 150, 124]]),
        np.float32([[300, last - 24], [420, last - 24], [420, last], [300, last]]),
        np.float32([[0, 300], [24, 300], [24, 500], [0, 500]]),
    ]
    found = detect(texts, use_polygon=use_polygon)
    assert best_iou(texts, found).min() > 0.85
    assert best_iou(texts, found).mean() > 0.9


def test_texts_that_leave_the_map_come_back_as_far_as_it_goes():
    leaving = np.float32([[-60, 200], [200, 200], [200, 230], [-60, 230]])
    (found,) = detect([leaving], use_polygon=False)
    visible = np.float32([[0, 200], [200, 200], [200, 230], [0, 230]])
    assert best_iou([visible], [found])[0] > 0.9


def test_order_of_the_texts_does_not_matter():
    texts = draw_texts("rotated words", SIZE, np.random.default_rng(9))
    forwards, backwards = detect(texts), detect(texts[::-1])
    assert len(forwards) == len(backwards) == len(texts)
    assert all(np.array_equal(a, b) for a, b in zip(forwards, backwards, strict=True))


@pytest.mark.parametrize("shrink_ratio", [0.3, 0.5, 0.7])
def test_every_shrink_ratio_has_its_inverse(shrink_ratio):
    text = cv2.boxPoints(((320, 320), (400, 60), 20))
    (kernel,) = geometry.offset(text, -shrink_distance(text, shrink_ratio))
    prob_map = cv2.fillPoly(np.zeros((SIZE, SIZE), np.float32), [kernel.round().astype(int)], 1.0)
    found = DBPostprocessor(Config().postprocess, shrink_ratio=shrink_ratio)(prob_map).polygons
    assert best_iou([text], found)[0] > 0.95
