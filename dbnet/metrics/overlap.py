"""How polygons overlap, many pairs at once: the geometry the metrics share.

Blocks of coordinates are (2, corners, polygons), x and y first, so that numpy works on long rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import shapely

_NEXT = [1, 2, 3, 0]  # corner after each of a quad


@dataclass(frozen=True, eq=False)
class Polygons:
    """n outlines in one block. Short ones repeat their last corner, which alters no measure."""

    corners: np.ndarray  # float64 (2, V, n)
    low: np.ndarray  # (2, n), smallest x and y
    high: np.ndarray  # (2, n)
    signed_areas: np.ndarray  # (n,), shoelace: lobes wound the other way count negative
    convex: np.ndarray  # bool (n,), at most four corners, none reflex; may have no area
    whole: bool  # all coordinates are whole numbers

    @property
    def areas(self) -> np.ndarray:
        return np.abs(self.signed_areas)  # (n,)

    @property
    def flat(self) -> np.ndarray:
        """Which are short outlines without any area, bool (n,)."""
        return self.convex & (self.signed_areas == 0)

    @cached_property
    def simple(self) -> np.ndarray:
        """Which outlines have an area and do not cross themselves, bool (n,)."""
        simple = self.convex & ~self.flat
        others = np.flatnonzero(~simple)
        simple[others] = shapely.is_valid(self._outlines(others))
        return simple

    @cached_property
    def regions(self) -> np.ndarray:
        """The outlines as valid Shapely geometries, object (n,).

        A self-crossing outline becomes the points it winds around an odd number of times
        (shapely.make_valid); what has no area becomes an empty polygon.
        """
        geometries = self._outlines(np.arange(len(self.simple)))
        for index in np.flatnonzero(~self.simple):
            parts = shapely.get_parts(shapely.make_valid(geometries[index]))
            areal = parts[shapely.get_dimensions(parts) == 2]
            geometries[index] = shapely.union_all(areal) if len(areal) else shapely.Polygon()
        return geometries

    @cached_property
    def region_areas(self) -> np.ndarray:
        """Areas of the regions, (n,)."""
        areas = self.areas
        crossed = ~self.simple
        if crossed.any():
            areas[crossed] = shapely.area(self.regions[crossed])
        return areas

    def _outlines(self, index: np.ndarray) -> np.ndarray:
        """Some of them as Shapely polygons, valid or not, object (len(index),)."""
        chosen = self.corners[..., index]
        return shapely.polygons(np.concatenate([chosen, chosen[:, :1]], axis=1).T)


def checked(polygons: Sequence[np.ndarray], name: str) -> list[np.ndarray]:
    """The polygons as float32 (P, 2) arrays; ValueError says which `name` polygon is none."""
    arrays = [np.asarray(polygon, np.float32) for polygon in polygons]
    for index, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != 2 or len(array) < 3:
            raise ValueError(f"{name} polygon {index} has shape {array.shape}: need (P >= 3, 2)")
    if arrays and not np.isfinite(np.concatenate(arrays)).all():
        index = next(i for i, array in enumerate(arrays) if not np.isfinite(array).all())
        raise ValueError(f"{name} polygon {index} has a coordinate that is not finite")
    return arrays


def pack(polygons: Sequence[np.ndarray], *, truncated: bool) -> Polygons:
    """n (P, 2) arrays in one block and measured, `truncated` to whole pixels or as they are."""
    counts = np.fromiter(map(len, polygons), np.intp, len(polygons))
    corners = np.zeros((2, 4, 0))
    if len(polygons):
        rows = np.minimum(np.arange(max(counts.max(), 4))[:, None], counts - 1)
        flat = np.concatenate(polygons).T.astype(np.float64)
        flat = np.trunc(flat) if truncated else flat
        corners = flat[:, rows + np.cumsum(counts) - counts]
    signed_areas = _cross(corners, np.roll(corners, -1, axis=1)).sum(axis=0) / 2
    quads = corners[:, :4]
    turned = np.where(signed_areas < 0, -1, 1) * _sides(quads, quads)
    return Polygons(
        corners=corners,
        low=corners.min(axis=1),
        high=corners.max(axis=1),
        signed_areas=signed_areas,
        convex=(counts <= 4) & (turned >= 0).all(axis=(0, 1)),
        whole=truncated,
    )


def points_inside(polygons: Polygons, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (polygon, point) with the point inside by the even-odd rule, two (K,) indices.

    points: float64 (2, C), sorted by y. Borders on the left and on top belong to a polygon.
    """
    first, last = np.searchsorted(points[1], [polygons.low[1], polygons.high[1]])
    polygon, point = _ranges(first, last)  # points in the polygon's rows
    x, y = points[:, point]
    near = (x >= polygons.low[0, polygon]) & (x < polygons.high[0, polygon])
    polygon, point, x, y = polygon[near], point[near], x[near], y[near]

    here, before = polygons.corners, np.roll(polygons.corners, 1, axis=1)
    above = here[1][:, polygon] <= y  # (V, K)
    edge, pair = np.nonzero(above != np.roll(above, 1, axis=0))  # edges at the point's height
    x0, y0 = here[:, edge, polygon[pair]]
    x1, y1 = before[:, edge, polygon[pair]]
    crossed = x[pair] < (x1 - x0) * (y[pair] - y0) / (y1 - y0) + x0
    odd = np.bincount(pair[crossed], minlength=len(polygon)) % 2 == 1
    return polygon[odd], point[odd]


def boxes_meet(a: Polygons, b: Polygons) -> np.ndarray:
    """Which bounding boxes share more than an edge, bool (len(a), len(b))."""
    (left, top), (right, bottom) = a.low[..., None], a.high[..., None]
    return (left < b.high[0]) & (right > b.low[0]) & (top < b.high[1]) & (bottom > b.low[1])


def overlap_areas(a: Polygons, a_index: np.ndarray, b: Polygons, b_index: np.ndarray) -> np.ndarray:
    """Area shared by polygon a_index[k] of `a` and b_index[k] of `b`, float64 (K,).

    Outlines that do not cross themselves take closed formulas, the rest Shapely with the even-odd
    rule. All are exact up to the rounding of the last digits.
    """
    areas = np.zeros(len(a_index))
    solid = ~(a.flat[a_index] | b.flat[b_index])
    quads = solid & a.whole & b.whole & a.convex[a_index] & b.convex[b_index]
    simple = solid & ~quads
    if quads.any():
        i, j = a_index[quads], b_index[quads]
        areas[quads] = _convex_quad_overlaps(_counter_clockwise(a, i), _counter_clockwise(b, j))
    if simple.any():
        crossed = simple & ~(a.simple[a_index] & b.simple[b_index])
        simple &= ~crossed
        areas[simple] = _outline_overlaps(a, a_index[simple], b, b_index[simple])
        if crossed.any():
            i, j = a_index[crossed], b_index[crossed]
            areas[crossed] = shapely.area(shapely.intersection(a.regions[i], b.regions[j]))
    return areas


def _ranges(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers from first[i] up to last[i], for all i in a row, after their i."""
    sizes = np.maximum(last - first, 0)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return owner, np.arange(sizes.sum()) + (first - np.cumsum(sizes) + sizes)[owner]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[0] * b[1] - a[1] * b[0]


def _sides(points: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Which side of window edge e point p lies on: positive inside, 0 on its line.

    points (2, P, K), windows (2, 4, K) -> (4, P, K).
    """
    edges = windows[:, _NEXT] - windows
    return _cross(edges[:, :, None], points[:, None] - windows[:, :, None])


def _outline_overlaps(
    a: Polygons, a_index: np.ndarray, b: Polygons, b_index: np.ndarray
) -> np.ndarray:
    """Shared area of outlines that do not cross themselves, convex or not, (K,).

    An outline's region is the signed sum of what lies between each edge and a line below all of
    it, positive where the edge runs to the right. The shared region of two outlines is therefore
    the signed sum over all pairs of edges of what lies under both: an integral of the lower of
    two straight lines.
    """
    if a.corners.shape[1] < b.corners.shape[1]:  # pairs lie in rows, one row per corner of b
        a, a_index, b, b_index = b, b_index, a, a_index
    base = np.minimum(a.low[1, a_index], b.low[1, b_index])  # (K,)

    start = a.corners[..., a_index]
    end = np.roll(a.corners, -1, axis=1)[..., a_index]  # (2, V, K)
    reaches = np.maximum(np.minimum(start[0], end[0]), b.low[0, b_index]) < np.minimum(
        np.maximum(start[0], end[0]), b.high[0, b_index]
    )
    edge, pair = np.nonzero(reaches)  # (E,), edges of a above or below b
    a_line = _line(start[:, edge, pair], end[:, edge, pair], base[pair])
    other = b_index[pair]
    following = np.roll(b.corners, -1, axis=1)
    b_line = _line(b.corners[..., other], following[..., other], base[pair])  # of (W, E)

    left = np.maximum(a_line.left, b_line.left)  # (W, E)
    width = np.maximum(np.minimum(a_line.right, b_line.right) - left, 0)
    y, b_y = a_line.at(left), b_line.at(left)
    step, b_step = a_line.slope * width, b_line.slope * width
    # The mean of the lower line is the mean of both less half the mean of their distance, which
    # has a corner where they cross.
    first = y - b_y
    last = first + step - b_step
    spread = np.abs(first) + np.abs(last)
    with np.errstate(invalid="ignore"):
        crossing = np.where(first * last < 0, (first**2 + last**2) / spread, spread)
    lower = y + b_y + (step + b_step) / 2 - crossing / 2
    shared = (b_line.sign * width * lower).sum(axis=0) * a_line.sign / 2
    total = np.bincount(pair, shared, len(a_index))
    return np.maximum(total * np.sign(a.signed_areas[a_index] * b.signed_areas[b_index]), 0)


class _Line(NamedTuple):
    """Edges as functions y of x, above a base; upright ones have no slope and no sign."""

    left: np.ndarray
    right: np.ndarray
    y: np.ndarray  # at the left
    slope: np.ndarray
    sign: np.ndarray  # 1 to the right, -1 to the left, 0 upright

    def at(self, x: np.ndarray) -> np.ndarray:
        return self.y + self.slope * (x - self.left)


def _line(start: np.ndarray, end: np.ndarray, base: np.ndarray) -> _Line:
    """Edges from `start` to `end`, both (2, ..., E), over a base (E,)."""
    way = end - start
    sign = np.sign(way[0])
    slope = np.divide(way[1], way[0], out=np.zeros_like(way[0]), where=way[0] != 0)
    forward = sign > 0
    y = np.where(forward, start[1], end[1]) - base
    return _Line(np.minimum(start[0], end[0]), np.maximum(start[0], end[0]), y, slope, sign)


def _counter_clockwise(polygons: Polygons, index: np.ndarray) -> np.ndarray:
    quads = polygons.corners[:, :4, index]
    return np.where(polygons.signed_areas[index] < 0, quads[:, ::-1], quads)  # (2, 4, K)


def _convex_quad_overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Shared area of convex counter-clockwise quads with whole-number corners, (2, 4, K) -> (K,).

    The outline of the shared region is made of the edges of each quad where they run inside the
    other; each contributes its term of the shoelace formula. Where two edges lie on one line, the
    shared part must count once, or not at all if they run in opposite directions: it is taken
    from `a`. Whole numbers make the test for one line exact.
    """
    count = a.shape[2]
    origin = a[:, :1]
    subjects = np.concatenate([a - origin, b - origin], axis=2)  # (2, 4, 2K)
    windows = np.concatenate([subjects[..., count:], subjects[..., :count]], axis=2)
    ways, window_ways = subjects[:, _NEXT] - subjects, windows[:, _NEXT] - windows

    # Subject edge s is inside window edge w from `enter` to `leave`, fractions of its length.
    start = _sides(subjects, windows)  # (4 window edges, 4 subject edges, 2K)
    end = start[:, _NEXT]
    change = end - start
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = -start / change
    enter = np.where(change > 0, meets, 0).max(axis=0).clip(0, 1)
    leave = np.where(change < 0, meets, 1).min(axis=0).clip(0, 1)

    on_line = (start == 0) & (end == 0)
    same_way = ways[0] * window_ways[0][:, None] + ways[1] * window_ways[1][:, None] > 0
    same_way[..., count:] = False
    no_edge = (window_ways == 0).all(axis=0)[:, None]  # a repeated corner bounds nothing
    inside = (start > 0) | (end > 0) | no_edge | (on_line & same_way)
    length = np.maximum(leave - enter, 0) * inside.all(axis=0)
    terms = (length * _cross(subjects, ways)).sum(axis=0)
    return np.abs(terms[:count] + terms[count:]) / 2
