"""How polygons overlap, many pairs at once: the geometry the metrics share."""

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

    A ray from the point to the right crosses the outline an odd number of times (Shimrat, 1962).

    1. A ray can cross the edges at its height alone. The points are sorted by y: those at the
       height of an edge are a range, found by a search for its two ends.
    2. Of these, the edge is crossed by the rays of the points on its left.
    3. Pairs of polygon and point that come up an odd number of times are inside.

    Args:
        points: float64 (2, C), those of each image sorted by y. Borders on the left and on top
            belong to a polygon.
        polygon_offsets, point_offsets: N + 1, where in the rows those of each of N images
            start; only pairs of one image are looked for. None: there is one image.
    """
    polygon_offsets = polygon_offsets or [0, len(polygons.convex)]
    point_offsets = point_offsets or [0, points.shape[1]]

    # 1.
    x, y = points
    heights = polygons.corners[1]
    above = np.zeros(len(heights), np.intp)  # points above each corner, those of other images too
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
    """Pairs of one image whose bounding boxes share more than an edge, two (K,) indices.

    a_offsets, b_offsets: N + 1, where the polygons of each of N images start. Pairs come in the
    order of `a`, then of `b`.
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


def _outline_overlaps(
    a: Polygons, a_index: np.ndarray, b: Polygons, b_index: np.ndarray
) -> np.ndarray:
    """Shared area of outlines that do not cross themselves, convex or not, (K,).

    An outline's region is the signed sum of what lies between each edge and a line below all of
    it, positive where the edge runs to the right. The shared region of two outlines is therefore
    the signed sum over all pairs of edges of what lies under both: an integral of the lower of
    two straight lines.

    1. Pairs of edges that lie above each other, `pair` being the pair of outlines that they
       belong to: first the edges of a over b's width, then for each of them the edges of b.
    2. Both lines over the x that they share, from a common base below both outlines.
    3. The mean height of the lower line is the mean of both less half their mean distance. The
       distance d runs linearly from `first` to `last`. Where it changes sign the lines cross, and
       the mean of |d| is (first^2 + last^2) / (2 (|first| + |last|)), else (|first| + |last|) / 2.
    4. Areas under both lines, summed with the signs of both edges and of both outlines.
    """
    # 1.
    pair, edge = spans(a.lines.offsets, a_index)
    other = b_index[pair]
    near = a.lines.left[edge] < b.high[0, other]
    near &= a.lines.right[edge] > b.low[0, other]
    pair, edge, other = pair[near], edge[near], other[near]  # edges of a above or below b
    owner, b_edge = spans(b.lines.offsets, other)
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
    """Shared area of convex counter-clockwise quads with whole-number corners, (2, 4, K) -> (K,).

    The outline of the shared region is made of the edges of each quad where they run inside the
    other; each contributes its term of the shoelace formula. Where two edges lie on one line, the
    shared part must count once, or not at all if they run in opposite directions: it is taken
    from `a`. Whole numbers make the test for one line exact.

    1. All quads of both sides are subjects once, each in the window of its partner. Corners are
       taken from a corner of `a`, so that products stay small and exact.
    2. A subject edge is inside a window edge's half plane from `enter` to `leave`, fractions of
       its length (Cyrus and Beck, 1978); inside the window over what all four leave of it.
    3. Edges on the line of a window edge count where both run the same way, for `a` alone.
       Repeated corners bound nothing.
    4. Each inside stretch adds its share of its edge's shoelace term.
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
