"""Large images in windows: one map without seams, and the scale that the text needs."""

import numpy as np
import pytest

from dbnet.data.images import Decoded
from dbnet.inference.tiling import Tiling, text_heights
from dbnet.inference.windows import window_starts, window_weights, windowed_map
from dbnet.settings import PostprocessConfig
from dbnet.structures import Detections


def dark(images: np.ndarray) -> np.ndarray:
    """A network that looks at single pixels: dark ones are text, but not black padding."""
    brightest = images.max(axis=1, keepdims=True)
    return ((brightest < 128) & (brightest > 0)).astype(np.float32)


@pytest.mark.parametrize("length", [64, 96, 128, 160, 1024, 3008])
def test_the_weights_of_windows_add_up_to_one(length):
    window = min(128, length)
    starts = window_starts(length, window)
    total = np.zeros(length)
    for start, weights in zip(starts, window_weights(starts, window), strict=True):
        total[start : start + window] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 96), (320, 128), (416, 608)])
def test_windows_give_the_map_of_the_whole_image(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    whole = dark(image.transpose(2, 0, 1)[None])[0, 0]
    np.testing.assert_allclose(windowed_map(image, dark, window=128), whole, atol=1e-6)


def test_windows_without_text_at_a_smaller_scale_are_left_out():
    image = np.full((1024, 1024, 3), 255, np.uint8)
    image[500:520, 400:600] = image[540:560, 40:300] = 60
    sizes = []

    def counted(images: np.ndarray) -> np.ndarray:
        sizes.append(images[0, 0].size)
        return dark(images)

    small = dark(image[::2, ::2].transpose(2, 0, 1)[None])[0, 0]
    joined = windowed_map(image, counted, window=256, seen=small)
    np.testing.assert_allclose(joined, dark(image.transpose(2, 0, 1)[None])[0, 0], atol=1e-6)
    assert sum(sizes) <= image[:, :, 0].size / 2
    assert not windowed_map(image, counted, window=256, seen=np.zeros((512, 512))).any()


def page(height: int, width: int, *, text: int) -> np.ndarray:
    """Bars `text` pixels high on white, one every three heights."""
    image = np.full((height, width, 3), 255, np.uint8)
    for top in range(text, height - 2 * text, 3 * text):
        image[top : top + text, width // 10 : width // 2] = 60
    return image


@pytest.mark.parametrize(("height", "width"), [(3200, 200), (200, 3200), (6000, 160)])
def test_a_long_image_is_read_at_a_larger_scale(height, width):
    image = page(max(height, width), min(height, width), text=20)
    image = image if height > width else np.ascontiguousarray(image.transpose(1, 0, 2))
    decoded = Decoded(image, (height, width), np.eye(3))
    tiling = Tiling(dark, image_size=320, postprocess=PostprocessConfig(), shrink_ratio=0.4)
    nothing = Detections([], np.zeros(0, np.float32), 0)
    closer = tiling.detect("image", lambda scale_of: decoded, nothing, (height, width))
    assert closer is not None and 320 < closer.side <= max(height, width)
    bars = len(range(20, max(height, width) - 40, 60))
    assert len(closer.detections.polygons) == bars, "none cut at a seam, none found twice"


def test_text_that_is_large_enough_is_left_as_it_is():
    bars = [np.float32([[0, y], [90, y], [90, y + 12], [0, y + 12]]) for y in range(0, 900, 30)]
    found = Detections(bars, np.ones(len(bars), np.float32), 0)
    tiling = Tiling(dark, image_size=320, postprocess=PostprocessConfig(), shrink_ratio=0.4)

    def decode(scale_of):
        raise AssertionError("the image is not read again")

    assert tiling.detect("image", decode, found, (3000, 2000)) is None
    heights = text_heights(bars)
    assert heights is not None and heights.alike and heights.median == pytest.approx(12)
    assert text_heights(bars[:5]) is None
