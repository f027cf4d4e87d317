"""Intersection over union with one-to-one matches: the ICDAR 2015 protocol for text localisation.

Karatzas et al., "ICDAR 2015 Competition on Robust Reading". The competition's evaluation script
truncates corners to whole pixels; here corners are not rounded.
"""

from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from dbnet.metrics.base import RATES, Flags, Metric, counted, named
from dbnet.metrics.base import Polygons as Outlines
from dbnet.metrics.content_cache import ContentCache
from dbnet.metrics.overlap import boxes_meet, overlap_areas
from dbnet.metrics.polygons import Polygons, checked, measure
from dbnet.settings import IoUConfig

_DC_SHARE = 0.5  # a detection with more of its own area on a don't-care region is left out


class IoUCounts(NamedTuple):
    """Counts, summed over images."""

    num_images: float
    num_gt: float  # texts to find
    num_gt_dc: float  # don't-care regions
    num_det: float  # detections that count
    num_det_dc: float  # detections left out because they lie on a don't-care region
    num_matched: float


class _GroundTruth(NamedTuple):
    """G annotated polygons of N images."""

    polygons: Polygons
    offsets: list[int]  # N + 1, the index at which the polygons of each image start


class IoUMetric(Metric):
    """Precision, recall and hmean of detections whose IoU with a text is above `iou_thresh`.

    1. Detections with more than half of their area on one don't-care region are left out. So are
       the don't-care regions.
    2. For each text, in the given order: the first detection, in the given order, that is not
       matched yet and whose IoU is above the threshold (not equal to it) is matched.

    A polygon that crosses itself stands for the points that it winds around an odd number of times
    (shapely.make_valid).

    Values that depend on the ground truth alone are cached by its content, also across `reset`.
    """

    def __init__(self, cfg: IoUConfig) -> None:
        self.cfg = cfg
        self._ground_truths = ContentCache[_GroundTruth]()
        self.reset()

    def reset(self) -> None:
        """Forget all images; cached values of ground truths are not removed."""
        # The counts, then the sums of the rates of single images.
        self._totals = np.zeros(len(IoUCounts._fields) + len(RATES))

    def update_batch(
        self, det_polygons: Outlines, gt_polygons: Outlines, ignored: Flags, *_: Any
    ) -> list[dict[str, float]]:
        """Add N images; returns the precision, recall, hmean (0..1) and `IoUCounts` of each.

        Without a text to find, recall is 1. Precision is then 1 if nothing was detected, else 0.
        """
        detections, offsets = checked(det_polygons, "detected")
        truth = self._ground_truth(gt_polygons, ignored)
        flags = np.array(list(chain.from_iterable(ignored)), bool)
        results = []
        for row in self._evaluate(measure(detections, truncated=False), offsets, truth, flags):
            counts = IoUCounts(*row)
            rates = _rates(counts)
            self._totals += [*counts, *rates]
            results.append(named(rates) | counted(counts))
        return results

    def compute(self) -> dict[str, float]:
        """Official rates over all images, their means per image (`*_per_image`), `IoUCounts`."""
        counts = IoUCounts(*self._totals[: -len(RATES)])
        means = self._totals[-len(RATES) :] / counts.num_images if counts.num_images else [1.0] * 3
        return named(_rates(counts)) | named(means, "_per_image") | counted(counts)

    def _ground_truth(self, polygons: Outlines, ignored: Flags) -> _GroundTruth:
        """The measured annotations; from the cache after an earlier call with the same content."""
        ragged, offsets = checked(polygons, "ground truth")
        for image, flags in zip(polygons, ignored, strict=True):
            if len(flags) != len(image):
                raise ValueError(
                    f"ground truth polygons: {len(image)}, ignored flags: {len(flags)}"
                )
        return self._ground_truths.get(
            [np.array([len(offsets), *offsets]), ragged.offsets, ragged.points],
            lambda: _GroundTruth(measure(ragged, truncated=False), offsets),
            len(polygons),
        )

    def _evaluate(
        self, dets: Polygons, det_offsets: list[int], truth: _GroundTruth, ignored: np.ndarray
    ) -> list[list[int]]:
        """`IoUCounts` of N images. D detections, det_offsets: N + 1; `ignored` is (G,)."""
        gts = truth.polygons
        gt_areas, det_areas = gts.region_areas, dets.region_areas
        gt, det = boxes_meet(gts, truth.offsets, dets, det_offsets)

        valid = np.ones(len(det_areas), bool)
        on_dc = ignored[gt]
        if on_dc.any():
            least = _DC_SHARE * det_areas[det[on_dc]]
            _, found, shared = _overlaps(gts, gt[on_dc], dets, det[on_dc], least)
            valid[found[shared / det_areas[found] > _DC_SHARE]] = False

        counts = ~on_dc & valid[det]
        gt, det = gt[counts], det[counts]
        least = (gt_areas[gt] + det_areas[det]) * self.cfg.iou_thresh / (1 + self.cfg.iou_thresh)
        gt, det, shared = _overlaps(gts, gt, dets, det, least)
        iou = shared / (gt_areas[gt] + det_areas[det] - shared)
        good = iou > self.cfg.iou_thresh
        matched = np.zeros(len(gt_areas), bool)
        matched[_greedy(gt[good], det[good])] = True

        by_text = partial(_sums, offsets=truth.offsets)
        columns = dict(
            num_images=np.ones(len(det_offsets) - 1, int),
            num_gt=by_text(~ignored),
            num_gt_dc=by_text(ignored),
            num_det=_sums(valid, det_offsets),
            num_det_dc=_sums(~valid, det_offsets),
            num_matched=by_text(matched),
        )
        return np.stack([columns[name] for name in IoUCounts._fields], axis=1).tolist()


def _sums(flags: np.ndarray, offsets: list[int]) -> np.ndarray:
    """How many flags are set in each of N images, (N,)."""
    return np.diff(np.append(0, np.cumsum(flags))[offsets])


def _overlaps(
    a: Polygons, a_index: np.ndarray, b: Polygons, b_index: np.ndarray, least: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Those of K pairs whose bounding boxes share at least `least` (K,), and their shared areas."""
    low = np.maximum(a.low[:, a_index], b.low[:, b_index])
    width, height = np.minimum(a.high[:, a_index], b.high[:, b_index]) - low
    box = width * height  # 0 or more, because these boxes overlap
    near = (box > 0) & (box >= least * (1 - 1e-9))  # tolerance for rounding
    i, j = a_index[near], b_index[near]
    return i, j, overlap_areas(a, i, b, j)


def _greedy(gt_index: np.ndarray, det_index: np.ndarray) -> list[int]:
    """The matched texts. Each pair, in the given order, is matched if both are not matched yet."""
    gt_used: set[int] = set()
    det_used: set[int] = set()
    for gt, det in zip(gt_index.tolist(), det_index.tolist(), strict=True):
        if gt not in gt_used and det not in det_used:
            gt_used.add(gt)
            det_used.add(det)
    return list(gt_used)


def _rates(counts: IoUCounts) -> tuple[float, float, float]:
    recall = counts.num_matched / counts.num_gt if counts.num_gt else 1.0
    nothing = 0.0 if counts.num_gt else 1.0
    precision = counts.num_matched / counts.num_det if counts.num_det else nothing
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0
