"""Ragged polygons equal the same operation on each polygon alone."""

import pickle

import numpy as np
import pytest

from dbnet import geometry
from dbnet.ragged import RaggedPolygons, pack_images, ranges, unpack_images
from dbnet.reference.targets import perimeter


@pytest.fixture
def polygons() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(0, 90, (n, 2)) for n in (4, 3, 7, 4, 12)]


def test_pack_and_split_are_inverse(polygons):
    ragged = RaggedPolygons.pack(polygons)
    assert len(ragged) == 5
    assert ragged.counts.tolist() == [4, 3, 7, 4, 12]
    for back, polygon in zip(ragged.split(), polygons, strict=True):
        assert np.array_equal(back, polygon)


def test_no_polygons_give_empty_arrays():
    ragged = RaggedPolygons.pack([])
    assert len(ragged) == 0
    assert ragged.points.shape == (0, 2)
    assert ragged.split() == []
    assert ragged.next.shape == ragged.signed_areas.shape == ragged.perimeters.shape == (0,)
    assert [bound.shape for bound in ragged.bounds] == [(0, 2), (0, 2)]


def test_measures_are_those_of_each_polygon(polygons):
    ragged = RaggedPolygons.pack(polygons)
    low, high = ragged.bounds
    for i, polygon in enumerate(polygons):
        assert abs(ragged.signed_areas[i]) == pytest.approx(geometry.area(polygon))
        assert ragged.perimeters[i] == pytest.approx(perimeter(polygon))
        assert low[i].tolist() == polygon.min(axis=0).tolist()
        assert high[i].tolist() == polygon.max(axis=0).tolist()


def test_areas_are_positive_clockwise_on_screen():
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]])
    assert RaggedPolygons.pack([square, square[::-1]]).signed_areas.tolist() == [4, -4]


def test_next_closes_every_polygon_and_skips_empty_ones():
    triangle = np.zeros((3, 2))
    ragged = RaggedPolygons.pack([triangle, triangle[:0], triangle[:1], triangle])
    assert ragged.next.tolist() == [1, 2, 0, 3, 5, 6, 4]
    assert ragged.owner.tolist() == [0, 0, 0, 2, 3, 3, 3]


def test_ranges_count_up_from_each_start():
    owner, number = ranges(np.array([5, 2, 9]), np.array([8, 2, 11]))
    assert owner.tolist() == [0, 0, 0, 2, 2]
    assert number.tolist() == [5, 6, 7, 9, 10]


def test_images_come_out_as_they_were_packed(polygons):
    images = [polygons[:2], [], polygons[2:]]
    packed = pack_images(images)
    assert packed.counts == [2, 0, 3] and packed.polygons.counts.tolist() == [4, 3, 7, 4, 12]
    received = pickle.loads(pickle.dumps(packed))
    assert vars(received.polygons).keys() == {"points", "offsets"}, "no cached properties"
    found = unpack_images(received)
    assert [len(image) for image in found] == [2, 0, 3]
    for ours, theirs in zip(found, images, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == b.dtype and np.array_equal(a, b)
    assert unpack_images(pack_images([[], []])) == [[], []]
