"""The post-processor as textbooks have it: one region after the other, each through its own mask,
shapely polygon and clipper. What `dbnet.postprocess.postprocessor` must equal."""

import math

import cv2
import numpy as np
import pyclipper
import shapely

from dbnet.structures import Detections


class Tie(Exception):
    """Of several pieces of an outline two are the largest: either is right."""


def postprocess(
    prob_map: np.ndarray,
    *,
    bin_thresh: float,
    box_thresh: float,
    max_candidates: int,
    unclip_ratio: float | None,
    use_polygon: bool,
    min_size: float,
    shrink_ratio: float,
) -> Detections:
    height, width = prob_map.shape
    binary = (prob_map > bin_thresh).astype(np.uint8)
    _, labels = cv2.connectedComponents(binary, connectivity=8)
    contours, hierarchy = cv2.findContours(binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for i, contour in enumerate(contours):
        if hierarchy[0][i][3] >= 0 or len(contour) < 3:  # a hole's rim, or no area
            continue
        area = shapely.Polygon(contour[:, 0]).area
        if area == 0:
            continue
        x, y, w, h = cv2.boundingRect(contour)
        crop = prob_map[y : y + h, x : x + w]
        mask = np.zeros((h, w), np.uint8)
        cv2.fillPoly(mask, [contour - np.array([x, y], np.int32)], 1)
        mask &= labels[y : y + h, x : x + w] == labels[contour[0, 0, 1], contour[0, 0, 0]]  # holes
        score = cv2.mean(crop, mask)[0]
        if score < box_thresh:
            continue

        outline = cv2.approxPolyDP(contour, 0.75, True)[:, 0]
        perimeter = shapely.LineString([*outline, outline[0]]).length
        centre, sides, angle = cv2.minAreaRect(contour)
        if unclip_ratio is not None:
            distance = unclip_ratio * area / perimeter
        else:
            share = np.ones_like(crop)
            if bin_thresh < 0.5:
                share = np.clip((crop - bin_thresh) / (1 - 2 * bin_thresh), 0, 1)
            soft = min(cv2.sumElems((1 - share) * mask)[0], 0.2 * area) / perimeter
            distance = grow_back(area, perimeter, soft, shrink_ratio)

        # Pixel steps widen a slanted rectangle by up to a pixel, and leave its area as it is.
        thickness = max(min(area / max(sides), min(sides)), min(sides) - 1)
        sides = tuple(thickness if side < max(sides) else side for side in sides)
        box = largest_offset(cv2.boxPoints((centre, sides, angle)), distance)
        rect = cv2.minAreaRect(box)
        if min(rect[1]) < min_size:
            continue
        polygon = largest_offset(outline, distance) if use_polygon else None
        if polygon is None:
            corners = cv2.boxPoints(rect)
            polygon = np.roll(corners, -int(corners.sum(axis=1).argmin()), axis=0)
        polygon = polygon.copy()
        polygon[:, 0] = np.clip(polygon[:, 0], 0, width - 1)
        polygon[:, 1] = np.clip(polygon[:, 1], 0, height - 1)
        found.append((score, polygon))

    found.sort(key=lambda item: -item[0])
    kept = found[:max_candidates]
    return Detections(
        polygons=[polygon for _, polygon in kept],
        scores=np.array([score for score, _ in kept], np.float32),
        capped=len(found) - len(kept),
    )


def grow_back(area: float, perimeter: float, soft: float, shrink_ratio: float) -> float:
    """How far an outline moves if its soft edge, `soft` pixels, was no part of the kernel."""
    c = 1 - shrink_ratio**2
    area, perimeter = area - soft * perimeter + 4 * soft**2, perimeter - 8 * soft
    a, b = 8 - 4 * c, (1 - c) * perimeter
    return max((-b + math.sqrt(b**2 + 4 * a * c * area)) / (2 * a) - soft, 0.0)


def largest_offset(polygon: np.ndarray, distance: float) -> np.ndarray | None:
    digits = 1e5
    path = [(round(float(x) * digits), round(float(y) * digits)) for x, y in polygon]
    offset = pyclipper.PyclipperOffset(miter_limit=2.0)
    try:
        offset.AddPath(path, pyclipper.JT_MITER, pyclipper.ET_CLOSEDPOLYGON)
    except pyclipper.ClipperException:
        return None
    pieces = [np.array(piece) / digits for piece in offset.Execute(distance * digits)]
    pieces = [piece for piece in pieces if len(piece) >= 3]
    if not pieces:
        return None
    areas = np.array([shapely.Polygon(piece).area for piece in pieces])
    if (areas > areas.max() - 1e-3).sum() > 1:
        raise Tie
    return pieces[areas.argmax()].astype(np.float32)


def difference(ours: Detections, theirs: Detections) -> tuple[float, float]:
    """Largest distance between outlines, in pixels, and between scores; equal scores in any order.

    Infinite where the numbers differ: of detections, of those left out, of partners.
    """
    if len(ours.polygons) != len(theirs.polygons) or ours.capped != theirs.capped:
        return math.inf, math.inf
    if not ours.polygons:
        return 0.0, 0.0
    a, b = (shapely.polygons([shapely.linearrings(p) for p in d.polygons]) for d in (ours, theirs))
    keys = [
        np.column_stack([shapely.get_coordinates(shapely.centroid(p)), shapely.area(p)])
        for p in (a, b)
    ]
    partner = np.abs(keys[0][:, None] - keys[1]).sum(axis=2).argmin(axis=1)
    if len(set(partner.tolist())) < len(partner):
        return math.inf, math.inf
    outlines = shapely.hausdorff_distance(shapely.boundary(a), shapely.boundary(b[partner]))
    return float(outlines.max()), float(np.abs(ours.scores - theirs.scores[partner]).max())
