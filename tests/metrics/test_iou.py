"""The ICDAR 2015 metric equals the reference; states, batches and caches agree."""

import numpy as np
import pytest

from dbnet.metrics.iou import IoUCounts, IoUMetric
from dbnet.reference import iou as reference
from dbnet.settings import IoUConfig
from tests.published.cleval_scenes import box, picked, scene


def metric(iou_thresh=0.5) -> IoUMetric:
    return IoUMetric(IoUConfig(iou_thresh=iou_thresh))


@pytest.mark.parametrize("iou_thresh", [0.2, 0.5, 0.8])
def test_counts_equal_the_double_loop(iou_thresh):
    score = metric(iou_thresh)
    for seed in range(120):
        dets, gts, ignored, texts = scene(seed)
        expected = reference.evaluate(dets, gts, ignored, iou_thresh=iou_thresh)
        assert picked(score.update(dets, gts, ignored, texts), expected) == expected, seed
    total = score.compute()
    assert total["num_matched"] > 200
    assert total["num_det_dc"] > 50


def test_the_threshold_itself_is_no_match():
    gt = box(0, 0, 40, 10)
    assert metric().update([box(0, 0, 20, 10)], [gt], [False])["num_matched"] == 0  # exactly 0.5
    assert metric().update([box(0, 0, 21, 10)], [gt], [False])["num_matched"] == 1
    assert metric(0.49).update([box(0, 0, 20, 10)], [gt], [False])["num_matched"] == 1


def test_rates_are_those_made_by_hand():
    gts = [box(0, 20 * i, 40, 10) for i in range(4)]
    dets = [gts[0], gts[1], box(300, 300, 9, 9)]
    result = metric().update(dets, gts, [False] * 4)
    assert result["precision"] == pytest.approx(2 / 3)
    assert result["recall"] == 0.5
    assert result["hmean"] == pytest.approx(2 * 2 / 7)


def test_one_text_takes_one_detection_and_one_detection_one_text():
    gt = box(0, 0, 40, 10)
    assert metric().update([gt, gt], [gt], [False])["num_matched"] == 1
    assert metric().update([gt], [gt, gt], [False] * 2)["num_matched"] == 1


def test_matching_is_greedy_in_the_given_order():
    # The first text could have either detection, the second only the first one.
    gts = [box(0, 0, 40, 10), box(0, 0, 28, 10)]
    dets = [box(0, 0, 36, 10), box(0, 0, 56, 10)]
    assert metric().update(dets, gts, [False] * 2)["num_matched"] == 1
    assert metric().update(dets[::-1], gts, [False] * 2)["num_matched"] == 2
    assert metric().update(dets, gts[::-1], [False] * 2)["num_matched"] == 2


def test_detections_more_than_half_on_one_dont_care_are_left_out():
    ignored = [True, True]
    gts = [box(0, 0, 20, 10), box(20, 0, 20, 10)]
    half, more = box(10, 0, 20, 10), box(9, 0, 20, 10)
    result = metric().update([half, more], gts, ignored)
    assert (result["num_det"], result["num_det_dc"], result["num_gt_dc"]) == (1, 1, 2)
    assert (result["precision"], result["recall"]) == (0, 1)


def test_a_dont_care_region_is_never_matched():
    gt = box(0, 0, 40, 10)
    tall = box(0, 0, 40, 22)  # less than half of it on the region
    assert metric(0.4).update([tall], [gt], [True])["num_matched"] == 0
    assert metric(0.4).update([tall], [gt], [False])["num_matched"] == 1


def test_images_without_texts_or_detections_are_scored():
    gt = box(0, 0, 40, 10)

    def rates(dets, gts, ignored):
        return tuple(metric().update(dets, gts, ignored)[n] for n in ("precision", "recall"))

    assert rates([], [], []) == (1, 1)
    assert rates([gt], [], []) == (0, 1)
    assert rates([], [gt], [False]) == (0, 0)
    assert rates([gt], [gt], [True]) == (1, 1)
    assert metric().compute()["hmean"] == metric().compute()["hmean_per_image"] == 1


def test_a_self_crossing_detection_counts_with_its_lobes():
    bow_tie = box(0, 0, 40, 20)[[0, 2, 1, 3]]  # half of the box, two triangles
    assert metric(0.49).update([bow_tie], [box(0, 0, 40, 20)], [False])["num_matched"] == 1
    assert metric(0.51).update([bow_tie], [box(0, 0, 40, 20)], [False])["num_matched"] == 0


def test_a_detection_without_area_matches_nothing():
    flat = [np.zeros((3, 2)), box(0, 0, 40, 0), box(5, 5, 0, 0)]
    result = metric().update(flat, [box(0, 0, 40, 10), box(0, 0, 40, 10)], [False, True])
    assert (result["num_matched"], result["num_det"]) == (0, 3)


def test_polygons_of_any_corner_count_are_scored():
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    disc = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 20 + 50  # 0.78 of its box
    assert metric(0.78).update([disc], [box(30, 30, 40, 40)], [False])["num_matched"] == 1
    assert metric(0.79).update([disc], [box(30, 30, 40, 40)], [False])["num_matched"] == 0


def test_totals_are_sums_and_states_add_up():
    whole, *parts = (metric() for _ in range(3))
    results = []
    for seed in range(16):
        results.append(whole.update(*scene(seed), image_size=(9, 9)))
        parts[seed % 2].update(*scene(seed))
    total = whole.compute()
    for name in IoUCounts._fields:
        assert total[name] == sum(result[name] for result in results)
    assert total["precision"] == total["num_matched"] / total["num_det"]
    assert total["recall"] == total["num_matched"] / total["num_gt"]
    for name in ("precision", "recall", "hmean"):
        assert total[f"{name}_per_image"] == pytest.approx(np.mean([r[name] for r in results]))
    added = metric()
    added.load_state(parts[0].state() + parts[1].state())
    assert added.compute() == pytest.approx(total, abs=1e-12)
    whole.reset()
    assert whole.compute() == metric().compute()
    with pytest.raises(ValueError, match="shape"):
        whole.load_state(np.zeros(2))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"detected polygon 1 has shape \(2, 2\)"):
        metric().update([box(0, 0, 9, 9), box(0, 0, 9, 9)[:2]], [], [])
    with pytest.raises(ValueError, match="ground truth polygons: 1, ignored flags: 2"):
        metric().update([], [box(0, 0, 9, 9)], [True, False])
