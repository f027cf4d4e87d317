"""Polygons of one or several images in flat arrays, with the measurements that metrics need.

Coordinates have the shape (2, ...), x and y first, so that numpy works on long rows. Areas and
tests are exact for whole coordinates, and exact up to rounding for others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from typing import NamedTuple

import numpy as np
import shapely

from dbnet.ragged import RaggedPolygons, cross, ranges

NEXT = [1, 2, 3, 0]  # the corner after each corner of a quad
_ROUNDING = 1e-9  # tolerance of comparisons: relative for widths, in pixels for heights


@dataclass(frozen=True, eq=False)
class Polygons:
    """n outlines with M corners in all, stored one after another. Edge m starts at corner m."""

    corners: np.ndarray  # float64 (2, M)
    next: np.ndarray  # (M,), the corner at which edge m ends
    ends: np.ndarray  # (2, M), where the edges end
    offsets: np.ndarray  # (n + 1,), the corner at which each outline starts, and M
    low: np.ndarray  # (2, n), smallest x and y
    high: np.ndarray  # (2, n)
    signed_areas: np.ndarray  # (n,), shoelace formula: parts wound the other way count negative
    convex: np.ndarray  # bool (n,), at most four corners, all convex; the area may be 0
    whole: bool  # all coordinates are whole numbers

    @property
    def areas(self) -> np.ndarray:
        return np.abs(self.signed_areas)  # (n,)

    @property
    def flat(self) -> np.ndarray:
        """Which convex outlines have no area, bool (n,)."""
        return self.convex & (self.signed_areas == 0)

    @cached_property
    def simple(self) -> np.ndarray:
        """Which outlines have an area and do not cross themselves, bool (n,).

        The cheap tests come first: convex outlines are simple. Most others are x-monotone
        (`_is_x_monotone`). Shapely tests the rest one by one.
        """
        simple = self.convex & ~self.flat
        if not simple.all():
            simple |= self._is_x_monotone()
            others = np.flatnonzero(~simple)
            simple[others] = shapely.is_valid(self._outlines(others))
        return simple

    @cached_property
    def regions(self) -> np.ndarray:
        """The outlines as valid Shapely geometries, object (n,).

        An outline that crosses itself becomes the region of the even-odd rule: the points that it
        winds around an odd number of times (shapely.make_valid). An outline without area becomes an
        empty polygon.
        """
        geometries = self._outlines(np.arange(len(self.convex)))
        for index in np.flatnonzero(~shapely.is_valid(geometries)):
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
        """The edges as functions y(x). Vertical edges are left out: the area below them is 0."""
        way = self.ends - self.corners
        sloped = way[0] != 0
        start, end, way = self.corners[:, sloped], self.ends[:, sloped], way[:, sloped]
        return _Lines(
            offsets=np.append(0, np.cumsum(sloped))[self.offsets],
            left=np.minimum(start[0], end[0]),
            right=np.maximum(start[0], end[0]),
            y=np.where(way[0] > 0, start[1], end[1]),
            slope=way[1] / way[0],
            sign=np.sign(way[0]),
        )

    def _is_x_monotone(self) -> np.ndarray:
        """Which outlines are x-monotone and do not cross themselves, bool (n,).

        An x-monotone outline has two chains of edges: one runs to the right all the way, one to the
        left. It does not cross itself if one chain stays above the other. Most outlines of
        horizontal texts are of this kind.

        1. The edges that run to the right cover each x of the outline once: their widths add up to
           its width. The outline is closed, so the edges that run to the left cover it once too.
        2. All pairs of an edge to the right and an edge to the left that share some x. Each outline
           is moved to a range of x of its own (`apart`): one binary search among the left ends then
           finds the pairs of all outlines.
        3. The distance between two straight lines has its extremes at the ends of the x that they
           share. At both ends it must have the sign of the outline's area, or be 0.
        """
        # 1.
        lines = self.lines
        owner = np.repeat(np.arange(len(self.convex)), np.diff(lines.offsets))
        there, back = np.flatnonzero(lines.sign > 0), np.flatnonzero(lines.sign < 0)
        run = (lines.right - lines.left)[there]
        across = np.bincount(owner[there], run, len(self.convex))
        once = across <= (self.high[0] - self.low[0]) * (1 + _ROUNDING)

        # 2.
        apart = owner * (np.ptp(self.corners[0]) + 1)
        left, right = apart + lines.left, apart + lines.right
        back = back[np.argsort(left[back])]
        first = np.searchsorted(left[back], left[there], "right") - 1
        pair, beside = ranges(np.maximum(first, 0), np.searchsorted(left[back], right[there]))
        there, back = there[pair], back[beside]

        # 3.
        start = np.maximum(lines.left[there], lines.left[back])
        end = np.minimum(lines.right[there], lines.right[back])
        distance = [lines.at(back, x) - lines.at(there, x) for x in (start, end)]
        side = np.sign(self.signed_areas)[owner[there]]
        crossed = (np.min(distance * side, axis=0) < -_ROUNDING) & (start < end)
        once[owner[there[crossed]]] = False
        return once & (self.signed_areas != 0)

    def _outlines(self, index: np.ndarray) -> np.ndarray:
        """The outlines at the given indices as Shapely polygons, valid or not, object (k,)."""
        owner, corner = spans(self.offsets, index)
        return shapely.polygons(shapely.linearrings(self.corners[:, corner].T, indices=owner))


class _Lines(NamedTuple):
    """The L edges of n outlines that are not vertical, outline by outline."""

    offsets: np.ndarray  # (n + 1,)
    left: np.ndarray  # (L,), smallest x
    right: np.ndarray  # (L,)
    y: np.ndarray  # (L,), y at the left end
    slope: np.ndarray  # (L,)
    sign: np.ndarray  # (L,), 1 for an edge that runs to the right, -1 for one to the left

    def at(self, line: np.ndarray, x: np.ndarray) -> np.ndarray:
        """y of the lines with these indices, each at its x."""
        return self.y[line] + self.slope[line] * (x - self.left[line])


def checked(images: Sequence[Sequence[np.ndarray]], name: str) -> tuple[RaggedPolygons, list[int]]:
    """The polygons of N images, float32, and the index at which those of each image start, N + 1.

    Args:
        name: of the polygons, for the error message.

    Raises:
        ValueError: a polygon has another shape than (P >= 3, 2), or a coordinate that is not
            finite. The message gives its index within its image.
    """
    arrays = [[np.asarray(polygon, np.float32) for polygon in image] for image in images]
    offsets = list(accumulate(map(len, arrays), initial=0))
    together = list(chain.from_iterable(arrays))
    if all(array.ndim == 2 and array.shape[1] == 2 for array in together):
        ragged = RaggedPolygons.pack(together)
        if (ragged.counts >= 3).all() and np.isfinite(ragged.points).all():
            return ragged, offsets
    raise ValueError(next(filter(None, (_fault(image, name) for image in arrays))))


def _fault(polygons: Sequence[np.ndarray], name: str) -> str | None:
    """What is wrong with the first invalid polygon; None where all are valid."""
    for index, array in enumerate(polygons):
        if array.ndim != 2 or array.shape[1] != 2 or len(array) < 3:
            return f"{name} polygon {index} has shape {array.shape}: need (P >= 3, 2)"
    for index, array in enumerate(polygons):
        if not np.isfinite(array).all():
            return f"{name} polygon {index} has a coordinate that is not finite"
    return None


def measure(ragged: RaggedPolygons, *, truncated: bool) -> Polygons:
    """The measurements of n polygons.

    1. Corners as float64 (2, M): whole numbers of pixels and their products are exact in float64.
    2. Areas by the shoelace formula.
    3. An outline of at most four corners is convex if every corner lies on the inner side of every
       edge, or on its line. A triangle becomes a quad by repeating its last corner.

    Args:
        truncated: truncate the corners to whole pixels, as the authors' CLEval package does.
    """
    # 1.
    offsets, counts = ragged.offsets, ragged.counts
    corners = ragged.points.T.astype(np.float64, order="C")  # (2, M)
    corners = np.trunc(corners) if truncated else corners
    ends = corners[:, ragged.next]

    # 2.
    signed_areas = ragged.reduce(np.add, cross(corners, ends)) / 2

    # 3.
    convex = counts <= 4
    if convex.any():
        short = np.flatnonzero(convex)
        quads = corners[:, four_corners(offsets, short)]
        turned = np.where(signed_areas[short] < 0, -1, 1) * sides(quads, quads)
        convex[short] = (turned >= 0).all(axis=(0, 1))
    return Polygons(
        corners=corners,
        next=ragged.next,
        ends=ends,
        offsets=offsets,
        low=ragged.reduce(np.minimum, corners, axis=1),
        high=ragged.reduce(np.maximum, corners, axis=1),
        signed_areas=signed_areas,
        convex=convex,
        whole=truncated,
    )


def spans(offsets: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For the outlines at `index`: the place in `index`, and the corner, of all their corners."""
    return ranges(offsets[index], offsets[index + 1])


def four_corners(offsets: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Indices of the corners of K short outlines, (4, K). A triangle repeats its last corner."""
    return np.minimum(offsets[index] + np.arange(4)[:, None], offsets[index + 1] - 1)


def sides(points: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """On which side of window edge e point p lies: positive inside, 0 on the line of the edge.

    The value is the cross product of the edge and the vector from its start to the point: twice the
    area of their triangle. Windows are counter-clockwise (x to the right, y up).

    points (2, P, K), windows (2, 4, K) -> (4, P, K).
    """
    edges = windows[:, NEXT] - windows
    return cross(edges[:, :, None], points[:, None] - windows[:, :, None])
