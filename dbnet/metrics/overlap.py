"""How polygons overlap, many pairs at once: the geometry the metrics share.

Coordinates are (2, ...), x and y first, so that numpy works on long rows.
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
    """n outlines, all their M corners in a row. Corner m is where edge m starts."""

    corners: np.ndarray  # float64 (2, M)
    ends: np.ndarray  # (2, M), where the edges end
    bounds: np.ndarray  # (n + 1,), where in the row each outline starts, and M
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

    @cached_property
    def lines(self) -> "_Lines":
        """The edges as functions y of x; upright ones, below which nothing lies, are left out."""
        way = self.ends - self.corners
        sloped = way[0] != 0
        start, end, way = self.corners[:, sloped], self.ends[:, sloped], way[:, sloped]
        return _Lines(
            bounds=np.append(0, np.cumsum(sloped))[self.bounds],
            left=np.minimum(start[0], end[0]),
            right=np.maximum(start[0], end[0]),
            y=np.where(way[0] > 0, start[1], end[1]),
            slope=way[1] / way[0],
            sign=np.sign(way[0]),
        )

    def _outlines(self, index: np.ndarray) -> np.ndarray:
        """Some of them as Shapely polygons, valid or not, object (len(index),)."""
        owner, corner = _spans(self.bounds, index)
        return shapely.polygons(shapely.linearrings(self.corners[:, corner].T, indices=owner))


class _Lines(NamedTuple):
    """L edges that are not upright, those of each of n outlines in a row."""

    bounds: np.ndarray  # (n + 1,)
    left: np.ndarray  # (L,), smallest x
    right: np.ndarray  # (L,)
    y: np.ndarray  # (L,), at the left
    slope: np.ndarray  # (L,)
    sign: np.ndarray  # (L,), 1 to the right, -1 to the left

    def at(self, line: np.ndarray, x: np.ndarray) -> np.ndarray:
        return self.y[line] + self.slope[line] * (x - self.left[line])


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
    """n (P, 2) arrays in a row and measured, `truncated` to whole pixels or as they are."""
    counts = np.fromiter(map(len, polygons), np.intp, len(polygons))
    bounds = np.append(0, np.cumsum(counts))
    firsts = bounds[:-1]
    corners = np.zeros((2, 0))
    if len(polygons):
        corners = np.concatenate(polygons).T.astype(np.float64, order="C")
        corners = np.trunc(corners) if truncated else corners
    following = np.arange(1, bounds[-1] + 1)
    following[bounds[1:] - 1] = firsts
    ends = corners[:, following]
    signed_areas = np.add.reduceat(_cross(corners, ends), firsts) / 2
    short = np.flatnonzero(counts <= 4)
    quads = corners[:, _four_corners(bounds, short)]
    turned = np.where(signed_areas[short] < 0, -1, 1) * _sides(quads, quads)
    convex = np.zeros(len(counts), bool)
    convex[short] = (turned >= 0).all(axis=(0, 1))
    return Polygons(
        corners=corners,
        ends=ends,
        bounds=bounds,
        low=np.minimum.reduceat(corners, firsts, axis=1),
        high=np.maximum.reduceat(corners, firsts, axis=1),
        signed_areas=signed_areas,
        convex=convex,
        whole=truncated,
    )


def points_inside(polygons: Polygons, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (polygon, point) with the point inside by the even-odd rule, two (K,) indices.

    points: float64 (2, C), sorted by y. Borders on the left and on top belong to a polygon.
    """
    x, y = points
    rows = np.sort([polygons.corners[1], polygons.ends[1]], axis=0)
    edge, point = _ranges(*np.searchsorted(y, rows))  # points at the edge's height
    x1, y1 = polygons.corners[:, edge]
    x0, y0 = polygons.ends[:, edge]
    crossed = x[point] < (x1 - x0) * (y[point] - y0) / (y1 - y0) + x0
    owner = np.repeat(np.arange(len(polygons.convex)), np.diff(polygons.bounds))
    pairs, times = np.unique(owner[edge[crossed]] * len(x) + point[crossed], return_counts=True)
    return np.divmod(pairs[times % 2 == 1], max(len(x), 1))


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
    sizes = last - first
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return owner, np.arange(len(owner)) + (first - np.cumsum(sizes) + sizes)[owner]


def _spans(bounds: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where in a row the parts of some outlines lie, after the outline's place in `index`."""
    return _ranges(bounds[index], bounds[index + 1])


def _four_corners(bounds: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Where in a row the corners of some short outlines lie, (4, K); triangles repeat the last."""
    return np.minimum(bounds[index] + np.arange(4)[:, None], bounds[index + 1] - 1)


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
    pair, edge = _spans(a.lines.bounds, a_index)
    other = b_index[pair]
    near = a.lines.left[edge] < b.high[0, other]
    near &= a.lines.right[edge] > b.low[0, other]
    pair, edge, other = pair[near], edge[near], other[near]  # edges of a above or below b
    owner, b_edge = _spans(b.lines.bounds, other)
    edge = edge[owner]
    left = np.maximum(a.lines.left[edge], b.lines.left[b_edge])
    width = np.minimum(a.lines.right[edge], b.lines.right[b_edge]) - left
    meet = width > 0  # edges above each other
    pair, edge, b_edge, left, width = (
        pair[owner[meet]],
        edge[meet],
        b_edge[meet],
        left[meet],
        width[meet],
    )

    base = np.minimum(a.low[1, a_index], b.low[1, b_index])[pair]
    y, b_y = a.lines.at(edge, left) - base, b.lines.at(b_edge, left) - base
    step, b_step = a.lines.slope[edge] * width, b.lines.slope[b_edge] * width
    # The mean of the lower line is the mean of both less half the mean of their distance, which
    # has a corner where they cross.
    first = y - b_y
    last = first + step - b_step
    spread = np.abs(first) + np.abs(last)
    with np.errstate(invalid="ignore"):
        crossing = np.where(first * last < 0, (first**2 + last**2) / spread, spread)
    lower = y + b_y + (step + b_step) / 2 - crossing / 2
    shared = a.lines.sign[edge] * b.lines.sign[b_edge] * width * lower / 2
    total = np.bincount(pair, shared, len(a_index))
    return np.maximum(total * np.sign(a.signed_areas[a_index] * b.signed_areas[b_index]), 0)


def _counter_clockwise(polygons: Polygons, index: np.ndarray) -> np.ndarray:
    quads = polygons.corners[:, _four_corners(polygons.bounds, index)]
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
