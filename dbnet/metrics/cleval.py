"""CLEval: character-level evaluation of text detection, exact and vectorised.

Baek et al., "CLEval: Character-Level Evaluation for Text Detection and Recognition Tasks", 2020.
Every count equals that of the authors' package (cleval 0.1.1: quads, detection only), rounding
included. As there, corners are truncated to whole pixels before areas are computed and points are
tested, and centres are float32.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dbnet.metrics.base import RATES, Flags, Metric, Polygons, counted, named
from dbnet.metrics.characters import (
    GroundTruth,
    false_characters,
    ground_truth,
    image_of_each,
)
from dbnet.metrics.content_cache import ContentCache
from dbnet.metrics.matching import area_precision, find_pairs, is_dont_care, match
from dbnet.metrics.polygons import checked, measure
from dbnet.ragged import RaggedPolygons
from dbnet.settings import CLEvalConfig


class Counts(NamedTuple):
    """Counts, summed over images. Names are those of the authors' package where it has one."""

    num_images: float
    num_gt: float  # texts, don't-care regions included
    num_gt_dc: float  # don't-care regions
    num_det: float  # detections evaluated
    num_det_dc: float  # detections left out because they lie on don't-care regions
    num_det_capped: float  # detections beyond max_polygons, not evaluated
    num_splitted: float  # texts found in several pieces
    num_merged: float  # detections that match several texts
    num_char_overlapped: float  # further finds of characters that were found already
    num_char_gt: float  # characters to find
    num_char_det: float  # characters of detections: num_char_tp + num_char_overlapped + num_char_fp
    num_char_tp: float  # characters found
    num_char_fp: float  # false characters, of detections that match no text
    gran_score_recall: float  # pieces of split texts beyond the first, unweighted
    gran_score_precision: float  # texts in merged detections beyond the first, unweighted


class CLEval(Metric):
    """CLEval precision, recall and hmean of text detection, accumulated over images.

    A text is a row of pseudo-characters. A detection that matches the text finds the characters
    whose centres lie inside it. Matches are one to one, or a detection is one of several pieces of
    a text (split), or it matches several texts (merge). Each piece or merged text beyond the first
    costs one character.

    A polygon with other than four corners is used as it is for areas and for characters inside. Its
    axis and aspect ratio are those of `min_area_quad`. Results do not depend on the order of
    detections or texts, with one exception: if three or more don't-care regions overlap a
    detection, their float32 shares are summed in the order of a Python set, as in the package.

    Values that depend on the ground truth alone are cached by its content, also across `reset`.

    Args:
        cfg: see `CLEvalConfig`.
    """

    def __init__(self, cfg: CLEvalConfig) -> None:
        self.cfg = cfg
        self._bins = list(pairwise(cfg.scale_bins)) if cfg.scale_wise else []
        self._ground_truths = ContentCache[GroundTruth]()
        self.reset()

    def reset(self) -> None:
        """Forget all images; cached values of ground truths are not removed."""
        # One row for all sizes, one per bin: counts, then the sums of the rates of single images.
        self._totals = np.zeros((1 + len(self._bins), len(Counts._fields) + len(RATES)))

    def update_batch(
        self,
        det_polygons: Polygons,
        gt_polygons: Polygons,
        ignored: Flags,
        texts: Sequence[Sequence[str] | None],
        image_sizes: Sequence[tuple[int, int] | None],
        /,
    ) -> list[dict[str, float]]:
        """Add N images; returns the precision, recall, hmean (0..1) and `Counts` of each.

        If there are no characters to find and none of detections, all rates are 1 (0 in the
        package).

        Args:
            texts: per image, G transcriptions or None. Only their lengths are used. For don't-care
                regions and empty transcriptions, the length is estimated from the aspect ratio.
            image_sizes: needed for `scale_wise` only.
            det_polygons, gt_polygons, ignored: as in `Metric.update_batch`.
        """
        considered = [found[: self.cfg.max_polygons] for found in det_polygons]
        detections, offsets = checked(considered, "detected")
        if not considered:
            return []
        truth = self._ground_truth(gt_polygons, ignored, texts, image_sizes)
        capped = [len(found) - self.cfg.max_polygons for found in det_polygons]
        counts = self._evaluate(detections, offsets, truth, np.maximum(capped, 0))
        results = []
        for image in counts.tolist():
            rows = [Counts(*row) for row in image]
            rates = [self._rates(row) for row in rows]
            self._totals += np.hstack([image, rates])
            results.append(named(rates[0]) | counted(rows[0]))
        return results

    def compute(self) -> dict[str, float]:
        """Official rates over all images, their means per image (`*_per_image`), `Counts`.

        With `scale_wise`, also `precision_scale_LOW_HIGH` and so on for every bin.
        """
        rows = [Counts(*row) for row in self._totals[:, : -len(RATES)].tolist()]
        images = rows[0].num_images
        means = self._totals[0, -len(RATES) :] / images if images else [1.0] * len(RATES)
        result = named(self._rates(rows[0])) | named(means, "_per_image") | counted(rows[0])
        for (low, high), row in zip(self._bins, rows[1:], strict=True):
            result |= named(self._rates(row), f"_scale_{low:g}_{high:g}")
        return result

    def _ground_truth(
        self,
        polygons: Polygons,
        ignored: Flags,
        texts: Sequence[Sequence[str] | None],
        image_sizes: Sequence[tuple[int, int] | None],
    ) -> GroundTruth:
        """The prepared annotations; from the cache after an earlier call with the same content."""
        ragged, offsets = checked(polygons, "ground truth")
        counts = np.diff(offsets)
        flags = [np.asarray(image, bool).reshape(-1) for image in ignored]
        lengths = [
            np.zeros(count, np.int64) if image is None else np.array([*map(len, image)], np.int64)
            for image, count in zip(texts, counts, strict=True)
        ]
        for count, image_flags, image_lengths in zip(counts, flags, lengths, strict=True):
            if not count == len(image_flags) == len(image_lengths):
                raise ValueError(
                    f"ground truth polygons: {count}, ignored flags: {len(image_flags)}, texts: "
                    f"{len(image_lengths)}; give one of each per text"
                )
        if self._bins and any(size is None for size in image_sizes):
            raise ValueError("scale-wise results need update(..., image_size=(height, width))")
        sides = [max(size) if self._bins and size else 0 for size in image_sizes]

        def make() -> GroundTruth:
            return ground_truth(
                ragged,
                offsets,
                np.concatenate(flags),
                np.concatenate(lengths),
                vertical_aspect_ratio_thresh=self.cfg.vertical_aspect_ratio_thresh,
                longest_sides=sides,
                size_ranges=self._bins,
            )

        header = np.array([len(offsets), *offsets, *sides])
        content = [header, ragged.offsets, *lengths, *flags, ragged.points]
        return self._ground_truths.get(content, make, len(polygons))

    def _evaluate(
        self, detections: RaggedPolygons, offsets: list[int], truth: GroundTruth, capped: np.ndarray
    ) -> np.ndarray:
        """`Counts` of N images: all sizes, then one per bin, (N, 1 + bins, len(Counts)).

        There are G texts, D detections and C characters in all images together.

        Args:
            offsets: N + 1, the index at which the detections of each image start.
            capped: (N,), detections beyond `max_polygons`.
        """
        packed = measure(detections, truncated=True)
        pairs = find_pairs(truth, packed, offsets)
        images, gt_images = image_of_each(offsets), image_of_each(truth.offsets)
        least = self.cfg.ap_constraint
        results = []
        for view in truth.views:
            precision = area_precision(pairs, packed, view)
            det_dc = is_dont_care(pairs, precision, images, gt_images, view, least)
            matched = match(pairs, precision, det_dc, view, least)
            per_gt = np.bincount(pairs.gt[matched], minlength=len(gt_images))
            per_det = np.bincount(pairs.det[matched], minlength=len(images))
            claimed = pairs.characters[matched[pairs.hits]]
            times = np.bincount(claimed, minlength=len(truth.owners))  # (C,), finds

            by_text, by_det, by_character = (
                partial(_sums, image_of, count=len(offsets) - 1)
                for image_of in (gt_images, images, gt_images[truth.owners])
            )
            false = np.zeros(len(images))
            unmatched = np.flatnonzero((per_det == 0) & ~det_dc)
            false[unmatched] = false_characters(detections.select(unmatched))
            num_found, num_claimed = by_character(times > 0), by_character(times)
            num_false = by_det(false)
            results.append(
                dict(
                    num_images=np.ones(len(offsets) - 1),
                    num_gt=np.diff(truth.offsets),
                    num_gt_dc=by_text(view.dc),
                    num_det=np.diff(offsets),
                    num_det_dc=by_det(det_dc),
                    num_det_capped=capped,
                    num_splitted=by_text(per_gt > 1),
                    num_merged=by_det(per_det > 1),
                    num_char_overlapped=num_claimed - num_found,
                    num_char_gt=by_text(truth.lengths * ~view.dc),
                    num_char_det=num_claimed + num_false,
                    num_char_tp=num_found,
                    num_char_fp=num_false,
                    gran_score_recall=by_text(np.maximum(per_gt - 1, 0)),
                    gran_score_precision=by_det(np.maximum(per_det - 1, 0)),
                )
            )
        columns = ([row[name] for name in Counts._fields] for row in results)
        return np.stack([np.stack(row, axis=1) for row in columns], axis=1)

    def _rates(self, counts: Counts) -> tuple[float, float, float]:
        if counts.num_char_gt == 0 and counts.num_char_det == 0:
            return 1.0, 1.0, 1.0
        merges = counts.gran_score_precision * self.cfg.precision_granularity_penalty
        splits = counts.gran_score_recall * self.cfg.recall_granularity_penalty
        precision = max(0.0, counts.num_char_tp - merges) / max(counts.num_char_det, 1)
        recall = max(0.0, counts.num_char_tp - splits) / max(counts.num_char_gt, 1)
        total = precision + recall
        return precision, recall, 2 * precision * recall / total if total else 0.0


def _sums(images: np.ndarray, values: np.ndarray, *, count: int) -> np.ndarray:
    """Sums of values per image, (count,). `images` is the image of each value."""
    return np.bincount(images, values, count)
