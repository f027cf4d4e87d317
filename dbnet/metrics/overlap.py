"""Overlaps of many pairs of polygons at once: the geometry that the metrics share."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import shapely

from dbnet.metrics.polygons import NEXT, Polygons, four_corners, sides, spans
from dbnet.ragged import cross, ranges


def points_inside(
    polygons: Polygons,
    points: np.ndarray,
    polygon_offsets: Sequence[int] | None = None,
    point_offsets: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (polygon, point) with the point inside by the even-odd rule, two (K,) indices.

    A point is inside if a ray from it to the right crosses the outline an odd number of times
    (Shimrat, "Algorithm 112: Position of point relative to polygon", 1962).

    1. A ray crosses only edges that span its height. The points of an image are sorted by y, so the
       points whose rays an edge may cross form a range. Two binary searches, for the heights of its
       ends, find this range. The height of its upper end belongs to an edge, that of its lower end
       does not: a ray through the corner between two edges counts for exactly one of them, or, at
       the top or bottom of an outline, for both or none.
    2. The ray of such a point crosses the edge if the point lies left of it.
    3. A pair of polygon and point that occurs an odd number of times is inside.

    Args:
        points: float64 (2, C), those of each image sorted by y. A point on the left or upper border
            of a polygon is inside, a point on its right or lower border is not.
        polygon_offsets, point_offsets: N + 1, the index at which the polygons and the points of
            each of N images start. Pairs of different images are not formed. None: one image.
    """
    polygon_offsets = polygon_offsets or [0, len(polygons.convex)]
    point_offsets = point_offsets or [0, points.shape[1]]

    # 1.
    x, y = points
    heights = polygons.corners[1]
    above = np.zeros(len(heights), np.intp)  # (M,), points above each corner
    images = zip(pairwise(polygons.offsets[polygon_offsets]), pairwise(point_offsets), strict=True)
    for (first, last), (start, end) in images:
        above[first:last] = start + np.searchsorted(y[start:end], heights[first:last])
    below = above[polygons.next]
    edge, point = ranges(np.minimum(above, below), np.maximum(above, below))

    # 2.
    x1, y1 = polygons.corners[:, edge]
    x0, y0 = polygons.ends[:, edge]
    crossed = x[point] < (x1 - x0) * (y[point] - y0) / (y1 - y0) + x0

    # 3.
    owner = np.repeat(np.arange(len(polygons.convex)), np.diff(polygons.offsets))
    pairs, times = np.unique(owner[edge[crossed]] * len(x) + point[crossed], return_counts=True)
    return np.divmod(pairs[times % 2 == 1], max(len(x), 1))


def boxes_meet(
    a: Polygons, a_offsets: Sequence[int], b: Polygons, b_offsets: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of the same image whose bounding boxes share an area, two (K,) indices.

    Pairs are ordered by the index in `a`, then by the index in `b`.

    Args:
        a_offsets, b_offsets: N + 1, the index at which the polygons of each of N images start.
    """
    a_index, b_index = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)]
    for (first, last), (b_first, b_last) in zip(
        pairwise(a_offsets), pairwise(b_offsets), strict=True
    ):
        left, top = a.low[:, first:last, None]
        right, bottom = a.high[:, first:last, None]
        b_left, b_top = b.low[:, b_first:b_last]
        b_right, b_bottom = b.high[:, b_first:b_last]
        meet = (left < b_right) & (right > b_left) & (top < b_bottom) & (bottom > b_top)
        place = np.flatnonzero(meet)
        row, column = np.divmod(place, max(b_last - b_first, 1))
        a_index.append(first + row)
        b_index.append(b_first + column)
    return np.concatenate(a_index), np.concatenate(b_index)


def overlap_areas(a: Polygons, a_index: np.ndarray, b: Polygons, b_index: np.ndarray) -> np.ndarray:
    """Area shared by polygon a_index[k] of `a` and b_index[k] of `b`, float64 (K,).

    - 0 where one of them has no area.
    - `_convex_quad_overlaps` for two convex quads with whole coordinates (CLEval).
    - `_outline_overlaps` for other outlines that do not cross themselves.
    - Shapely, with the even-odd rule, where one of them crosses itself.

    All are exact up to rounding.
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


def _outline_overlaps(
    a: Polygons, a_index: np.ndarray, b: Polygons, b_index: np.ndarray
) -> np.ndarray:
    """Shared area of outlines that do not cross themselves, convex or not, (K,).

    Choose a horizontal base line below both outlines. The region of an outline is the signed sum of
    the trapezoids between its edges and the base, positive for edges that run to the right. The
    shared region of two outlines is therefore the signed sum, over all pairs of an edge of `a` and
    an edge of `b`, of the region that lies below both edges. The area below both is the integral of
    the lower one of two straight lines, over the x that the edges share.

    1. All pairs of edges that share some x. `pair` is the pair of outlines that they belong to.
       First the edges of a that share x with the bounding box of b, then all edges of b for each.
    2. Heights of both lines above the base, at the left end of the shared x, and their rise from
       there to the right end.
    3. Mean height of the lower line: min(y, z) = (y + z - |y - z|) / 2. The difference d = y - z
       runs linearly from `first` to `last`. The mean of |d| is (|first| + |last|) / 2 if d keeps
       its sign, and (first^2 + last^2) / (2 (|first| + |last|)) if the lines cross. `crossing` is
       twice this mean, so `lower` is twice the mean height.
    4. Areas below both lines, summed with the signs of both edges and of both outlines.
    """
    # 1.
    pair, edge = spans(a.lines.offsets, a_index)
    other = b_index[pair]
    near = a.lines.left[edge] < b.high[0, other]
    near &= a.lines.right[edge] > b.low[0, other]
    pair, edge, other = pair[near], edge[near], other[near]
    owner, b_edge = spans(b.lines.offsets, other)
    edge = edge[owner]
    left = np.maximum(a.lines.left[edge], b.lines.left[b_edge])
    width = np.minimum(a.lines.right[edge], b.lines.right[b_edge]) - left
    meet = width > 0
    pair, edge, b_edge, left, width = (
        pair[owner[meet]],
        edge[meet],
        b_edge[meet],
        left[meet],
        width[meet],
    )

    # 2.
    base = np.minimum(a.low[1, a_index], b.low[1, b_index])[pair]
    y, b_y = a.lines.at(edge, left) - base, b.lines.at(b_edge, left) - base
    step, b_step = a.lines.slope[edge] * width, b.lines.slope[b_edge] * width

    # 3.
    first = y - b_y
    last = first + step - b_step
    spread = np.abs(first) + np.abs(last)
    with np.errstate(invalid="ignore"):
        crossing = np.where(first * last < 0, (first**2 + last**2) / spread, spread)
    lower = y + b_y + (step + b_step) / 2 - crossing / 2

    # 4.
    shared = a.lines.sign[edge] * b.lines.sign[b_edge] * width * lower / 2
    total = np.bincount(pair, shared, len(a_index))
    return np.maximum(total * np.sign(a.signed_areas[a_index] * b.signed_areas[b_index]), 0)


def _counter_clockwise(polygons: Polygons, index: np.ndarray) -> np.ndarray:
    quads = polygons.corners[:, four_corners(polygons.offsets, index)]
    return np.where(polygons.signed_areas[index] < 0, quads[:, ::-1], quads)  # (2, 4, K)


def _convex_quad_overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Shared area of convex counter-clockwise quads with whole coordinates, (2, 4, K) -> (K,).

    The outline of the shared region consists of the parts of the edges of each quad that lie inside
    the other quad. Each part contributes its share of the edge's term in the shoelace formula.
    Where an edge of `a` and an edge of `b` lie on the same line, their common part must count once
    if they run in the same direction, and not at all otherwise: it is counted for `a` only. Whole
    coordinates make this test exact.

    1. Every quad is a subject once, and its partner is the window that clips it. Coordinates are
       relative to a corner of `a`, so that products stay small and exact.
    2. Clipping after Cyrus and Beck (1978). A subject edge lies inside the half plane of a window
       edge between two fractions of its length. It lies inside the window between the largest
       `enter` and the smallest `leave` of all four window edges.
    3. An edge outside a half plane over its whole length does not count. An edge on the line of a
       window edge counts for `a` if both run in the same direction. Repeated corners, which are
       window edges of length 0, do not clip.
    4. Each inside part adds its share of the shoelace term of its edge.
    """
    # 1.
    count = a.shape[2]
    origin = a[:, :1]
    subjects = np.concatenate([a - origin, b - origin], axis=2)  # (2, 4, 2K)
    windows = np.concatenate([subjects[..., count:], subjects[..., :count]], axis=2)
    ways, window_ways = subjects[:, NEXT] - subjects, windows[:, NEXT] - windows

    # 2.
    start = sides(subjects, windows)  # (4 window edges, 4 subject edges, 2K)
    end = start[:, NEXT]
    change = end - start
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = -start / change
    enter = np.where(change > 0, meets, 0).max(axis=0).clip(0, 1)
    leave = np.where(change < 0, meets, 1).min(axis=0).clip(0, 1)

    # 3.
    on_line = (start == 0) & (end == 0)
    same_way = ways[0] * window_ways[0][:, None] + ways[1] * window_ways[1][:, None] > 0
    same_way[..., count:] = False
    no_edge = (window_ways == 0).all(axis=0)[:, None]
    inside = (start > 0) | (end > 0) | no_edge | (on_line & same_way)

    # 4.
    length = np.maximum(leave - enter, 0) * inside.all(axis=0)
    terms = (length * cross(subjects, ways)).sum(axis=0)
    return np.abs(terms[:count] + terms[count:]) / 2
