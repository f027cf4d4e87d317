"""Intersection over union, matched one to one: the ICDAR 2015 protocol for text localisation.

Karatzas et al., "ICDAR 2015 Competition on Robust Reading", and the competition's evaluation
script, which truncates corners to whole pixels; here they keep their fractions.
"""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np

from dbnet.metrics.batches import BatchMetric
from dbnet.metrics.content_cache import ContentCache
from dbnet.metrics.overlap import boxes_meet, overlap_areas
from dbnet.metrics.polygons import Polygons, checked, measure, pack
from dbnet.metrics.rates import RATES, counted, named
from dbnet.settings import IoUConfig

_DC_SHARE = 0.5  # a detection with more of its own area on a don't-care region is left out


class IoUCounts(NamedTuple):
    """What is counted, summed over images."""

    num_images: float
    num_gt: float  # texts to find
    num_gt_dc: float  # don't-care regions
    num_det: float  # detections that count
    num_det_dc: float  # detections left out because they lie on a don't-care region
    num_matched: float


class _GroundTruth(NamedTuple):
    """G annotated polygons of N images."""

    polygons: Polygons
    offsets: list[int]  # N + 1, where the polygons of each image start


class IoUMetric(BatchMetric):
    """Precision, recall and hmean of detections whose IoU with a text is above `iou_thresh`.

    A detection with more than half of its area on one don't-care region is left out, and so are
    the regions. Then, text by text in the given order, the first detection in the given order
    that is still free and whose IoU is above the threshold (not equal to it) is matched.

    Polygons are taken as they are; one that crosses itself stands for the points that it winds
    around an odd number of times (shapely.make_valid).

    What depends on the ground truth alone is cached by its content and survives `reset`.
    """

    def __init__(self, cfg: IoUConfig) -> None:
        self.cfg = cfg
        self._ground_truths = ContentCache[_GroundTruth]()
        self.reset()

    def reset(self) -> None:
        """Forget all images, but not what is known about ground truths."""
        # The counts, then the sums of the images' own rates.
        self._totals = np.zeros(len(IoUCounts._fields) + len(RATES))

    def update_batch(
        self,
        det_polygons: Sequence[Sequence[np.ndarray]],
        gt_polygons: Sequence[Sequence[np.ndarray]],
        ignored: Sequence[Sequence[bool] | np.ndarray],
        texts: Sequence[Sequence[str] | None],
        image_sizes: Sequence[tuple[int, int] | None],
    ) -> list[dict[str, float]]:
        """Add N images; returns the precision, recall, hmean (0..1) and `IoUCounts` of each.

        Each argument has one entry per image. det_polygons: D (P, 2) arrays in pixels, best first.
        gt_polygons: G (P, 2) arrays in the same frame. ignored: bool (G,), don't-care regions.
        `texts` and `image_sizes` play no part.

        With no text to find, recall is 1, and so is precision if nothing was detected.
        Raises ValueError for shapes, lengths or numbers that cannot be; no image is added then.
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
        """Rates over all images (official), `*_per_image` means of the images' own, `IoUCounts`."""
        counts = IoUCounts(*self._totals[: -len(RATES)])
        means = self._totals[-len(RATES) :] / counts.num_images if counts.num_images else [1.0] * 3
        return named(_rates(counts)) | named(means, "_per_image") | counted(counts)

    def state(self) -> np.ndarray:
        """The running sums, a float64 vector; the sum of several processes' is their total."""
        return self._totals.copy()

    def load_state(self, state: np.ndarray) -> None:
        """Continue from a `state`, or from a sum of some."""
        state = np.array(state, np.float64)
        if state.shape != self._totals.shape:
            raise ValueError(f"IoU state has shape {state.shape}, not {self._totals.shape}")
        self._totals = state

    def _ground_truth(
        self,
        polygons: Sequence[Sequence[np.ndarray]],
        ignored: Sequence[Sequence[bool] | np.ndarray],
    ) -> _GroundTruth:
        """The measured annotations, from an earlier call with the same content if there was one."""
        ragged, offsets = checked(polygons, "ground truth")
        for image, flags in zip(polygons, ignored, strict=True):
            if len(flags) != len(image):
                raise ValueError(f"{len(image)} ground truth polygons, {len(flags)} ignored flags")
        return self._ground_truths.get(
            [np.array([len(offsets), *offsets]), ragged.offsets, ragged.points],
            lambda: _GroundTruth(pack(ragged.split(), truncated=False), offsets),
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
    """Of (K,) pairs, those whose boxes share at least `least` (K,), and how much they share."""
    low = np.maximum(a.low[:, a_index], b.low[:, b_index])
    width, height = np.minimum(a.high[:, a_index], b.high[:, b_index]) - low
    box = width * height  # not below 0: these boxes meet
    near = (box > 0) & (box >= least * (1 - 1e-9))  # nothing lost to rounding
    i, j = a_index[near], b_index[near]
    return i, j, overlap_areas(a, i, b, j)


def _greedy(gt_index: np.ndarray, det_index: np.ndarray) -> list[int]:
    """Texts matched when every pair, in the order given, is taken if both sides are free."""
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
