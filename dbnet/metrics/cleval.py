"""CLEval: character-level evaluation of text detection, exact and vectorised.

Baek et al., "CLEval: Character-Level Evaluation for Text Detection and Recognition Tasks", 2020.
Every count equals that of the authors' package (cleval 0.1.1: quads, detection only), rounding
included: areas and insides are those of corners truncated to whole pixels, centres are float32.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import shapely

from dbnet.metrics.batches import BatchMetric
from dbnet.metrics.characters import GroundTruth, SizeView, false_characters, ground_truth
from dbnet.metrics.content_cache import ContentCache
from dbnet.metrics.overlap import boxes_meet, overlap_areas, points_inside
from dbnet.metrics.polygons import Polygons, checked, pack_each
from dbnet.metrics.rates import RATES, counted, named
from dbnet.settings import CLEvalConfig


class Counts(NamedTuple):
    """What is counted, summed over images. The names are the package's where it has one."""

    num_images: float
    num_gt: float  # texts, don't-care regions among them
    num_gt_dc: float  # don't-care regions
    num_det: float  # detections looked at
    num_det_dc: float  # detections left out because they lie on don't-care regions
    num_det_capped: float  # detections beyond max_polygons, not looked at
    num_splitted: float  # texts found in several pieces
    num_merged: float  # detections that find several texts
    num_char_overlapped: float  # characters found again by another detection
    num_char_gt: float  # characters to find
    num_char_det: float  # characters claimed: found, found again, false
    num_char_tp: float  # characters found
    num_char_fp: float  # characters claimed by detections that match nothing
    gran_score_recall: float  # pieces of split texts beyond the first, unweighted
    gran_score_precision: float  # texts in merged detections beyond the first, unweighted


class CLEval(BatchMetric):
    """CLEval precision, recall and hmean of text detection, accumulated over images.

    A text is a row of pseudo-characters. A detection finds those whose centres lie inside it,
    if it matches the text: one to one, as one of several pieces (split), or together with other
    texts (merge). Each piece or merged text beyond the first costs one character.

    ap_constraint: least share of a detection's area on a text that it may match, 0..1.
    recall_granularity_penalty, precision_granularity_penalty: weights of splits and of merges.
    vertical_aspect_ratio_thresh: texts with width / height below this run from top to bottom.
    max_polygons: detections looked at per image, the first ones; the rest are only counted.
    scale_wise: report by text size too. scale_bins: rising borders of text height over the
        longest image side; a size on a border belongs to both bins, as in the package.

    Polygons with other than four corners keep their outline for areas and insides; their axis
    and aspect ratio are those of `min_area_quad`. Nothing depends on the order of detections or
    texts, but for one rounding: where three or more don't-care regions share a detection, the
    package adds their float32 shares in the order of a Python set, and so does this.

    What depends on the ground truth alone is cached by its content and survives `reset`.
    """

    def __init__(self, cfg: CLEvalConfig) -> None:
        self.cfg = cfg
        self._bins = list(pairwise(cfg.scale_bins)) if cfg.scale_wise else []
        self._ground_truths = ContentCache[GroundTruth]()
        self.reset()

    def reset(self) -> None:
        """Forget all images, but not what is known about ground truths."""
        # One row for all sizes, one per bin: the counts, then the sums of the images' own rates.
        self._totals = np.zeros((1 + len(self._bins), len(Counts._fields) + len(RATES)))

    def update_batch(
        self,
        det_polygons: Sequence[Sequence[np.ndarray]],
        gt_polygons: Sequence[Sequence[np.ndarray]],
        ignored: Sequence[Sequence[bool]],
        texts: Sequence[Sequence[str] | None],
        image_sizes: Sequence[tuple[int, int] | None],
    ) -> list[dict[str, float]]:
        """Add N images; returns the precision, recall, hmean (0..1) and `Counts` of each.

        Each argument has one entry per image. det_polygons: D (P, 2) arrays in pixels, best first.
        gt_polygons: G (P, 2) arrays in the same frame. ignored: bool (G,), don't-care regions.
        texts: G transcriptions, of which only the lengths matter; without (None or ""), and for
        don't-care regions, the length is guessed from the aspect ratio. image_sizes: height, width;
        for `scale_wise` only.

        With no character to find and none claimed, all rates are 1 (0 in the package).
        Raises ValueError for shapes, lengths or numbers that cannot be; no image is added then.
        """
        detections = [checked(found[: self.cfg.max_polygons], "detected") for found in det_polygons]
        annotations = zip(gt_polygons, ignored, texts, image_sizes, strict=True)
        truths = [self._ground_truth(*annotation) for annotation in annotations]
        packed = pack_each(detections, truncated=True)
        results = []
        for found, considered, outlines, truth in zip(
            det_polygons, detections, packed, truths, strict=True
        ):
            counts = self._evaluate(considered, outlines, truth, len(found) - len(considered))
            rates = [self._rates(row) for row in counts]
            self._totals += np.hstack([counts, rates])
            results.append(named(rates[0]) | counted(counts[0]))
        return results

    def compute(self) -> dict[str, float]:
        """Rates over all images (official), `*_per_image` means of the images' own, `Counts`.

        With `scale_wise`, also `precision_scale_LOW_HIGH` and so on for every bin.
        """
        rows = [Counts(*row) for row in self._totals[:, : -len(RATES)].tolist()]
        images = rows[0].num_images
        means = self._totals[0, -len(RATES) :] / images if images else [1.0] * len(RATES)
        result = named(self._rates(rows[0])) | named(means, "_per_image") | counted(rows[0])
        for (low, high), row in zip(self._bins, rows[1:], strict=True):
            result |= named(self._rates(row), f"_scale_{low:g}_{high:g}")
        return result

    def state(self) -> np.ndarray:
        """The running sums, float64 (1 + bins, S); several processes' states may be added."""
        return self._totals.copy()

    def load_state(self, state: np.ndarray) -> None:
        """Continue from a `state`, or from a sum of some; ValueError if its bins are others."""
        state = np.array(state, np.float64)
        if state.shape != self._totals.shape:
            raise ValueError(
                f"CLEval state has shape {state.shape}, not {self._totals.shape}: "
                "make it with the same scale bins"
            )
        self._totals = state

    def _ground_truth(
        self,
        polygons: Sequence[np.ndarray],
        ignored: Sequence[bool],
        texts: Sequence[str] | None,
        image_size: tuple[int, int] | None,
    ) -> GroundTruth:
        """The prepared annotation, from an earlier call with the same content if there was one."""
        polygons = checked(polygons, "ground truth")
        flags = np.asarray(ignored, bool).reshape(-1)
        texts = [""] * len(polygons) if texts is None else texts
        if not len(polygons) == len(flags) == len(texts):
            raise ValueError(
                f"{len(polygons)} ground truth polygons, {len(flags)} ignored flags and "
                f"{len(texts)} texts: give one of each per text"
            )
        if self._bins and image_size is None:
            raise ValueError("scale-wise results need update(..., image_size=(height, width))")
        longest_side = max(image_size) if self._bins and image_size else 0
        corners = np.fromiter(map(len, polygons), np.int64, len(polygons))
        lengths = np.fromiter(map(len, texts), np.int64, len(polygons))
        header = np.array([len(polygons), longest_side])
        return self._ground_truths.get(
            [header, corners, lengths, flags, *polygons],
            lambda: ground_truth(
                polygons,
                flags,
                lengths,
                vertical_aspect_ratio_thresh=self.cfg.vertical_aspect_ratio_thresh,
                longest_side=longest_side,
                size_ranges=self._bins,
            ),
        )

    def _evaluate(
        self, detections: list[np.ndarray], packed: Polygons, truth: GroundTruth, capped: int
    ) -> list[Counts]:
        """Counts of one image: all sizes, then one per bin. G texts, D detections, C characters."""
        shape = (len(truth.lengths), len(detections))
        det_index, char_index = points_inside(packed, truth.centres)
        gt_index = truth.owners[char_index]
        found = np.zeros(shape, bool)  # a character of the text lies inside the detection
        found[gt_index, det_index] = True

        # Shared areas matter where characters are found, and on don't-care regions.
        needed = found
        dc = np.any([view.dc for view in truth.views], axis=0)
        if dc.any():
            needed = found | (dc[:, None] & boxes_meet(truth.polygons, packed))
        areas = np.zeros(shape)
        pairs = np.nonzero(needed)
        areas[pairs] = overlap_areas(truth.polygons, pairs[0], packed, pairs[1])

        results = []
        for view in truth.views:
            precision = self._area_precision(areas, needed, packed, view)
            match, det_dc = self._match(found, precision, view)
            per_gt, per_det = match.sum(axis=1), match.sum(axis=0)
            claimed = match[gt_index, det_index]
            num_claimed = int(np.count_nonzero(claimed))
            num_found = int(np.count_nonzero(np.bincount(char_index[claimed])))
            unmatched = np.flatnonzero((per_det == 0) & ~det_dc)
            num_false = false_characters([detections[i] for i in unmatched])
            results.append(
                Counts(
                    num_images=1,
                    num_gt=shape[0],
                    num_gt_dc=int(np.count_nonzero(view.dc)),
                    num_det=shape[1],
                    num_det_dc=int(np.count_nonzero(det_dc)),
                    num_det_capped=capped,
                    num_splitted=int(np.count_nonzero(per_gt > 1)),
                    num_merged=int(np.count_nonzero(per_det > 1)),
                    num_char_overlapped=num_claimed - num_found,
                    num_char_gt=truth.lengths[~view.dc].sum(),
                    num_char_det=num_claimed + num_false,
                    num_char_tp=num_found,
                    num_char_fp=num_false,
                    gran_score_recall=np.maximum(per_gt - 1, 0).sum(),
                    gran_score_precision=np.maximum(per_det - 1, 0).sum(),
                )
            )
        return results

    @staticmethod
    def _area_precision(
        areas: np.ndarray, needed: np.ndarray, detections: Polygons, view: SizeView
    ) -> np.ndarray:
        """Share of each detection's area that lies on each text, float32 (G, D)."""
        if len(view.cut):
            areas = areas.copy()
            row, det_index = np.nonzero(needed[view.cut])
            areas[view.cut[row], det_index] = shapely.area(
                shapely.intersection(view.cut_regions[row], detections.regions[det_index])
            )
        det_areas = detections.areas
        shares = np.divide(areas, det_areas, out=np.zeros_like(areas), where=det_areas > 0)
        return shares.astype(np.float32)

    def _match(
        self, found: np.ndarray, precision: np.ndarray, view: SizeView
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which texts match which detections, bool (G, D), and the don't-care detections, (D,)."""
        least = np.float32(self.cfg.ap_constraint)
        precise = precision >= least
        det_dc = np.zeros(found.shape[1], bool)
        if len(view.dc_order):
            parts = np.where(found, precision, np.float32(0))[view.dc_order]
            det_dc = precise[view.dc].any(axis=0) | (np.cumsum(parts, axis=0)[-1] >= least)

        valid = ~view.dc[:, None] & ~det_dc
        close = found & precise
        alone = (close.sum(axis=1) == 1)[:, None] & (close.sum(axis=0) == 1)
        pieces = close & valid
        split = (pieces.sum(axis=1) >= 2)[:, None]
        members = found & valid
        covered = np.where(members, precision, 0).sum(axis=0, dtype=np.float64)
        merged = (members.sum(axis=0) >= 2) & (covered >= self.cfg.ap_constraint)
        return (pieces & (alone | split)) | (members & merged), det_dc

    def _rates(self, counts: Counts) -> tuple[float, float, float]:
        if counts.num_char_gt == 0 and counts.num_char_det == 0:
            return 1.0, 1.0, 1.0
        merges = counts.gran_score_precision * self.cfg.precision_granularity_penalty
        splits = counts.gran_score_recall * self.cfg.recall_granularity_penalty
        precision = max(0.0, counts.num_char_tp - merges) / max(counts.num_char_det, 1)
        recall = max(0.0, counts.num_char_tp - splits) / max(counts.num_char_gt, 1)
        total = precision + recall
        return precision, recall, 2 * precision * recall / total if total else 0.0
