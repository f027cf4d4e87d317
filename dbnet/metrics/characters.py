"""Pseudo-characters: what CLEval computes from the annotation alone.

Annotations rarely contain the positions of characters. CLEval (Baek et al., 2020, section 3.1)
places as many centres as the text has characters, evenly spaced, along the axis of the text. Every
number equals that of the authors' package (cleval 0.1.1), rounding included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import NamedTuple

import cv2
import numpy as np
import shapely

from dbnet.geometry import min_area_quads
from dbnet.metrics.overlap import boxes_meet, overlap_areas
from dbnet.metrics.polygons import Polygons, measure
from dbnet.ragged import RaggedPolygons

_MAX_GUESSED = 10  # upper limit of a length that is estimated from an aspect ratio


class SizeView(NamedTuple):
    """Values of the texts that depend on a range of text sizes."""

    dc: np.ndarray  # bool (G,), don't care: ignored or outside the range
    dc_order: (
        np.ndarray
    )  # don't-care regions, by image, in the order in which the package sums them
    cut: np.ndarray  # indices of the don't-care regions that overlap texts
    cut_regions: np.ndarray  # Shapely geometries: the regions `cut` without those texts


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """G texts of N images with C pseudo-characters, computed from the annotation alone."""

    polygons: Polygons  # G
    offsets: list[int]  # N + 1, the index at which the texts of each image start
    lengths: np.ndarray  # (G,), characters per text
    owners: np.ndarray  # (C,), text of each character
    centres: np.ndarray  # float64 (2, C), x and y, those of each image sorted by y
    centre_offsets: list[int]  # N + 1, the index at which the characters of each image start
    views: list[SizeView]  # the first for all sizes, then one per range


def ground_truth(
    texts: RaggedPolygons,
    offsets: list[int],
    ignored: np.ndarray,
    lengths: np.ndarray,
    *,
    vertical_aspect_ratio_thresh: float,
    longest_sides: Sequence[int],
    size_ranges: Sequence[tuple[float, float]],
) -> GroundTruth:
    """Prepare N images with G float32 texts in all; bool `ignored` and text `lengths` are (G,).

    Don't-care regions, and texts of length 0, get their length from the aspect ratio.

    Args:
        offsets: N + 1, the index at which the texts of each image start.
        longest_sides: of the N images, in pixels; used with `size_ranges` only.
        size_ranges: text heights over the longest side; texts outside a range are don't care in it.
    """
    quads = _axis_quads(texts.split())
    ratios = _aspect_ratios(quads)
    guessed = _rounded_length(np.maximum(ratios, 1 / ratios))
    lengths = np.where(ignored | (lengths == 0), guessed, lengths)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    centres = _centres(quads, lengths, ratios < vertical_aspect_ratio_thresh)
    images = image_of_each(offsets)
    order = np.lexsort((centres[1], images[owners]))  # by image, then by y
    polygons = measure(texts, truncated=True)
    dcs = [ignored]
    if size_ranges:
        sizes = np.array([_text_height(quad) for quad in quads], np.float32)
        sizes /= np.array(longest_sides, np.float32)[images]
        dcs += [ignored | ~((low <= sizes) & (sizes <= high)) for low, high in size_ranges]
    return GroundTruth(
        polygons=polygons,
        offsets=offsets,
        lengths=lengths,
        owners=owners[order],
        centres=centres[:, order],
        centre_offsets=np.append(0, np.cumsum(lengths))[offsets].tolist(),
        views=[_size_view(polygons, offsets, dc) for dc in dcs],
    )


def image_of_each(offsets: Sequence[int]) -> np.ndarray:
    """The image of each text (or detection), from the offsets of N images."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def false_characters(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Number of false characters of each of n detections that match no text, (n,).

    It is about 1 / aspect ratio, rounded up: 1 for horizontal detections, more for upright ones.
    """
    return _rounded_length(1 / (1e-5 + _aspect_ratios(_axis_quads(polygons))))


def _rounded_length(ratios: np.ndarray) -> np.ndarray:
    return np.minimum(np.rint(0.5 + ratios), _MAX_GUESSED).astype(np.int64)


def _axis_quads(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Quads along the texts, float32 (n, 4, 2): smallest rectangles of what is not a quad."""
    others = [p for p in polygons if len(p) != 4]
    if others:
        boxes = iter(min_area_quads(others))
        polygons = [p if len(p) == 4 else next(boxes) for p in polygons]
    return np.array(polygons, np.float32).reshape(-1, 4, 2)


def _aspect_ratios(quads: np.ndarray) -> np.ndarray:
    """Mean width over mean height of float32 (n, 4, 2) quads, float64 (n,)."""
    dx, dy = (np.roll(quads, -1, axis=1) - quads).T.astype(np.float64)
    top, right, bottom, left = np.sqrt(dx * dx + dy * dy)
    return ((top + bottom) / 2 + 1e-5) / ((right + left) / 2 + 1e-5)


def _centres(quads: np.ndarray, lengths: np.ndarray, vertical: np.ndarray) -> np.ndarray:
    """Centres on the line between the middles of the first and the last side, float64 (2, C)."""
    # As in the package, the characters of vertical texts are placed from bottom to top.
    corners = np.where(vertical, np.roll(quads, 1, axis=1).T, quads.T)  # (2, 4, n)
    first = (corners[:, 0] + corners[:, 3]) / np.float32(2)
    last = (corners[:, 1] + corners[:, 2]) / np.float32(2)
    step = (last - first) / lengths.astype(np.float32)
    start = first + step / np.float32(2)
    position = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    steps = np.repeat(step, lengths, axis=1) * position.astype(np.float32)
    return (np.repeat(start, lengths, axis=1) + steps).astype(np.float64)


def _text_height(quad: np.ndarray) -> np.float32:
    """Shorter side of the smallest enclosing rectangle, its corners rounded to pixels."""
    box = np.around(cv2.boxPoints(cv2.minAreaRect(quad)))
    sides = np.roll(box, -1, axis=0) - box
    a, b, c, d = (np.linalg.norm(side) for side in sides)
    return min(a + c, b + d) / np.float32(2)


def _size_view(polygons: Polygons, offsets: list[int], dc: np.ndarray) -> SizeView:
    """Cut the texts that lie on don't-care regions out of these regions."""
    if not dc.any():
        none = np.zeros(0, np.intp)
        return SizeView(dc=dc, dc_order=none, cut=none, cut_regions=np.zeros(0, object))
    dc_index, text_index = boxes_meet(polygons, offsets, polygons, offsets)
    cuts = dc[dc_index] & ~dc[text_index]
    dc_index, text_index = dc_index[cuts], text_index[cuts]
    shared = overlap_areas(polygons, dc_index, polygons, text_index) > 0
    dc_index, text_index = dc_index[shared], text_index[shared]
    cut = np.unique(dc_index)
    regions = [
        shapely.difference(
            polygons.regions[index],
            shapely.union_all(polygons.regions[text_index[dc_index == index]]),
        )
        for index in cut
    ]
    # The package iterates over a Python set of the indices within an image. The order of a float32
    # sum changes its rounding.
    orders = [
        [first + index for index in set(np.flatnonzero(dc[first:last]).tolist())]
        for first, last in pairwise(offsets)
    ]
    return SizeView(
        dc=dc,
        dc_order=np.array(list(chain.from_iterable(orders)), np.intp),
        cut=cut,
        cut_regions=np.array(regions, object),
    )
