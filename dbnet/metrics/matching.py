"""Matches of texts and detections by CLEval's rules, for several images at once.

Most texts do not overlap most detections. Values of a text and a detection are therefore stored for
a list of pairs instead of a matrix. The list holds the pairs of all images, so that a batch takes
no more numpy calls than an image. There are G texts and D detections.
"""

from typing import NamedTuple

import numpy as np
import shapely

from dbnet.metrics.characters import GroundTruth, SizeView
from dbnet.metrics.overlap import boxes_meet, overlap_areas, points_inside
from dbnet.metrics.polygons import Polygons


class Pairs(NamedTuple):
    """K pairs of a text and a detection of the same image, sorted by text, then by detection.

    A pair is listed if a character of the text lies inside the detection, or if the text is a
    don't-care region whose bounding box overlaps that of the detection. H is the number of hits: a
    hit is a character inside a detection, and a character may be inside several.
    """

    gt: np.ndarray  # (K,)
    det: np.ndarray  # (K,)
    found: np.ndarray  # bool (K,), a character of the text lies inside the detection
    areas: np.ndarray  # float64 (K,), shared by text and detection
    hits: np.ndarray  # (H,), pair of each hit
    characters: np.ndarray  # (H,), character of each hit


def find_pairs(truth: GroundTruth, detections: Polygons, offsets: list[int]) -> Pairs:
    """The pairs of N images. offsets: N + 1, the first detection of each image, and D."""
    count = max(len(detections.convex), 1)
    det, characters = points_inside(detections, truth.centres, offsets, truth.centre_offsets)
    keys = truth.owners[characters] * count + det
    needed = keys
    dc = np.any([view.dc for view in truth.views], axis=0)
    if dc.any():  # areas on don't-care regions count without a character too
        gt, det = boxes_meet(truth.polygons, truth.offsets, detections, offsets)
        needed = np.append(keys, (gt * count + det)[dc[gt]])
    unique, place = np.unique(needed, return_inverse=True)
    hits = place[: len(keys)]
    gt, det = np.divmod(unique, count)
    found = np.zeros(len(unique), bool)
    found[hits] = True
    areas = overlap_areas(truth.polygons, gt, detections, det)
    return Pairs(gt, det, found, areas, hits, characters)


def area_precision(pairs: Pairs, detections: Polygons, view: SizeView) -> np.ndarray:
    """Share of the detection's area that lies on the text, for each pair, float32 (K,)."""
    areas = pairs.areas
    if len(view.cut):
        areas = areas.copy()
        cut = np.flatnonzero(np.isin(pairs.gt, view.cut))
        regions = view.cut_regions[np.searchsorted(view.cut, pairs.gt[cut])]
        areas[cut] = shapely.area(shapely.intersection(regions, detections.regions[pairs.det[cut]]))
    det_areas = detections.areas[pairs.det]
    shares = np.divide(areas, det_areas, out=np.zeros_like(areas), where=det_areas > 0)
    return shares.astype(np.float32)


def is_dont_care(
    pairs: Pairs,
    precision: np.ndarray,
    images: np.ndarray,
    truth_images: np.ndarray,
    view: SizeView,
    least: float,
) -> np.ndarray:
    """Detections with a share of at least `least` on don't-care regions, bool (D,).

    This is the share on a single region, or the sum over all regions of which the detection has a
    character inside. The authors' package sums in float32 and in the order of `view.dc_order`.

    Args:
        images: (D,), image of each detection.
        truth_images: (G,), image of each text.
    """
    sums = np.zeros(len(images), np.float32)
    rank = np.zeros(len(view.dc), np.intp)
    rank[view.dc_order] = np.arange(len(view.dc_order))
    on_dc = np.flatnonzero(view.dc[pairs.gt] & pairs.found)
    on_dc = on_dc[np.argsort(rank[pairs.gt[on_dc]], kind="stable")]
    np.add.at(sums, pairs.det[on_dc], precision[on_dc])
    dont_care = (sums >= least) & np.isin(images, truth_images[view.dc])
    dont_care[pairs.det[view.dc[pairs.gt] & (precision >= least)]] = True
    return dont_care


def match(
    pairs: Pairs, precision: np.ndarray, det_dc: np.ndarray, view: SizeView, least: float
) -> np.ndarray:
    """Which pairs match, bool (K,).

    A text and a detection are close if the detection has a character of the text inside, and a
    share of at least `least` of its area on the text.

    1. One to one: a text and a detection that are close to each other, and to no others.
    2. Split: a text and two or more detections that are close to it.
    3. Merge: a detection and two or more texts with a character inside it, if the sum of its shares
       on them is at least `least`.

    Args:
        precision: float32 (K,), see `area_precision`.
        det_dc: bool (D,), see `is_dont_care`.
        least: share of a detection's area that it must have on a text, 0..1.
    """
    gt, det = pairs.gt, pairs.det
    texts, detections = len(view.dc), len(det_dc)
    close = pairs.found & (precision >= np.float32(least))
    valid = ~(view.dc[gt] | det_dc[det])

    # 1.
    alone = np.bincount(gt[close], minlength=texts)[gt] == 1
    alone &= np.bincount(det[close], minlength=detections)[det] == 1

    # 2.
    pieces = close & valid
    split = np.bincount(gt[pieces], minlength=texts)[gt] >= 2

    # 3.
    members = pairs.found & valid
    covered = np.bincount(det[members], precision[members], detections)
    together = (np.bincount(det[members], minlength=detections) >= 2) & (covered >= least)
    return (pieces & (alone | split)) | (members & together[det])
