"""Probability map to polygons (DBNet, section 3.4), all regions of an image at a time."""

from collections.abc import Iterator

import numpy as np

from dbnet.geometry import min_area_quad
from dbnet.postprocess.bands import Bands, fit_bands
from dbnet.postprocess.outlines import MAX_BEND, bent_outlines
from dbnet.postprocess.regions import Regions, find_regions
from dbnet.postprocess.unclip import Size, classic_distance, exact_distance
from dbnet.settings import PostprocessConfig
from dbnet.structures import Detections

_ONE = np.float32(1).view(np.uint32)  # the bits of 1.0
_THIN = 0.47  # pixels between pixel centres: regions thinner than this are lines of one pixel


class DBPostprocessor:
    """Regions of a probability map, grown back to the texts they were shrunk from.

    A region is a set of pixels above `bin_thresh` that touch by a side or a corner; holes in it
    are filled. Its score is the mean probability of its pixels. Regions one pixel thick are
    dropped. A straight text becomes a rectangle, a curved one a band of constant height, and a
    region that is neither, such as lines that ran together, keeps its own outline.

    Args:
        cfg: see `PostprocessConfig`.
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
        if not _are_probabilities(prob_map):
            raise ValueError("prob_map has values that are not in 0..1: apply the sigmoid first")
        regions = find_regions(prob_map, self.cfg.bin_thresh)
        bands = fit_bands(regions)
        distances = self._distance(
            bands.lengths * bands.thicknesses, 2 * (bands.lengths + bands.thicknesses)
        )
        ends = np.maximum(distances - bands.overshoots, 0)  # outlines do not move inwards
        low, high = bands.firsts - ends, bands.lasts + ends  # (n,), along the bands
        heights = bands.thicknesses + 2 * distances

        is_text = (regions.scores >= self.cfg.box_thresh) & (bands.pixel_thicknesses > _THIN)
        is_text &= np.minimum(high - low, heights) >= self.cfg.min_size
        selected = np.flatnonzero(is_text)
        selected = selected[np.argsort(-regions.scores[selected], kind="stable")]
        capped = max(len(selected) - self.cfg.max_candidates, 0)
        selected = selected[: self.cfg.max_candidates]

        limit = np.array(prob_map.shape[::-1], np.float32) - 1
        along = bands.centres, bands.angles, low, high, heights
        rectangles = _rectangles(*(values[selected] for values in along))
        polygons = list(np.clip(rectangles, 0, limit))
        places = np.flatnonzero(bands.bends[selected] > MAX_BEND * heights[selected])
        for place, outline in self._bent_outlines(regions, bands, selected, places, heights):
            polygon = outline if self.cfg.use_polygon else min_area_quad(outline)
            polygons[place] = np.clip(polygon, 0, limit)
        return Detections(polygons, regions.scores[selected].astype(np.float32), capped)

    def _distance(self, area: Size, perimeter: Size) -> Size:
        """How far the outlines of kernels of these sizes move outwards, in pixels."""
        if self.cfg.unclip_ratio is not None:
            return classic_distance(area, perimeter, self.cfg.unclip_ratio)
        return exact_distance(area, perimeter, self.shrink_ratio)

    def _bent_outlines(
        self,
        regions: Regions,
        bands: Bands,
        selected: np.ndarray,
        places: np.ndarray,
        heights: np.ndarray,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Places in `selected` and outlines of the regions that are no rectangles.

        `places`: which regions of `selected` are looked at.
        """
        if not len(places):
            return
        index = selected[places]
        outlines = bent_outlines(
            regions.pixels_of(index),
            angles=bands.angles[index],
            overshoots=bands.overshoots[index],
            heights=heights[index],
            distance=self._distance,
        )
        for place, outline in zip(places.tolist(), outlines, strict=True):
            if outline is not None:
                yield place, outline


def _are_probabilities(prob_map: np.ndarray) -> bool:
    """Whether all float32 values lie in 0..1; false where there is a NaN.

    Read as unsigned integers, floats from 0 on keep their order, and negative ones and NaN lie
    above: one pass accepts a valid map. A map with -0.0 needs the comparison of floats too.
    """
    highest = prob_map.view(np.uint32).max()
    if highest <= _ONE:
        return True
    return bool(prob_map.min() >= 0 and prob_map.max() <= 1)


def _rectangles(
    centres: np.ndarray, angles: np.ndarray, low: np.ndarray, high: np.ndarray, heights: np.ndarray
) -> np.ndarray:
    """Rectangles from `low` to `high` along `angles` from `centres`, float32 (n, 4, 2).

    Clockwise on screen from the top left.
    """
    along = np.stack([low, high, high, low], axis=1)  # (n, 4), before turning
    across = heights[:, None] / 2 * [-1, -1, 1, 1]
    centre = centres[:, :1] + 1j * centres[:, 1:]
    corners = centre + np.exp(1j * angles)[:, None] * (along + 1j * across)  # (n, 4), x + iy
    start = (corners.real + corners.imag).argmin(axis=1)
    corners = np.take_along_axis(corners, (start[:, None] + np.arange(4)) % 4, axis=1)
    return corners.view(np.float64).reshape(-1, 4, 2).astype(np.float32)
