"""Geometry: values computed by hand, and round trips."""

import numpy as np
import pytest

from dbnet import geometry
from dbnet.postprocess.frames import to_original
from dbnet.ragged import RaggedPolygons
from dbnet.reference.targets import perimeter, shrink_distance
from dbnet.structures import Detections

RECTANGLE = np.float32([[10, 20], [50, 20], [50, 30], [10, 30]])


def rotated(polygon: np.ndarray, degrees: float) -> np.ndarray:
    turn = np.deg2rad(degrees)
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.array([[cos, -sin, 80], [sin, cos, 60], [0, 0, 1]])
    return geometry.transform([polygon], matrix)[0]


@pytest.mark.parametrize("degrees", [0, 17, 90, 133, 271])
def test_area_and_perimeter_do_not_turn(degrees):
    polygon = rotated(RECTANGLE, degrees)
    assert geometry.area(polygon) == pytest.approx(400, rel=1e-5)
    assert geometry.area(polygon[::-1]) == pytest.approx(400, rel=1e-5)
    assert perimeter(polygon) == pytest.approx(100, rel=1e-5)


def test_shrink_distance_is_the_paper_s_formula():
    assert shrink_distance(RECTANGLE, 0.4) == pytest.approx(400 * (1 - 0.16) / 100)
    assert shrink_distance(np.float32([[1, 1], [1, 1], [1, 1]]), 0.4) == 0


def test_extents_are_those_of_the_bounding_boxes():
    polygons = [RECTANGLE, rotated(RECTANGLE, 17), RECTANGLE[:3] * (1, 0)]
    expected = [np.ptp(polygon, axis=0) for polygon in polygons]
    low, high = RaggedPolygons.pack(polygons).bounds
    assert np.array_equal(high - low, expected)
    assert expected[0].tolist() == [40, 10] and expected[2].tolist() == [40, 0]
    assert [side.shape for side in RaggedPolygons.pack([]).bounds] == [(0, 2), (0, 2)]


def test_offset_inwards_keeps_corners_and_outwards_rounds_them():
    (inner,) = geometry.offset(RECTANGLE, -2)
    assert sorted(map(tuple, inner.tolist())) == [(12, 22), (12, 28), (48, 22), (48, 28)]
    (outer,) = geometry.offset(RECTANGLE, 3)
    # Steiner: A + L d + pi d^2
    assert geometry.area(outer) == pytest.approx(400 + 100 * 3 + np.pi * 9, rel=1e-3)


def test_offset_may_vanish_or_fall_apart():
    assert geometry.offset(RECTANGLE, -6) == []
    dumbbell = np.float32(
        [[0, 0], [20, 0], [20, 8], [40, 8], [40, 0], [70, 0], [70, 20], [40, 20], [40, 12],
         [20, 12], [20, 20], [0, 20]]
    )  # fmt: skip
    pieces = geometry.offset(dumbbell, -3)
    assert len(pieces) == 2
    assert geometry.area(pieces[0]) > geometry.area(pieces[1]) > 0


@pytest.mark.parametrize("degrees", [0, 30, 89, 200])
def test_min_area_quad_finds_a_rectangle_again(degrees):
    quad = geometry.min_area_quad(rotated(RECTANGLE, degrees))
    found = sorted(np.round(quad, 2).tolist())
    assert np.allclose(found, sorted(np.round(rotated(RECTANGLE, degrees), 2).tolist()), atol=0.05)
    # Clockwise on screen, where y points down.
    x, y = quad.T.astype(float)
    assert x @ np.roll(y, -1) - y @ np.roll(x, -1) > 0


def test_transform_inverts_and_divides_by_the_last_row():
    matrix = np.array([[1.1, 0.2, 5], [-0.1, 0.9, 7], [1e-3, -2e-3, 1]])
    polygons = [RECTANGLE, RECTANGLE[:3] * 2]
    moved = geometry.transform(polygons, matrix)
    for back, polygon in zip(
        geometry.transform(moved, np.linalg.inv(matrix)), polygons, strict=True
    ):
        assert back.shape == polygon.shape and back.dtype == np.float32
        assert np.abs(back - polygon).max() < 1e-3
    point = matrix @ [10, 20, 1]
    assert np.allclose(moved[0][0], point[:2] / point[2])
    assert geometry.transform([], matrix) == []


def test_a_polygon_moves_alone_as_among_others():
    rng = np.random.default_rng(0)
    matrix = np.array([[0.61, 0.2, 5], [-0.1, 0.59, 7], [0, 0, 1]])
    polygons = [rng.uniform(0, 900, (n, 2)).astype(np.float32) for n in rng.integers(3, 20, 200)]
    for moved, polygon in zip(geometry.transform(polygons, matrix), polygons, strict=True):
        assert np.array_equal(moved, geometry.transform([polygon], matrix)[0])


def test_clip_keeps_all_points_on_the_image():
    polygons = [RECTANGLE, RECTANGLE[1:] - 25]
    found = Detections(polygons, np.ones(2, np.float32), 0)
    first, second = to_original(found, np.eye(3), (28, 41)).polygons
    assert first.tolist() == [[10, 20], [40, 20], [40, 27], [10, 27]]
    assert second.tolist() == [[25, 0], [25, 5], [0, 5]]
    assert first.dtype == np.float32
    none = Detections([], np.ones(0, np.float32), 0)
    assert to_original(none, np.eye(3), (28, 41)).polygons == []
