"""CLEval equals the published package and the reference; states, batches and caches agree."""

import itertools

import cv2
import numpy as np
import pytest
import shapely

from dbnet.metrics import overlap
from dbnet.metrics.cleval import CLEval, Counts
from dbnet.metrics.polygons import Polygons, measure
from dbnet.ragged import RaggedPolygons
from dbnet.reference import cleval as reference
from dbnet.settings import CLEvalConfig
from tests.published import cleval_pinned
from tests.published.cleval_scenes import KINDS, box, picked, scene

BINS = (0.0, 0.02, 0.04, 0.08, 0.5, 1.0)


def pack(polygons: list[np.ndarray], *, truncated: bool) -> Polygons:
    return measure(RaggedPolygons.pack(polygons), truncated=truncated)


def metric(**changes) -> CLEval:
    options = {
        "ap_constraint": 0.3,
        "recall_granularity_penalty": 1.0,
        "precision_granularity_penalty": 1.0,
        "vertical_aspect_ratio_thresh": 0.5,
        "max_polygons": 500,
        "scale_wise": False,
        "scale_bins": BINS,
    }
    return CLEval(CLEvalConfig(**options | changes))


# The same numbers as the package


def test_counts_are_those_the_package_gave():
    score = metric()
    for seed, counts in enumerate(cleval_pinned.COUNTS):
        expected = dict(zip(cleval_pinned.NAMES, counts, strict=True))
        assert picked(score.update(*scene(seed)), cleval_pinned.NAMES) == expected, seed
    total = np.sum(cleval_pinned.COUNTS, axis=0)
    assert list(picked(score.compute(), cleval_pinned.NAMES).values()) == total.tolist()
    assert (total > 200).all(), "the scenes exercise every count"


def test_counts_and_rates_are_those_of_the_installed_package():
    package = pytest.importorskip("dbnet.reference.cleval_package", exc_type=ImportError)
    score = metric()
    for seed in range(1000, 1160):
        if KINDS[seed % 8] in ("crossing", "tiny"):
            continue  # self-crossing outlines can crash the package; the pinned counts have some
        result, expected = score.update(*scene(seed)), package.evaluate(*scene(seed))
        if result["num_char_gt"] == 0 == result["num_char_det"]:
            continue  # the package calls this 0, see test_images_with_nothing_to_find_are_scored
        assert picked(result, expected) == expected, seed


def test_size_bins_are_those_of_the_installed_package():
    package = pytest.importorskip("dbnet.reference.cleval_package", exc_type=ImportError)
    found = 0
    for seed in (8, 9, 10, 14, 15, 16, 17, 18, 22, 23):
        score = metric(scale_wise=True)
        score.update(*scene(seed), image_size=(300, 500))
        rows = score.state()[1:]
        for row, size_range in zip(rows, itertools.pairwise(BINS), strict=True):
            expected = package.evaluate(*scene(seed), longest_side=500, size_range=size_range)
            expected = {name: expected[name] for name in package.NAMES}
            result = dict(zip(Counts._fields, row, strict=False))
            assert picked(result, expected) == expected, (seed, size_range)
            found += result["num_char_tp"] > 0
    assert found > 10


@pytest.mark.parametrize("seed", range(2000, 2048))
def test_counts_equal_the_reference(seed):
    expected = reference.evaluate(*scene(seed))
    assert picked(metric().update(*scene(seed)), expected) == expected


@pytest.mark.parametrize("seed", [2001, 2002, 2008, 2009, 2010, 2014, 2016, 2017])
def test_other_polygons_equal_the_reference(seed):
    def bent(polygon, corners):
        middles = (polygon + np.roll(polygon, -1, axis=0)) / 2
        bulge = middles + (middles - polygon.mean(axis=0)) * np.float32(0.1)
        return np.stack([polygon, bulge], axis=1).reshape(-1, 2)[:corners]

    dets, gts, ignored, texts = scene(seed)
    dets = [bent(polygon, 3 + i % 6) for i, polygon in enumerate(dets)]
    gts = [bent(polygon, 8 if i % 3 else 4) for i, polygon in enumerate(gts)]
    expected = reference.evaluate(dets, gts, ignored, texts)
    assert expected["num_char_tp"] > 0
    assert picked(metric().update(dets, gts, ignored, texts), expected) == expected


def test_a_corner_in_the_middle_of_a_side_changes_nothing():
    gt, det = box(10, 10, 60, 12), box(12, 10, 50, 14)
    corners = [0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    unit = np.array(corners, np.float32).T
    seven = [unit * [60, 12] + [10, 10], unit * [50, 14] + [12, 10]]
    expected = metric().update([det], [gt], [False], ["abcdef"])
    assert 0 < expected["num_char_tp"] < 6
    assert metric().update([seven[1]], [seven[0]], [False], ["abcdef"]) == expected


# By hand


def test_a_text_found_once_is_perfect():
    result = metric().update([box(0, 0, 100, 10)], [box(0, 0, 100, 10)], [False], ["x" * 20])
    assert (result["precision"], result["recall"], result["hmean"]) == (1, 1, 1)
    assert (result["num_char_tp"], result["num_char_gt"], result["num_char_det"]) == (20, 20, 20)


def test_a_text_in_two_pieces_costs_one_character_of_recall():
    pieces = [box(0, 0, 50, 10), box(50, 0, 50, 10)]
    result = metric().update(pieces, [box(0, 0, 100, 10)], [False], ["x" * 10])
    assert (result["num_splitted"], result["precision"], result["recall"]) == (1, 1.0, 0.9)
    half = metric(recall_granularity_penalty=0.5)
    assert half.update(pieces, [box(0, 0, 100, 10)], [False], ["x" * 10])["recall"] == 0.95


def test_two_texts_in_one_detection_cost_one_character_of_precision():
    gts = [box(0, 0, 50, 10), box(60, 0, 40, 10)]
    result = metric().update([box(0, 0, 100, 10)], gts, [False] * 2, ["abcde", "fghij"])
    assert (result["num_merged"], result["precision"], result["recall"]) == (1, 0.9, 1.0)
    free = metric(precision_granularity_penalty=0.0)
    assert free.update([box(0, 0, 100, 10)], gts, [False] * 2, ["abcde", "fghij"])["precision"] == 1


def test_a_character_found_twice_is_claimed_twice():
    dets = [box(0, 0, 100, 10), box(0, 0, 50, 10)]
    result = metric().update(dets, [box(0, 0, 100, 10)], [False], ["x" * 10])
    assert (result["num_char_overlapped"], result["num_char_tp"]) == (5, 10)
    assert (result["precision"], result["recall"]) == (10 / 15, 0.9)


def test_upright_false_detections_claim_more_characters():
    result = metric().update([box(0, 0, 90, 10), box(200, 0, 10, 41)], [], [])
    assert result["num_char_fp"] == 1 + 5  # round(0.5 + 1 / 9), round(0.5 + 4.1)
    assert (result["precision"], result["recall"], result["hmean"]) == (0, 0, 0)


def test_area_precision_decides_what_matches():
    gt, det = box(0, 0, 30, 10), box(0, 0, 100, 10)
    assert metric().update([det], [gt], [False], ["abc"])["num_char_tp"] == 3  # exactly 0.3
    assert metric().update([box(0, 0, 101, 10)], [gt], [False], ["abc"])["num_char_tp"] == 0
    assert metric(ap_constraint=0.2).update([box(0, 0, 101, 10)], [gt], [False])["num_char_tp"] > 0


@pytest.mark.parametrize(("width", "length"), [(10, 2), (24, 3), (26, 3), (31, 4), (500, 10)])
def test_unknown_texts_get_their_length_from_the_aspect_ratio(width, length):
    for texts in (None, [""]):
        assert metric().update([], [box(0, 0, width, 10)], [False], texts)["num_char_gt"] == length


def test_upright_texts_run_downwards():
    gt, top = box(0, 0, 10, 100), box(0, 0, 10, 50)
    assert metric().update([top], [gt], [False], ["x" * 10])["num_char_tp"] == 5
    never = metric(vertical_aspect_ratio_thresh=0.0)
    assert never.update([box(0, 0, 5, 100)], [gt], [False], ["x" * 10])["num_char_tp"] == 5


def test_detections_on_dont_care_regions_are_left_out():
    gts, ignored = [box(0, 0, 50, 10), box(0, 50, 100, 10)], [False, True]
    dets = [box(0, 0, 50, 10), box(0, 50, 60, 10)]
    result = metric().update(dets, gts, ignored, ["abcde", "?"])
    assert (result["precision"], result["recall"]) == (1, 1)
    assert (result["num_gt_dc"], result["num_det_dc"], result["num_char_gt"]) == (1, 1, 5)


def test_a_text_inside_a_dont_care_region_is_a_text():
    gts, ignored = [box(20, 20, 50, 10), box(0, 0, 200, 100)], [False, True]
    result = metric().update([box(20, 20, 50, 10)], gts, ignored, ["abcde", ""])
    assert (result["num_det_dc"], result["num_char_tp"], result["hmean"]) == (0, 5, 1)


@pytest.mark.parametrize(
    ("places", "false"), [((1, 2, 8), 0), ((8, 1, 2), 1), ((0, 1, 2), 1), ((2, 8, 1), 0)]
)
def test_dont_care_shares_are_added_in_the_order_of_the_package(places, false):
    # 518 + 103 + 213 = 0.3 * 2780: in float32, the order decides whether that is enough.
    gts = [box(0, 1000 + 30 * i, 40, 10) for i in range(9)]
    for place, x, width in zip(places, (0, 518, 621), (518, 103, 213), strict=True):
        gts[place] = box(x, 0, width, 10)
    ignored = [i in places for i in range(9)]
    result = metric().update([box(0, 0, 2780, 10)], gts, ignored)
    assert result["num_char_fp"] == false  # what the package counts


def test_images_with_nothing_to_find_are_scored():
    score = metric()
    empty = score.update([], [], [])
    assert (empty["precision"], empty["recall"], empty["hmean"]) == (1, 1, 1)
    on_dc = score.update([box(0, 0, 50, 10)], [box(0, 0, 50, 10)], [True])
    assert on_dc["hmean"] == 1
    assert score.compute()["hmean"] == metric().compute()["hmean"] == 1
    missed = score.update([], [box(0, 0, 50, 10)], [False])
    assert (missed["precision"], missed["recall"], missed["hmean"]) == (0, 0, 0)


# Properties


@pytest.mark.parametrize("seed", range(3000, 3024))
def test_order_does_not_matter(seed):
    dets, gts, ignored, texts = scene(seed)
    expected = metric().update(dets, gts, ignored, texts)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(gts))
    shuffled = [dets[i] for i in rng.permutation(len(dets))]
    gts, texts = [gts[i] for i in order], [texts[i] for i in order]
    assert metric().update(shuffled, gts, ignored[order], texts) == expected


def test_integer_and_list_polygons_are_welcome():
    expected = metric().update([box(0, 0, 50, 10)], [box(0, 0, 60, 10)], [False], ["abc"])
    dets, gts = [box(0, 0, 50, 10).astype(int).tolist()], [box(0, 0, 60, 10).astype(int)]
    assert metric().update(dets, gts, [False], ["abc"]) == expected


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (([box(0, 0, 9, 9)[:2]], [], []), r"detected polygon 0 has shape \(2, 2\)"),
        (([], [box(0, 0, 9, 9).ravel()], [False]), r"ground truth polygon 0 has shape \(8,\)"),
        (([box(0, 0, 9, 9), box(0, 0, np.nan, 9)], [], []), "detected polygon 1 .* not finite"),
        (([], [box(0, 0, 9, 9)], []), "ground truth polygons: 1, ignored flags: 0, texts: 1"),
        (([], [box(0, 0, 9, 9)], [False], ["a", "b"]), "ignored flags: 1, texts: 2"),
    ],
)
def test_bad_input_is_named(inputs, message):
    with pytest.raises(ValueError, match=message):
        metric().update(*inputs)


def test_detections_beyond_the_limit_are_counted_but_not_looked_at():
    dets, gts, ignored, texts = scene(0)
    assert len(dets) > 4
    few = metric(max_polygons=3).update(dets, gts, ignored, texts)
    expected = metric().update(dets[:3], gts, ignored, texts)
    assert few == expected | {"num_det_capped": len(dets) - 3}
    assert expected["num_det_capped"] == 0


# Books


def test_totals_are_sums_and_rates_come_from_totals():
    score = metric()
    results = [score.update(*scene(seed)) for seed in range(24)]
    total = score.compute()
    for name in Counts._fields:
        assert total[name] == sum(result[name] for result in results)
    for name in ("precision", "recall", "hmean"):
        mean = np.mean([result[name] for result in results])
        assert total[f"{name}_per_image"] == pytest.approx(mean, abs=1e-12)
    tp = total["num_char_tp"]
    assert total["precision"] == (tp - total["gran_score_precision"]) / total["num_char_det"]
    assert total["recall"] == (tp - total["gran_score_recall"]) / total["num_char_gt"]
    assert 0 < total["hmean"] < 1


@pytest.mark.parametrize("scale_wise", [False, True])
def test_states_of_processes_add_up(scale_wise):
    whole, *parts = (metric(scale_wise=scale_wise) for _ in range(4))
    for seed in range(18):
        for score in (whole, parts[seed % 3]):
            score.update(*scene(seed), image_size=(200, 400))
    total = metric(scale_wise=scale_wise)
    total.load_state(np.sum([part.state() for part in parts], axis=0))
    assert total.compute() == pytest.approx(whole.compute(), abs=1e-12)
    assert total.state().dtype == np.float64
    counts = len(Counts._fields)
    assert np.array_equal(total.state()[:, :counts], whole.state()[:, :counts])
    total.update(*scene(50), image_size=(200, 400))
    whole.update(*scene(50), image_size=(200, 400))
    assert total.compute() == pytest.approx(whole.compute(), abs=1e-12)
    whole.reset()
    assert whole.compute() == metric(scale_wise=scale_wise).compute()


def test_a_state_is_a_copy_and_must_fit():
    score = metric()
    before = score.state()
    score.update(*scene(0))
    assert not before.any()
    with pytest.raises(ValueError, match="scale bins"):
        metric(scale_wise=True).load_state(score.state())


def test_a_size_bin_ignores_texts_of_other_sizes():
    dets, gts, ignored, _ = scene(16)
    score = metric(scale_wise=True)
    score.update(dets, gts, ignored, image_size=(300, 500))
    heights = np.array([min(np.ptp(np.around(p), axis=0)) / 500 for p in gts])
    assert (score.update([], [], [], image_size=(1, 1))["hmean"]) == 1  # no texts, no trouble
    for low, high in itertools.pairwise(BINS):
        inside = (heights >= low) & (heights <= high)
        alone = metric()
        alone.update(dets, gts, ignored | ~inside)
        assert score.compute()[f"recall_scale_{low:g}_{high:g}"] == alone.compute()["recall"]
    assert sum((heights >= low) & (heights <= high)) < len(gts)
    with pytest.raises(ValueError, match="image_size"):
        score.update(dets, gts, ignored)


# The geometry below


def test_overlap_areas_equal_the_slab_sums():
    rng = np.random.default_rng(0)
    quads = [rng.integers(0, 7, (4, 2)) for _ in range(60)]  # few places: shared edges, folds
    quads += [box(*rng.integers(0, 9, 4)) for _ in range(60)]
    quads += [polygon[[0, 1, 2, 2]] for polygon in quads[60:70]] + quads[60:70]
    a, b = quads[0::2], quads[1::2]
    packed_a, packed_b = pack(a, truncated=True), pack(b, truncated=True)
    i, j = (index.ravel() for index in np.indices((len(a), len(b))))
    chosen = rng.permutation(len(i))[:900]
    areas = overlap.overlap_areas(packed_a, i[chosen], packed_b, j[chosen])
    expected = [
        reference.measure([a[i], b[j]], all) for i, j in zip(i[chosen], j[chosen], strict=True)
    ]
    assert np.abs(areas - expected).max() < 1e-9
    assert packed_a.convex.sum() > 30
    assert (areas > 0).sum() > 200


@pytest.mark.parametrize("whole", [True, False], ids=["whole pixels", "fractions"])
def test_overlaps_of_wiggly_outlines_equal_shapely(whole):
    """Stars with dents, slanted quads and upright boxes, wound both ways; some cross themselves."""
    rng = np.random.default_rng(2)
    polygons = []
    for _ in range(80):
        count = int(rng.integers(3, 24))
        angles = np.sort(rng.uniform(0, 2 * np.pi, count))[:: int(rng.choice([-1, 1]))]
        reach = rng.uniform(8, 60, (count, 1)) * (1, 0.4)
        polygons.append(
            np.stack([np.cos(angles), np.sin(angles)], 1) * reach + rng.uniform(0, 90, 2)
        )
    polygons += [box(*rng.integers(1, 60, 4)) for _ in range(20)]
    polygons += [rng.uniform(0, 90, (6, 2)) for _ in range(20)]
    for _ in range(40):  # bands, some so thin that their long sides cross or touch
        there = np.stack([np.sort(rng.integers(0, 90, 7)), rng.integers(40, 50, 7)], axis=1)
        back = np.stack([np.sort(rng.integers(0, 90, 6)), rng.integers(46, 60, 6)], axis=1)
        polygons.append(np.concatenate([there, back[::-1]])[:: int(rng.choice([-1, 1]))])
    polygons = [np.float32(polygon) for polygon in polygons]
    packed = pack(polygons, truncated=whole)
    i, j = (index.ravel() for index in np.indices((len(polygons), len(polygons))))
    areas = overlap.overlap_areas(packed, i, packed, j)
    shapes = packed.regions
    expected = shapely.area(shapely.intersection(shapes[i], shapes[j]))
    assert np.abs(areas - expected).max() < 1e-8
    assert packed.simple[:100].sum() > 60 and not packed.simple[100:120].all()
    assert 5 < packed.simple[120:].sum() < 35
    assert np.abs(packed.region_areas - shapely.area(shapes)).max() < 1e-9


def test_outlines_of_several_images_are_measured_in_one_go():
    rng = np.random.default_rng(3)
    counts = rng.integers(3, 12, 60)
    outlines = [rng.uniform(0, 60, (count, 2)).astype(np.float32) for count in counts]
    outlines += [cv2.ellipse2Poly((30, 30), (20, 9), 15 * i, 0, 350, 30) for i in range(20)]
    outlines = [outlines[i] for i in rng.permutation(len(outlines))]
    packed = pack(outlines, truncated=False)
    for first, last in ((0, 30), (30, 30), (30, 33), (33, len(outlines))):
        alone = pack(outlines[first:last], truncated=False)
        start, end = packed.offsets[[first, last]]
        for name in ("signed_areas", "convex", "simple", "region_areas", "low", "high"):
            assert np.array_equal(getattr(packed, name)[..., first:last], getattr(alone, name))
        for name in ("corners", "ends"):
            assert np.array_equal(getattr(packed, name)[:, start:end], getattr(alone, name))
        assert np.array_equal(packed.next[start:end] - start, alone.next)
        edges = slice(*packed.lines.offsets[[first, last]])
        for values, expected in zip(packed.lines[1:], alone.lines[1:], strict=True):
            assert np.array_equal(values[edges], expected)
    assert 5 < pack(outlines, truncated=False).simple.sum() < 60


def test_pairs_are_those_of_one_image():
    rng = np.random.default_rng(4)
    counts, point_counts = [7, 0, 9, 3], [40, 5, 0, 60]
    polygons = [
        [box(*rng.integers(0, 9, 2), *rng.integers(1, 9, 2)) for _ in range(count)]
        for count in counts
    ]
    points = [rng.integers(0, 17, (2, count)) / 2 for count in point_counts]
    points = [each[:, np.argsort(each[1], kind="stable")] for each in points]
    first, start = (np.append(0, np.cumsum(each)).tolist() for each in (counts, point_counts))
    packed = pack([polygon for image in polygons for polygon in image], truncated=True)
    inside = overlap.points_inside(packed, np.concatenate(points, axis=1), first, start)
    meet = overlap.boxes_meet(packed, first, packed, first)
    expected_inside, expected_meet = [], []
    for image, at, point, point_at in zip(polygons, first, points, start, strict=False):
        alone = pack(image, truncated=True)
        expected_inside.append(np.add(overlap.points_inside(alone, point), [[at], [point_at]]))
        own = [0, len(image)]
        expected_meet.append(np.add(overlap.boxes_meet(alone, own, alone, own), at))
    assert np.array_equal(inside, np.concatenate(expected_inside, axis=1))
    assert np.array_equal(meet, np.concatenate(expected_meet, axis=1))
    assert len(inside[0]) > 20 and 20 < len(meet[0]) < 7 * 7 + 9 * 9 + 3 * 3


def test_points_inside_equals_the_ray():
    rng = np.random.default_rng(1)
    polygons = [rng.integers(0, 9, (int(rng.integers(3, 9)), 2)) for _ in range(60)]
    points = rng.integers(0, 17, (2, 80)) / 2  # on corners and edges too
    points = points[:, np.argsort(points[1])]
    packed = pack(polygons, truncated=True)
    indices = overlap.points_inside(packed, points)
    found = set(zip(*map(np.ndarray.tolist, indices), strict=True))
    expected = {
        (i, j)
        for i, polygon in enumerate(polygons)
        for j, point in enumerate(points.T)
        if reference.is_inside(polygon, point)
    }
    assert found == expected
    assert len(found) > 500
