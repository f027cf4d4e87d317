"""Target maps: values computed by hand, and equality with the reference on any polygon."""

import numpy as np
import pytest

from dbnet.data.targets import MIN_SIDE, make_targets
from dbnet.reference import targets as reference
from dbnet.structures import TargetMaps

PARAMETERS = {"shrink_ratio": 0.4, "thresh_min": 0.3, "thresh_max": 0.7}
BINARY = ("shrink_map", "shrink_mask", "thresh_mask")


def draw(polygons, ignored=None, height=60, width=100, **changes) -> TargetMaps:
    flags = np.zeros(len(polygons), bool) if ignored is None else np.array(ignored, bool)
    return make_targets(polygons, flags, height, width, **(PARAMETERS | changes))


def rectangle(left, top, right, bottom) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def turned(polygon: np.ndarray, degrees: float) -> np.ndarray:
    angle, centre = np.deg2rad(degrees), polygon.mean(axis=0)
    turn = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    return ((polygon - centre) @ turn + centre).astype(np.float32)


def any_polygon(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Text lines mostly; also blobs, polygons that cross themselves, repeated points, giants."""
    centre = rng.uniform(-20, (width + 20, height + 20))
    shape = rng.integers(7)
    if shape <= 2:
        length, thickness = rng.uniform(2, 90), rng.uniform(2, 20)
        points = turned(rectangle(0, 0, length, thickness), rng.uniform(0, 360)) + centre
    elif shape == 3:  # any outline around a centre, convex or not
        count = rng.integers(3, 40)
        angles = np.sort(rng.uniform(0, 2 * np.pi, count))
        radii = rng.uniform(3, 40, count)
        points = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif shape == 4:
        points = rng.uniform(-30, (width + 30, height + 30), (rng.integers(0, 8), 2))
    elif shape == 5:  # repeated and collinear points
        points = centre + np.array([[0, 0], [9, 0], [9, 0], [30, 0], [30, 12], [9, 12], [0, 12]])
    else:  # far beyond the image
        points = rectangle(-900, 0, 900, 30) + rng.uniform(0, 30, (4, 2))
    if rng.random() < 0.3:
        points = np.round(points)
    return points[:: rng.choice([1, -1])].astype(np.float32)


def assert_like_reference(polygons, ignored, height, width, **parameters) -> None:
    ours = make_targets(polygons, ignored, height, width, **parameters)
    expected = reference.make_targets(polygons, ignored, height, width, **parameters)
    for name, plane in ours._asdict().items():
        expected_type = np.float32 if name == "thresh_map" else np.uint8
        assert plane.dtype == expected_type and plane.shape == (height, width)
    np.testing.assert_allclose(ours.thresh_map, expected.thresh_map, atol=1e-4)
    # A corner half-way between two pixels may be rounded either way.
    assert np.sum(ours.shrink_map != expected.shrink_map) <= max(4, height * width // 1000)
    assert np.sum(ours.shrink_mask != expected.shrink_mask) <= max(4, height * width // 1000)
    differs = ours.thresh_mask != expected.thresh_mask
    assert (expected.thresh_map[differs] < parameters["thresh_min"] + 1e-4).all()


@pytest.mark.parametrize("seed", range(30))
def test_the_maps_equal_those_of_the_reference(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 160, 2)
    polygons = [any_polygon(rng, height, width) for _ in range(rng.integers(1, 12))]
    thresh_min = rng.uniform(0, 0.4)
    assert_like_reference(
        polygons,
        rng.random(len(polygons)) < 0.2,
        height,
        width,
        shrink_ratio=rng.uniform(0.1, 0.9),
        thresh_min=thresh_min,
        thresh_max=thresh_min + rng.uniform(0.05, 0.5),
    )


@pytest.mark.faults("1,000 points in a text")
def test_a_text_of_a_thousand_points_equals_the_reference():
    angles = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    radii = 45 + 12 * np.sin(7 * angles)
    flower = np.stack([80 + radii * np.cos(angles), 70 + radii * np.sin(angles)], axis=1)
    assert_like_reference([flower.astype(np.float32)], np.zeros(1, bool), 140, 160, **PARAMETERS)


@pytest.mark.faults("5,000 texts on an image")
def test_five_thousand_texts_equal_the_reference():
    rng = np.random.default_rng(0)
    texts = [
        turned(rectangle(0, 0, *rng.uniform(2, 20, 2)), rng.uniform(0, 360))
        + rng.uniform(0, 400, 2).astype(np.float32)
        for _ in range(5000)
    ]
    assert_like_reference(texts, rng.random(5000) < 0.1, 400, 400, **PARAMETERS)


def test_one_rectangle_has_the_values_of_the_paper():
    # A = 60 * 20, L = 160, D = 0.84 * 1200 / 160 = 6.3: the kernel spans 26.3..73.7 x 26.3..33.7,
    # 47.4 x 7.4, which is snapped to 47 x 7.
    maps = draw([rectangle(20, 20, 80, 40)])
    kernel = np.zeros((60, 100), np.float32)
    kernel[26:34, 26:74] = 1
    np.testing.assert_array_equal(maps.shrink_map, kernel)
    np.testing.assert_array_equal(maps.shrink_mask, 1)

    def thresh(distance):
        return 0.7 - 0.4 * min(distance / 6.3, 1)

    at = {
        (20, 50): 0,
        (22, 50): 2,
        (17, 50): 3,
        (30, 80): 0,
        (30, 85): 5,
        (30, 87): 7,
        (30, 50): 10,
    }
    at |= {(17, 84): 5, (37, 77): 3}  # beyond a corner, 4 and 3 pixels away; inside one
    for (y, x), distance in at.items():
        assert maps.thresh_map[y, x] == pytest.approx(thresh(distance), abs=1e-6), (y, x)
    assert maps.thresh_map.max() == pytest.approx(0.7, abs=1e-6)
    assert maps.thresh_map.min() == np.float32(0.3)

    inside = np.s_[14:47, 14:87]  # 6.3 around the rectangle, less the rounded corners
    assert maps.thresh_mask.sum() == maps.thresh_mask[inside].sum()
    assert maps.thresh_mask[14:47, 50].all() and maps.thresh_mask[30, 14:87].all()
    assert maps.thresh_mask[14, 14] == 0  # 8.5 from the corner


def test_thin_text_keeps_a_kernel():
    # 10 high, 60 long: D = 3.6, a kernel 2.8 thick.
    kernel = draw([turned(rectangle(20, 25, 80, 35), 8)]).shrink_map
    assert (kernel.max(axis=0)[28:72] == 1).all()


def test_kernel_that_falls_apart_keeps_all_pieces():
    dumbbell = [[10, 10], [40, 10], [40, 24], [60, 24], [60, 10], [90, 10]]
    dumbbell += [[90, 40], [60, 40], [60, 26], [40, 26], [40, 40], [10, 40]]
    kernel = draw([np.array(dumbbell, np.float32)]).shrink_map
    assert kernel[25, 25] == kernel[25, 75] == 1
    assert kernel[25, 50] == 0


def test_images_without_text_give_background():
    maps = draw([])
    for plane, value in zip(maps, (0, 1, 0.3, 0), strict=True):
        np.testing.assert_array_equal(plane, np.float32(value))


@pytest.mark.parametrize(
    "polygon",
    [
        rectangle(20, 20, 60, 20 + MIN_SIDE - 0.1),
        rectangle(20, 20, 60, 20),
        np.array([[20, 20], [60, 40]], np.float32),
        np.array([[20, 20]], np.float32),
        np.array([[20, 20], [60, 40], [60, 20], [20, 40]], np.float32),  # bow tie: zero area
    ],
    ids=["thin", "flat", "two points", "one point", "bow tie"],
)
def test_unusable_texts_are_masked(polygon):
    maps = draw([polygon])
    assert maps.shrink_mask[20, 20] == 0
    assert maps.shrink_mask[10, 10] == 1
    assert maps.shrink_map.max() == maps.thresh_mask.max() == 0
    np.testing.assert_array_equal(maps.thresh_map, np.float32(0.3))


def test_least_thickness_is_drawn():
    assert draw([rectangle(20, 20, 60, 20 + MIN_SIDE)]).shrink_map.max() == 1


def test_text_without_points_changes_nothing():
    for ours, expected in zip(draw([np.zeros((0, 2), np.float32)]), draw([]), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_ignored_text_is_masked_and_leaves_the_threshold_alone():
    maps = draw([rectangle(20, 20, 80, 40)], ignored=[True])
    expected = np.ones((60, 100), np.float32)
    expected[20:41, 20:81] = 0
    np.testing.assert_array_equal(maps.shrink_mask, expected)
    np.testing.assert_array_equal(maps.shrink_map, 0)
    np.testing.assert_array_equal(maps.thresh_mask, 0)


def test_kernel_counts_under_an_ignored_text():
    text, cover = rectangle(20, 20, 80, 40), rectangle(10, 10, 50, 50)
    maps, alone = draw([text, cover], ignored=[False, True]), draw([text])
    np.testing.assert_array_equal(maps.shrink_map, alone.shrink_map)
    np.testing.assert_array_equal(maps.thresh_map, alone.thresh_map)
    np.testing.assert_array_equal(maps.thresh_mask, alone.thresh_mask)
    covered = np.zeros((60, 100), bool)
    covered[10:51, 10:51] = True
    np.testing.assert_array_equal(maps.shrink_mask == 0, covered & (alone.shrink_map == 0))


def test_order_does_not_matter():
    rng = np.random.default_rng(5)
    polygons = [any_polygon(rng, 60, 100) for _ in range(12)]
    ignored = rng.random(12) < 0.4
    order = rng.permutation(12)
    shuffled = draw([polygons[i] for i in order], ignored[order])
    for ours, expected in zip(shuffled, draw(polygons, ignored), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_overlapping_texts_take_the_higher_threshold():
    first, second = rectangle(10, 10, 60, 30), rectangle(40, 22, 90, 42)
    both = draw([first, second])
    expected = np.maximum(draw([first]).thresh_map, draw([second]).thresh_map)
    np.testing.assert_array_equal(both.thresh_map, expected)


def test_mirrored_texts_give_mirrored_maps():
    polygons = [turned(rectangle(20, 20, 80, 40), 10), turned(rectangle(5, 45, 90, 55), -3)]
    mirrored = [(p * (-1, 1) + (99, 0)).astype(np.float32) for p in polygons]
    for ours, expected in zip(draw(mirrored), draw(polygons), strict=True):
        assert np.mean(np.abs(ours[:, ::-1] - expected) > 1e-4) < 1e-3


def test_text_outside_the_image_leaves_no_trace():
    for ours, expected in zip(draw([rectangle(200, 5, 260, 20)]), draw([]), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e10])
def test_impossible_coordinates_are_refused(value):
    broken = rectangle(20, 20, 80, 40)
    broken[2, 1] = value
    with pytest.raises(ValueError, match="polygon 1"):
        draw([rectangle(0, 0, 9, 9), broken])


def test_inputs_are_left_alone():
    polygons, ignored = (
        [rectangle(20, 20, 80, 40), rectangle(5, 5, 30, 15)],
        np.array([False, True]),
    )
    for array in (*polygons, ignored):
        array.flags.writeable = False
    first, second = draw(polygons, ignored), draw(polygons, ignored)
    for ours, expected in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, expected)
