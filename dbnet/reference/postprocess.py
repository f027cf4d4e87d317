"""Reference of `DBPostprocessor`: one region after the other.

The docstrings of bands.py, outlines.py and unclip.py in dbnet/postprocess derive the formulas.
"""

import math
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import pyclipper
import shapely

from dbnet.structures import Detections


class Tie(Exception):
    """Two pieces of an outline have the same, largest area: either is a correct result."""


class Region(NamedTuple):
    """One connected region of the binary map, its holes filled, and its moments."""

    x: np.ndarray  # int (n,), pixels
    y: np.ndarray  # int (n,)
    weights: np.ndarray  # float64 (n,), shares of the pixels that count, 0 to 1
    score: float  # mean probability
    mass: float  # sum of the weights
    centre: np.ndarray  # float64 (2,), weighted
    covariance: np.ndarray  # float64 (2, 2), weighted, of unit squares in place of points


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
    """Detections of one probability map, float32 (H, W). Settings: `PostprocessConfig`."""
    distance = partial(unclip_distance, unclip_ratio=unclip_ratio, shrink_ratio=shrink_ratio)
    regions = list(find_regions(prob_map, bin_thresh))
    page, agree = page_direction(regions)
    found = []
    for region in regions:
        across, along = principal(region)[:2]
        angle = direction(region, page, agree)
        way = np.array([math.cos(angle), math.sin(angle)])
        along = way @ region.covariance @ way
        across = np.trace(region.covariance) - along

        length = math.sqrt(12 * along)
        thickness = region.mass / length
        outline = np.abs(way).max()
        pixels = len(region.x)
        missing = pixels - region.mass
        excess = across - (thickness**2 + (missing / length) ** 2) / 12
        bend = math.sqrt(45 / 4 * max(excess, 0))
        overshoot = missing / (2 * (length + thickness))
        overshoot = max(overshoot, 0.3 * min(10 * abs(math.sin(2 * angle)), 1))
        is_thin = pixels / length - outline <= 0.47

        position = (np.stack([region.x, region.y], axis=1) - region.centre) @ way
        low, high = position.min(), position.max()
        length = max(high - low - 2 * overshoot, 0)
        thickness = max(thickness - outline, thickness / 2)
        reach = distance(length * thickness, 2 * (length + thickness))
        low, high = low - max(reach - overshoot, 0), high + max(reach - overshoot, 0)
        height = thickness + 2 * reach
        if region.score < box_thresh or is_thin or min(high - low, height) < min_size:
            continue

        outer = None
        if bend > 0.2 * height:
            outer = bent_outline(region, angle, overshoot, height, distance)
        polygon = rectangle(region.centre, way, low, high, height)
        if outer is not None:
            polygon = outer
            if not use_polygon:
                polygon = cv2.boxPoints(cv2.minAreaRect(outer.astype(np.float32)))
        polygon = np.clip(polygon, 0, [prob_map.shape[1] - 1, prob_map.shape[0] - 1])
        found.append((region.score, polygon.astype(np.float32)))

    return best(found, max_candidates)


def rectangle(centre, way, low, high, height):
    """Corners of a rectangle from `low` to `high` along `way`, float64 (4, 2)."""
    normal = np.array([-way[1], way[0]]) * height / 2
    ends = centre + np.outer([low, high, high, low], way)
    return ends + np.outer([-1, -1, 1, 1], normal)


def best(found: list[tuple[float, np.ndarray]], max_candidates: int) -> Detections:
    """The (score, polygon) pairs of the highest scores."""
    found.sort(key=lambda item: -item[0])
    highest = found[:max_candidates]
    return Detections(
        polygons=[polygon for _, polygon in highest],
        scores=np.array([score for score, _ in highest], np.float32),
        capped=len(found) - len(highest),
    )


def find_regions(prob_map, bin_thresh):
    """The connected regions (8 neighbours) above `bin_thresh`."""
    binary = (prob_map > bin_thresh).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    for label in range(1, count):
        left, top, width, height = stats[label, :4]
        crop = np.s_[top : top + height, left : left + width]
        mask = (labels[crop] == label).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        filled = cv2.drawContours(np.zeros_like(mask), contours, -1, 1, cv2.FILLED)
        probs = prob_map[crop].astype(np.float64)
        prob = probs[mask == 1]
        y, x = np.nonzero(filled)
        weights = np.ones(len(x))
        if bin_thresh < 0.5:
            inside = min((prob**2).sum() / prob.sum(), 1 - bin_thresh)
            share = (probs[y, x] - bin_thresh) / (inside - bin_thresh)
            weights = np.where(mask[y, x] == 1, np.minimum(share, 1), 1)
        x, y = x + left, y + top
        centre = np.average(np.stack([x, y]), axis=1, weights=weights)
        covariance = np.cov(np.stack([x, y]), aweights=weights, bias=True) + np.eye(2) / 12
        yield Region(x, y, weights, prob.mean(), weights.sum(), centre, covariance)


def principal(region):
    """Smaller and larger variance of a region, and the angle of its longer axis, radians."""
    (xx, xy), (_, yy) = region.covariance
    flat, skew = round((xx - yy) / 2, 9) + 0.0, round(xy, 9) + 0.0
    mean, difference = (xx + yy) / 2, math.hypot(flat, skew)
    return mean - difference, mean + difference, math.atan2(skew, flat) / 2


def page_direction(regions):
    """Common angle of the texts of a page, modulo 90 degrees, and whether most agree on it."""
    total, weight = 0, 0
    for region in regions:
        small, large, angle = principal(region)
        if large > 4.1**2 * small:
            pull = region.mass * (large - small) / 2
            total += pull * np.exp(4j * angle)
            weight += pull
    agree = abs(total) > 0.9 * weight
    return (np.angle(total) / 4 if agree else 0.0), agree


def direction(region, page, agree):
    """Angle of a text, radians: its own, or the page's where its own is uncertain."""
    small, large, angle = principal(region)
    nearest = page + round((angle - page) / (math.pi / 2)) * math.pi / 2
    turn = abs(angle - nearest) if agree else math.pi / 4
    return nearest if turn * (large - small) < 0.5 * small else angle


def bent_outline(region, angle, overshoot, height, distance):
    """Outline along a curve of degree 4; None where the region is too short or straight."""
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]])
    points = np.stack([region.x, region.y], axis=1)
    u, v, w = points @ along, points @ across, region.weights
    first, last = u.min(), u.max()
    if last - first < 16 or last - first < math.sqrt(4 * region.mass):
        return None

    middle, half = (first + last) / 2, (last - first) / 2
    powers = np.stack([((u - middle) / half) ** k for k in range(5)], axis=1)
    root = np.sqrt(w)
    coefficients = np.linalg.lstsq(powers * root[:, None], v * root, rcond=None)[0]
    line = np.polynomial.Polynomial(coefficients)
    curve = lambda u: line((u - middle) / half)  # noqa: E731
    variance = np.average((v - curve(u)) ** 2, weights=w)

    grid = np.linspace(first, last, 65)
    if math.sqrt(12 * variance) > 2 * region.mass / (last - first + np.abs(along).max()):
        return contour_outline(region, distance)
    straight = np.polynomial.Legendre(np.polynomial.legendre.poly2leg(line.coef)[:2])
    if np.ptp([curve(at) - straight((at - middle) / half) for at in grid]) < 0.2 * height:
        return None
    centre = [np.array([at, curve(at)]) for at in grid]
    steps = [b - a for a, b in pairwise(centre)]
    length = sum(math.hypot(*step) for step in steps)
    outline = sum(np.abs(step[0] * along + step[1] * across).max() for step in steps) / length
    thickness = region.mass / (length + outline)
    thickness = max(thickness - outline, thickness / 2)
    length -= 2 * overshoot
    reach = distance(length * thickness, 2 * (length + thickness))

    move = max(reach - overshoot, 0)
    centre[0] = centre[0] - steps[0] / math.hypot(*steps[0]) * move
    centre[-1] = centre[-1] + steps[-1] / math.hypot(*steps[-1]) * move
    nodes = polyline(np.array(centre), 8)
    above, below = [], []
    offset = thickness / 2 + reach
    for k, node in enumerate(nodes):
        normals = []
        for a, b in ((k - 1, k), (k, k + 1)):
            if a >= 0 and b < len(nodes):
                step = (nodes[b] - nodes[a]) / math.hypot(*(nodes[b] - nodes[a]))
                normals.append(np.array([-step[1], step[0]]))
        joint = sum(normals) / (1 + normals[0] @ normals[1]) if len(normals) > 1 else normals[0]
        above.append(node - offset * joint)
        below.append(node + offset * joint)
    for side in (above, below):
        for k in range(len(nodes) - 1):
            if (side[k + 1] - side[k]) @ (nodes[k + 1] - nodes[k]) <= 0:
                return contour_outline(region, distance)
    return np.array([p[0] * along + p[1] * across for p in above + below[::-1]])


def polyline(points, count):
    """`count` nodes of the polyline that is closest to a curve, evenly spaced along it."""
    travelled = [0.0]
    for a, b in pairwise(points):
        travelled.append(travelled[-1] + math.hypot(*(b - a)))
    even = np.linspace(0, travelled[-1], len(points))
    samples = np.stack([np.interp(even, travelled, axis) for axis in points.T], axis=1)
    place = np.linspace(0, count - 1, len(points))
    hats = np.array([[max(1 - abs(p - k), 0) for k in range(count)] for p in place])
    return np.linalg.lstsq(hats, samples, rcond=None)[0]


def contour_outline(region, distance):
    """The simplified contour of a region, moved outward; for regions without a single curve."""
    mask = np.zeros((region.y.max() + 1, region.x.max() + 1), np.uint8)
    mask[region.y, region.x] = 1
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    area = shapely.Polygon(contours[0][:, 0]).area
    fine = cv2.approxPolyDP(contours[0], 0.75, True)[:, 0]
    perimeter = shapely.LineString([*fine, fine[0]]).length
    missing = len(region.x) - region.mass
    outline = cv2.approxPolyDP(contours[0], max(0.75, 2 * area / perimeter / 3), True)[:, 0]
    reach = distance(max(area - missing, area / 2), perimeter)
    return largest_offset(outline, max(reach - missing / perimeter, 0))


def unclip_distance(
    area: float, perimeter: float, *, unclip_ratio: float | None, shrink_ratio: float
) -> float:
    """Outward offset of a kernel: by a fixed ratio, or the offset D of the shrink that left it."""
    if unclip_ratio is not None:
        return unclip_ratio * area / perimeter
    c = 1 - shrink_ratio**2
    a, b = 8 - 4 * c, (1 - c) * perimeter
    return (-b + math.sqrt(b**2 + 4 * a * c * area)) / (2 * a)


def largest_offset(polygon: np.ndarray, distance: float) -> np.ndarray | None:
    """The largest piece of the polygon moved outward by `distance` pixels, mitred corners."""
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
    """Largest distance between outlines, pixels, and between scores. The order does not matter.

    Both are infinite if the numbers of detections or of capped ones differ, or if the nearest
    partners are not one to one.
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
