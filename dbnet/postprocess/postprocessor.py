"""Probability map to polygons (DBNet, section 3.4), all regions of an image at a time."""

from typing import NamedTuple

import cv2
import numpy as np

from dbnet.geometry import clip
from dbnet.postprocess.unclip import (
    OUTLINE_TOLERANCE,
    classic_distance,
    exact_distance,
    grow,
    retreat,
)
from dbnet.settings import PostprocessConfig
from dbnet.structures import Detections

_NONE = np.zeros((0, 2), np.float32)
_SOFT_SHARE = 0.2  # of a region's area, the most that its soft edge may count as not text


class _Regions(NamedTuple):
    """n connected parts of a map."""

    contours: list[np.ndarray]  # n x int32 (P, 1, 2), outer ones, through pixel centres
    areas: np.ndarray  # float64 (n,), inside the contours, above 0
    scores: np.ndarray  # float64 (n,)
    missing: np.ndarray  # float64 (n,), pixels that are too many because the edge is soft


class _Kernels(NamedTuple):
    """Sizes of n contours, float64, in pixels between pixel centres."""

    areas: np.ndarray  # (n,)
    perimeters: np.ndarray  # (n,)
    centres: np.ndarray  # (n, 2), of the smallest enclosing rectangles
    sides: np.ndarray  # (n, 2)
    angles: np.ndarray  # (n,), radians from the x axis to the first side


class DBPostprocessor:
    """Regions of a probability map, grown back to the texts they were shrunk from.

    A region is a set of pixels above `bin_thresh` that touch by a side or a corner; holes in it
    are ignored. Its score is the mean probability of its pixels. Regions one pixel thick enclose
    no area between their pixel centres and are dropped.

    Args:
        bin_thresh: pixels above this are text, 0..1.
        box_thresh: regions with a score below this are dropped, 0..1.
        max_candidates: of the regions that pass all other tests, this many with the highest
            scores are kept; `Detections.capped` counts the others.
        unclip_ratio: the paper's offset D' = ratio A' / L'; None: the exact inverse of the
            training shrink, for kernels drawn with their boundary pixels (cv2.fillPoly).
        use_polygon: outlines that follow the region; false: rotated rectangles (4, 2), clockwise
            on screen from the top left.
        min_size: texts whose rectangle, grown back, has a side shorter than this many pixels are
            dropped (in both modes).
        shrink_ratio: r of the training shrink, D = A (1 - r^2) / L.
    """

    def __init__(self, cfg: PostprocessConfig, *, shrink_ratio: float) -> None:
        self.cfg = cfg
        self.shrink_ratio = shrink_ratio

    def __call__(self, prob_map: np.ndarray) -> Detections:
        """prob_map float32 (H, W), 0..1 -> Detections in its pixels, highest score first.

        Points are clipped to 0..W-1, 0..H-1. Raises ValueError where `prob_map` is anything else.
        """
        if prob_map.ndim != 2 or prob_map.dtype != np.float32 or prob_map.size == 0:
            raise ValueError(f"prob_map is {prob_map.dtype} {prob_map.shape}: need float32 (H, W)")
        regions = self._find_regions(prob_map)
        # The pixel steps of a slanted edge are not corners.
        outlines = [cv2.approxPolyDP(c, OUTLINE_TOLERANCE, True) for c in regions.contours]
        kernels = _measure(regions, outlines)
        distances = self._distances(kernels, regions.missing)  # (n,)
        sides = kernels.sides + 2 * distances[:, None]  # (n, 2)

        kept = np.flatnonzero(sides.min(axis=1) >= self.cfg.min_size)
        kept = kept[np.argsort(-regions.scores[kept], kind="stable")]
        capped = max(len(kept) - self.cfg.max_candidates, 0)
        kept = kept[: self.cfg.max_candidates]

        polygons = [_NONE] * len(kept)
        if self.cfg.use_polygon:
            polygons = grow([outlines[k][:, 0] for k in kept], distances[kept])
        thin = [i for i, polygon in enumerate(polygons) if len(polygon) == 0]
        if thin:  # too thin for an outline, or all of them where rectangles are asked for
            k = kept[thin]
            quads = _quads(kernels.centres[k], sides[k], kernels.angles[k])
            for i, quad in zip(thin, quads, strict=True):
                polygons[i] = quad
        polygons = clip(polygons, *prob_map.shape)
        return Detections(polygons, regions.scores[kept].astype(np.float32), capped)

    def _find_regions(self, prob_map: np.ndarray) -> _Regions:
        """Regions with an area and a score of at least box_thresh."""
        is_text = prob_map > self.cfg.bin_thresh
        x, y, width, height = cv2.boundingRect(is_text.view(np.uint8))  # leaves out the padding
        inside = np.s_[y : y + height, x : x + width]
        prob = prob_map[inside][is_text[inside]].astype(np.float64)  # (T,), text pixels
        if not (prob_map.min() >= 0 and prob.max(initial=0) <= 1):  # false for NaN too
            raise ValueError("prob_map has values that are not in 0..1: apply the sigmoid first")
        # A row above and a column beside it: each run of text pixels starts and ends in its row.
        window = np.zeros((height + 1, width + 1), bool)
        window[1:, :width] = is_text[inside]
        flat = window.ravel()
        borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1  # (2 R,), start and end of each run
        lengths = np.diff(borders)[::2]  # (R,)
        starts = np.cumsum(lengths) - lengths  # (R,), in prob

        count, labels = cv2.connectedComponents(window.view(np.uint8), connectivity=8)
        label = labels.ravel()[borders[::2]]  # (R,)
        pixels = np.bincount(label, lengths, count)
        scores = np.bincount(label, np.add.reduceat(prob, starts), count) / np.maximum(pixels, 1)
        missing = np.bincount(label, np.add.reduceat(self._lacking(prob), starts), count)
        # No region with an area has fewer than three pixels; label 0, the background, has none.
        candidate = (scores >= self.cfg.box_thresh) & (pixels >= 3)
        gone = ~candidate[label]
        sizes = lengths[gone]
        shift = borders[::2][gone] - (np.cumsum(sizes) - sizes)
        flat[np.repeat(shift, sizes) + np.arange(sizes.sum())] = False

        contours, areas = _outer_contours(window.view(np.uint8), (x, y - 1))
        first = np.concatenate([np.zeros((0, 2), int), *(contour[0] for contour in contours)])
        label = labels[first[:, 1] - y + 1, first[:, 0] - x]
        return _Regions(contours, areas, scores[label], missing[label])

    def _lacking(self, prob: np.ndarray) -> np.ndarray:
        """How much of a pixel is no kernel: from 1 at bin_thresh by way of 1/2 at 0.5 to 0."""
        span = 1 - 2 * self.cfg.bin_thresh
        return np.clip((1 - self.cfg.bin_thresh - prob) / span, 0, 1) if span > 0 else 0 * prob

    def _distances(self, kernels: _Kernels, missing: np.ndarray) -> np.ndarray:
        """How far each outline moves, (n,) pixels, never inwards."""
        areas, perimeters = kernels.areas, kernels.perimeters
        if self.cfg.unclip_ratio is not None:
            return classic_distance(areas, perimeters, self.cfg.unclip_ratio)
        soft = np.minimum(missing, _SOFT_SHARE * areas) / perimeters
        distances = exact_distance(*retreat(areas, perimeters, soft), self.shrink_ratio)
        return np.maximum(distances - soft, 0)


def _outer_contours(
    binary: np.ndarray, origin: tuple[int, int]
) -> tuple[list[np.ndarray], np.ndarray]:
    """One closed contour per region that has an area, moved by `origin`, and the areas."""
    contours, hierarchy = cv2.findContours(
        binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=origin
    )
    outer = np.flatnonzero(hierarchy[0, :, 3] < 0) if contours else []  # no rims of holes
    areas = np.array([cv2.contourArea(contours[i]) for i in outer])
    return [contours[i] for i, area in zip(outer, areas, strict=True) if area], areas[areas > 0]


def _measure(regions: _Regions, outlines: list[np.ndarray]) -> _Kernels:
    """The perimeter is that of the outlines, for they have no pixel steps."""
    perimeters = np.array([cv2.arcLength(outline, True) for outline in outlines])
    rects = [
        (*centre, *sides, angle) for centre, sides, angle in map(cv2.minAreaRect, regions.contours)
    ]
    rects = np.array(rects, np.float64).reshape(-1, 5)
    sides = rects[:, 2:4]
    longer, shorter = sides.max(axis=1, keepdims=True), sides.min(axis=1, keepdims=True)
    # Steps along both long sides of a slanted rectangle widen it by a pixel, but not its area.
    thickness = np.clip(regions.areas[:, None] / longer, shorter - 1, shorter)
    return _Kernels(
        areas=regions.areas,
        perimeters=perimeters,
        centres=rects[:, :2],
        sides=np.where(sides < longer, thickness, sides),
        angles=np.radians(rects[:, 4]),
    )


def _quads(centres: np.ndarray, sides: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Corners of rotated rectangles, float32 (n, 4, 2), clockwise on screen from the top left."""
    right = sides[:, :1] / 2 * [-1, 1, 1, -1]  # (n, 4), of the centre, before turning
    down = sides[:, 1:] / 2 * [-1, -1, 1, 1]
    centre = centres[:, :1] + 1j * centres[:, 1:]
    corners = centre + np.exp(1j * angles)[:, None] * (right + 1j * down)  # (n, 4), x + iy
    start = (corners.real + corners.imag).argmin(axis=1)
    corners = np.take_along_axis(corners, (start[:, None] + np.arange(4)) % 4, axis=1)
    return corners.view(np.float64).reshape(-1, 4, 2).astype(np.float32)
