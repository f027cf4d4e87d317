import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from dbnet import geometry
from dbnet.postprocess.unclip import classic_distance, exact_distance, grow
from dbnet.reference.postprocess import largest_offset
from dbnet.reference.targets import perimeter, shrink_distance

sides = st.floats(1, 1000)
ratios = st.floats(0.05, 0.95)


def rectangle(width, height):
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)


def arc(bend, radius, height, points=12):
    """A text on an arc of `bend` radians."""
    angle = np.linspace(-bend / 2, bend / 2, points)
    ray = np.stack([np.sin(angle), -np.cos(angle)], axis=1)
    return 300 + np.vstack([ray * (radius + height), ray[::-1] * radius])


@given(sides, sides, ratios)
def test_exact_distance_undoes_the_shrink_of_any_rectangle(width, height, ratio):
    area, perimeter = width * height, 2 * (width + height)
    distance = area * (1 - ratio**2) / perimeter  # DBNet, section 3.4
    kernel_area = (width - 2 * distance) * (height - 2 * distance)
    kernel_perimeter = 2 * (width + height - 4 * distance)
    found = exact_distance(np.array([kernel_area]), np.array([kernel_perimeter]), ratio)
    assert found[0] == pytest.approx(distance, rel=1e-6)


@pytest.mark.parametrize("bend", [0.1, 0.8, 1.6, 2.4])
@pytest.mark.parametrize("ratio", [0.3, 0.4, 0.6])
def test_exact_distance_undoes_the_shrink_of_curved_texts(bend, ratio):
    text = arc(bend, radius=150, height=20)
    distance = shrink_distance(text, ratio)
    (kernel,) = geometry.offset(text, -distance)
    area, length = geometry.area(kernel), perimeter(kernel)
    found = exact_distance(np.array([area]), np.array([length]), ratio)
    assert found[0] == pytest.approx(distance, rel=0.01)


def test_classic_distance_is_the_paper_s():
    areas, perimeters = np.array([12.0, 0.0]), np.array([16.0, 8.0])
    assert classic_distance(areas, perimeters, 1.5).tolist() == [1.125, 0.0]


def test_the_classic_ratio_that_is_right_depends_on_the_shape():
    c = 1 - 0.4**2
    kernels = {"square": (1.0, 4.0), "line": (1e6, 2e6 + 2)}  # sides 1 x 1 and 1,000,000 x 1
    right = {}
    for name, (area, length) in kernels.items():
        distance = exact_distance(np.array([area]), np.array([length]), 0.4)[0]
        right[name] = distance * length / area
    assert right["square"] == pytest.approx(1.448, abs=1e-3)
    assert right["line"] == pytest.approx(c / (1 - c), rel=1e-3)


def test_rectangles_grow_into_rectangles():
    first = grow(rectangle(30, 4).astype(np.int32), 2.5)
    second = grow(rectangle(5, 9).astype(np.int32)[::-1], 1.0)
    assert {tuple(p) for p in first} == {(-2.5, -2.5), (32.5, -2.5), (32.5, 6.5), (-2.5, 6.5)}
    assert {tuple(p) for p in second} == {(-1, -1), (6, -1), (6, 10), (-1, 10)}
    assert first.dtype == np.float32


def test_needles_are_cut_off():
    needle = np.array([[0, 0], [100, 4], [0, 8]], np.int32)  # a tip of 4.6 degrees
    grown = grow(needle, 3.0)
    assert len(grown) > 3
    assert grown[:, 0].max() < 107  # 175 with a sharp tip


@pytest.mark.parametrize("start", range(8))
def test_a_pocket_that_closes_is_filled(start):
    corners = [[0, 0], [60, 0], [60, 40], [40, 40], [40, 20], [34, 20], [34, 40], [0, 40]]
    notch = np.roll(np.array(corners, np.int32), start, axis=0)  # 6 pixels wide
    open_notch, closed = grow(notch, 2.0), grow(notch, 4.0)
    assert geometry.area(open_notch) == pytest.approx(64 * 44 - 2 * 20, rel=1e-4)
    assert geometry.area(closed) == pytest.approx(68 * 48, rel=1e-4)


@pytest.mark.parametrize("start", range(10))
def test_a_bottle_s_neck_closes(start):
    cavity = [[8, 0], [8, 40], [-24, 40], [-24, 10], [-8, 10], [-8, 0]]
    block = [[-50, 0], [-50, 60], [50, 60], [50, 0]]
    bottle = np.roll(np.array(cavity + block, np.int32), start, axis=0)  # a neck 16 pixels wide
    open_neck, closed = grow(bottle, 7.0), grow(bottle, 9.0)
    assert geometry.area(open_neck) == pytest.approx(114 * 74 - 18 * 16 - 2 * 24, rel=1e-4)
    assert geometry.area(closed) == pytest.approx(118 * 78, rel=1e-4)


def test_crossing_outlines_are_the_clipper_s():
    angle = np.linspace(0.1, 2 * np.pi + 0.1, 24, endpoint=False)
    eight = np.stack([60 * np.sin(angle), 40 * np.sin(2 * angle)], axis=1)
    twice_round = np.array([[0, 0], [30, 0], [30, 30], [2, 30], [2, 2], [28, 2], [28, 28], [0, 28]])
    for outline in (eight.round().astype(np.int32), twice_round.astype(np.int32)):
        grown = grow(outline, 3.0)
        expected = shapely.Polygon(largest_offset(outline, 3.0))
        assert shapely.Polygon(grown).symmetric_difference(expected).area < 0.01


SPIKED = [(8, 0), (0, 0), (0, 2), (3, 4), (2, 5), (3, 7), (0, 10)]
SPIKED += [(0, 12), (2, 12), (2, 10), (6, 8), (4, 2), (6, 0)]


@pytest.mark.parametrize("step", [1, -1])
def test_outlines_that_run_back_on_themselves_are_the_clipper_s(step):
    spiked = np.array(SPIKED, np.int32)[::step]
    turned = [spiked, spiked[:, ::-1], spiked * [-1, 1], spiked[:, ::-1] * [1, -1]]
    outlines = [np.roll(outline, i, axis=0) for outline in turned for i in range(len(spiked))]
    for outline in outlines:
        assert geometry.area(grow(outline, 1.9)) == pytest.approx(
            geometry.area(largest_offset(outline, 1.9))
        )


def test_the_largest_piece_of_a_ring_is_its_outside():
    c_shape = arc(6.0, radius=20, height=4, points=40).round().astype(np.int32)
    grown = grow(c_shape, 6.0)
    assert geometry.area(grown) == pytest.approx(np.pi * 30**2, rel=0.05)


@pytest.mark.parametrize("outline", [[[3, 3]], [[0, 0], [9, 0]], [[0, 0], [9, 0], [0, 0]]])
def test_fewer_than_three_points_grow_into_nothing(outline):
    grown = grow(np.array(outline, np.int32), 2.0)
    assert grown.shape == (0, 2)
