"""Intersection over union, matched one to one: the ICDAR 2015 protocol for text localisation.

Karatzas et al., "ICDAR 2015 Competition on Robust Reading", and the competition's evaluation
script, which truncates corners to whole pixels; here they keep their fractions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dbnet.metrics.batches import BatchMetric
from dbnet.metrics.content_cache import ContentCache
from dbnet.metrics.overlap import overlap_areas
from dbnet.metrics.polygons import Polygons, checked, pack, pack_each
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
        self._ground_truths = ContentCache[Polygons]()
        self.reset()

    def reset(self) -> None:
        """Forget all images, but not what is known about ground truths."""
        # The counts, then the sums of the images' own rates.
        self._totals = np.zeros(len(IoUCounts._fields) + len(RATES))

    def update_batch(
        self,
        det_polygons: Sequence[Sequence[np.ndarray]],
        gt_polygons: Sequence[Sequence[np.ndarray]],
        ignored: Sequence[Sequence[bool]],
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
        found = pack_each([checked(p, "detected") for p in det_polygons], truncated=False)
        truths = list(map(self._ground_truth, gt_polygons, ignored))
        results = []
        for dets, gts, flags in zip(found, truths, ignored, strict=True):
            counts = self._evaluate(dets, gts, np.asarray(flags, bool))
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

    def _ground_truth(self, polygons: Sequence[np.ndarray], ignored: Sequence[bool]) -> Polygons:
        """The measured annotation, from an earlier call with the same content if there was one."""
        polygons = checked(polygons, "ground truth")
        if len(ignored) != len(polygons):
            raise ValueError(f"{len(polygons)} ground truth polygons, {len(ignored)} ignored flags")
        header = np.array([len(polygons), *map(len, polygons)])
        return self._ground_truths.get([header, *polygons], lambda: pack(polygons, truncated=False))

    def _evaluate(self, dets: Polygons, gts: Polygons, ignored: np.ndarray) -> IoUCounts:
        gt_areas, det_areas = gts.region_areas, dets.region_areas
        dc, wanted = np.flatnonzero(ignored), np.flatnonzero(~ignored)
        valid = np.arange(len(det_areas))
        if len(dc):
            least = _DC_SHARE * np.broadcast_to(det_areas, (len(dc), len(valid)))
            _, on_dc, shared = _overlaps(gts, dc, dets, valid, least)
            valid = np.setdiff1d(valid, on_dc[shared / det_areas[on_dc] > _DC_SHARE])

        total = gt_areas[wanted, None] + det_areas[valid]
        least = total * self.cfg.iou_thresh / (1 + self.cfg.iou_thresh)
        gt_index, det_index, shared = _overlaps(gts, wanted, dets, valid, least)
        iou = shared / (gt_areas[gt_index] + det_areas[det_index] - shared)
        good = iou > self.cfg.iou_thresh
        return IoUCounts(
            num_images=1,
            num_gt=len(wanted),
            num_gt_dc=len(dc),
            num_det=len(valid),
            num_det_dc=len(det_areas) - len(valid),
            num_matched=_greedy(gt_index[good], det_index[good]),
        )


def _overlaps(
    a: Polygons, a_index: np.ndarray, b: Polygons, b_index: np.ndarray, least: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (i, j) of those named that share more than `least` by their boxes, and how much.

    least: (len(a_index), len(b_index)). Pairs come in the order of `a_index`, then `b_index`.
    """
    (left, top), (right, bottom) = a.low[:, a_index, None], a.high[:, a_index, None]
    b_low, b_high = b.low[:, b_index], b.high[:, b_index]
    width = np.minimum(right, b_high[0]) - np.maximum(left, b_low[0])
    height = np.minimum(bottom, b_high[1]) - np.maximum(top, b_low[1])
    box = width.clip(0) * height.clip(0)
    row, column = np.nonzero((box > 0) & (box >= least * (1 - 1e-9)))  # nothing lost to rounding
    i, j = a_index[row], b_index[column]
    return i, j, overlap_areas(a, i, b, j)


def _greedy(gt_index: np.ndarray, det_index: np.ndarray) -> int:
    """Matches made when every pair, in the order given, is taken if both sides are free."""
    gt_used: set[int] = set()
    det_used: set[int] = set()
    for gt, det in zip(gt_index.tolist(), det_index.tolist(), strict=True):
        if gt not in gt_used and det not in det_used:
            gt_used.add(gt)
            det_used.add(det)
    return len(gt_used)


def _rates(counts: IoUCounts) -> tuple[float, float, float]:
    recall = counts.num_matched / counts.num_gt if counts.num_gt else 1.0
    nothing = 0.0 if counts.num_gt else 1.0
    precision = counts.num_matched / counts.num_det if counts.num_det else nothing
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0
