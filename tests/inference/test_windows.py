"""Large images in windows: one map without seams, and the scale that the text needs."""

import warnings

import cv2
import numpy as np
import pytest
import torch

from dbnet.data.images import Decoded
from dbnet.geometry import min_area_quads
from dbnet.inference.tiling import Tiling, needed_side, text_heights
from dbnet.inference.torch_network import torch_network
from dbnet.inference.turning import lines_angle, needed_turn
from dbnet.inference.windows import (
    window_length,
    window_starts,
    window_weights,
    windowed_map,
)
from dbnet.settings import PostprocessConfig
from dbnet.structures import Detections
from tests.networks import with_random_statistics


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


@pytest.mark.parametrize("length", [64, 128, 160, 224, 256, 1280, 3008])
def test_windows_are_no_longer_than_their_number_needs(length):
    short = window_length(length, 128)
    count = len(window_starts(length, 128))
    assert short % 32 == 0 and short <= 128
    assert len(window_starts(length, short)) == count
    assert short == 32 or len(window_starts(length, short - 32)) > count


def test_a_read_only_image_gives_no_warning_and_the_same_map():
    model = with_random_statistics("resnet18").eval()
    network = torch_network(model, device=torch.device("cpu"), dtype=None, compiled=False)
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    expected = windowed_map(image, network, window=64)
    image.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = windowed_map(image, network, window=64)
    np.testing.assert_array_equal(found, expected)


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


TILING = Tiling(dark, image_size=320, postprocess=PostprocessConfig(), shrink_ratio=0.4)


def bars(height: int, *, count: int = 6) -> Detections:
    """Outlines of texts of one height, in pixels of the image fitted to the network's size."""
    quad = np.float32([[0, 0], [90, 0], [90, height], [0, height]])
    polygons = [quad + np.float32([0, 2 * height * i]) for i in range(count)]
    return Detections(polygons, np.ones(count, np.float32), 0)


@pytest.mark.parametrize(
    ("height", "side"), [(12, 640), (15, None), (26, None), (30, 192), (36, 160)]
)
def test_the_height_of_few_texts_tells_the_scale_they_need(height, side):
    assert needed_side(bars(height).polygons, 320, (640, 480)) == side


def test_few_large_texts_of_a_long_image_may_be_many_melted_together():
    assert needed_side(bars(40).polygons, 320, (1281, 480)) == 683
    assert needed_side(bars(40).polygons, 320, (1280, 480)) == 160


def test_no_scale_makes_a_quarter_of_the_texts_too_small():
    mixed = bars(40, count=4).polygons + bars(14, count=4).polygons
    assert needed_side(mixed, 320, (640, 480)) == round(320 * 10 / 14)


def test_large_text_is_found_in_the_same_place_at_a_smaller_scale():
    image = page(640, 448, text=80)
    decoded = Decoded(image, (640, 448), np.eye(3))
    asked = []

    def decode(scale_of):
        asked.append(scale_of((640, 448)))
        return decoded

    rescaled = TILING.detect("image", decode, bars(40), (640, 448))
    assert rescaled is not None and rescaled.side == 160
    assert asked == [0.25], "a JPEG may be decoded at a quarter of its size"
    middles = sorted(polygon[:, 1].mean() for polygon in rescaled.detections.polygons)
    np.testing.assert_allclose(middles, [80 + 39.5, 320 + 39.5], atol=2)


def test_a_smaller_scale_that_shows_nothing_is_not_taken():
    white = Decoded(np.full((640, 448, 3), 255, np.uint8), (640, 448), np.eye(3))
    assert TILING.detect("image", lambda scale_of: white, bars(40), (640, 448)) is None


def sideways(found: list[np.ndarray]) -> list[np.ndarray]:
    return [polygon[:, ::-1] for polygon in found]


@pytest.mark.parametrize("reads", ["down", "up"])
def test_an_image_on_its_side_gives_texts_in_its_own_pixels(reads, monkeypatch):
    angle = {"down": np.pi / 2, "up": -np.pi / 2}[reads]
    monkeypatch.setattr("dbnet.inference.turning.page_angle", lambda polygons, quads: angle)
    columns = page(640, 448, text=20).transpose(1, 0, 2)  # bars from near the top to the middle
    decoded = Decoded(np.ascontiguousarray(columns), (448, 640), np.eye(3))
    seen = []

    def network(images):
        seen.append(images)
        return dark(images)

    tiling = Tiling(network, image_size=320, postprocess=PostprocessConfig(), shrink_ratio=0.4)
    before = Detections(sideways(bars(20).polygons), np.full(6, 0.6, np.float32), 0)
    turned = tiling.detect("image", lambda scale_of: decoded, before, (448, 640))
    assert turned is not None and seen[0].shape == (1, 3, 320, 224)
    ink = np.flatnonzero(seen[0].min(axis=(0, 1, 2)) < 128)
    assert (ink.mean() < 112) == (reads == "down"), "lines run to the right from the image's edge"
    middles = sorted(tuple(polygon.mean(axis=0)) for polygon in turned.detections.polygons)
    expected = [(left + 9.5, (44 + 223) / 2) for left in range(20, 600, 60)]
    np.testing.assert_allclose(middles, expected, atol=2)


def test_a_turned_image_of_less_certain_texts_is_not_taken():
    columns = page(640, 448, text=20).transpose(1, 0, 2)
    decoded = Decoded(np.ascontiguousarray(columns), (448, 640), np.eye(3))
    before = Detections(sideways(bars(20).polygons), np.ones(6, np.float32), 0)
    assert TILING.detect("image", lambda scale_of: decoded, before, (448, 640)) is None


def test_an_image_without_lines_when_turned_is_read_as_it_lies():
    white = Decoded(np.full((448, 640, 3), 255, np.uint8), (448, 640), np.eye(3))
    pieces = Detections(sideways(bars(20).polygons), np.ones(6, np.float32), 0)
    assert TILING.detect("image", lambda scale_of: white, pieces, (448, 640)) is None


@pytest.mark.parametrize(
    ("across", "down", "told"),
    [(6, 0, False), (0, 4, False), (0, 5, True), (5, 9, False), (3, 9, True)],
)
def test_five_long_texts_tell_that_lines_run_down(across, down, told):
    marks = bars(80, count=9).polygons  # as high as long: they tell nothing
    texts = bars(20, count=across).polygons + sideways(bars(20, count=down).polygons)
    assert (abs(lines_angle(texts + marks)) == np.pi / 2) is told
    assert (lines_angle(texts + marks) == 0) is not told


def tilted(found: list[np.ndarray], degrees: float) -> list[np.ndarray]:
    turn = np.deg2rad(degrees)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return [(polygon @ matrix).astype(np.float32) for polygon in found]


@pytest.mark.parametrize("degrees", [0, 3, -9, 11, 15, -20, 35, -40])
@pytest.mark.parametrize("quarter", [0, 90])
def test_the_angle_of_lines_is_known_from_ten_degrees_on(degrees, quarter):
    angle = np.rad2deg(lines_angle(tilted(bars(20).polygons, degrees + quarter)))
    expected = quarter + (degrees if abs(degrees) > 10 else 0)
    assert (angle - expected + 90) % 180 - 90 == pytest.approx(0, abs=0.1)


def test_lines_of_several_directions_tell_no_angle():
    texts = bars(20).polygons
    assert lines_angle(tilted(texts, 20) + tilted(texts, -20) + tilted(texts, 45)) == 0
    assert lines_angle(tilted(texts[:4], 20)) == 0, "too few"
    assert lines_angle(tilted(texts, 20) + texts[:2]) != 0


def test_a_tilted_strip_is_not_turned_onto_an_almost_empty_canvas():
    texts = tilted(bars(20).polygons, 20)
    assert needed_turn(texts, (1000, 700)) == pytest.approx(np.deg2rad(20), abs=1e-3)
    assert needed_turn(texts, (9000, 300)) == 0
    assert needed_turn(tilted(bars(20).polygons, 12), (32_760, 3600)) == 0, "OpenCV refuses it"
    assert abs(needed_turn(sideways(bars(20).polygons), (33_000, 300))) == np.pi / 2


@pytest.mark.parametrize("degrees", [12, -25, 40])
def test_a_tilted_image_is_read_upright_at_the_same_scale(degrees):
    upright = page(448, 320, text=8)
    upright[:, :, 0] = 255  # red text, so that the edge between white and black padding is none
    outlines = [
        np.float32([[31.5, y], [159.5, y], [159.5, y + 8], [31.5, y + 8]]) - [0, 0.5]
        for y in range(8, 448 - 16, 24)
    ]
    centre, turn = np.array([159.5, 223.5]), cv2.getRotationMatrix2D((159.5, 223.5), -degrees, 1)
    turn[:, 2] += [299.5, 299.5] - centre
    image = cv2.warpAffine(upright, turn, (600, 600), borderValue=(255,) * 3)
    expected = [polygon @ turn[:, :2].T + turn[:, 2] for polygon in outlines]
    decoded = Decoded(image, (600, 600), np.eye(3))
    shapes = []

    def network(images):
        shapes.append(images.shape[2:])
        red, _, blue = images.astype(np.float32).transpose(1, 0, 2, 3)
        return (red - blue > 97).astype(np.float32)[:, None]

    tiling = Tiling(network, image_size=608, postprocess=PostprocessConfig(), shrink_ratio=0.4)
    before = Detections([p * 608 / 600 for p in expected], np.full(len(expected), 0.5), 0)
    found = tiling.detect("image", lambda scale_of: decoded, before, (600, 600))
    assert found is not None and found.side == 608
    assert np.rad2deg(found.angle) == pytest.approx(degrees, abs=0.1)
    assert len(shapes) == 1, "one look, in one window"
    middles = sorted(tuple(polygon.mean(axis=0)) for polygon in found.detections.polygons)
    np.testing.assert_allclose(middles, sorted(tuple(p.mean(axis=0)) for p in expected), atol=1)
    quads = min_area_quads(found.detections.polygons)
    along = np.rad2deg(np.arctan2(*(quads[:, 1] - quads[:, 0])[:, ::-1].T))
    np.testing.assert_allclose((along - degrees + 45) % 90 - 45, 0, atol=1.5)
