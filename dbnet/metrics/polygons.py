"""Polygons of one image or of several, all in a row and measured: what the metrics start from.

Coordinates are (2, ...), x and y first, so that numpy works on long rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from typing import NamedTuple

import numpy as np
import shapely

from dbnet.ragged import RaggedPolygons, cross, ranges

NEXT = [1, 2, 3, 0]  # corner after each of a quad
_ROUNDING = 1e-9  # relative to widths, in pixels for heights: nothing is decided by last digits


@dataclass(frozen=True, eq=False)
class Polygons:
    """n outlines, all their M corners in a row. Corner m is where edge m starts."""

    corners: np.ndarray  # float64 (2, M)
    next: np.ndarray  # (M,), the corner at which edge m ends
    ends: np.ndarray  # (2, M), where the edges end
    offsets: np.ndarray  # (n + 1,), where in the row each outline starts, and M
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
        """Which outlines have an area and wind around no point twice, bool (n,).

        From the cheap test to the dear one: short convex outlines are simple, most others run
        across once (`_once_across`), and Shapely decides the rest one by one.
        """
        simple = self.convex & ~self.flat
        if not simple.all():
            simple |= self._once_across()
            others = np.flatnonzero(~simple)
            simple[others] = shapely.is_valid(self._outlines(others))
        return simple

    @cached_property
    def regions(self) -> np.ndarray:
        """The outlines as valid Shapely geometries, object (n,).

        A self-crossing outline becomes the points it winds around an odd number of times
        (shapely.make_valid); what has no area becomes an empty polygon.
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
        """The edges as functions y of x; upright ones, below which nothing lies, are left out."""
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

    def _once_across(self) -> np.ndarray:
        """Which outlines run over each x once to the right, and on one side of it back, (n,).

        Such an outline cannot cross itself. A text's outline is of this kind if its upper side has
        one height at each x and so has its lower side.

        1. The edges to the right cover the outline's width once: their widths add up to it.
           The outline is closed, hence the edges to the left cover it once too.
        2. Every pair of an edge to the right and one to the left over the same x: a search among
           the left ends finds them for all outlines at once, because each outline is moved to a
           place of its own along x.
        3. The distance between two lines is largest or smallest at an end of the x they share. It
           must have the sign of the area at both: the way back stays on one side.
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
        """Some of them as Shapely polygons, valid or not, object (len(index),)."""
        owner, corner = spans(self.offsets, index)
        return shapely.polygons(shapely.linearrings(self.corners[:, corner].T, indices=owner))


class _Lines(NamedTuple):
    """L edges that are not upright, those of each of n outlines in a row."""

    offsets: np.ndarray  # (n + 1,)
    left: np.ndarray  # (L,), smallest x
    right: np.ndarray  # (L,)
    y: np.ndarray  # (L,), at the left
    slope: np.ndarray  # (L,)
    sign: np.ndarray  # (L,), 1 to the right, -1 to the left

    def at(self, line: np.ndarray, x: np.ndarray) -> np.ndarray:
        return self.y[line] + self.slope[line] * (x - self.left[line])


def checked(images: Sequence[Sequence[np.ndarray]], name: str) -> tuple[RaggedPolygons, list[int]]:
    """The polygons of N images in a row, float32, and where those of each image start, N + 1.

    Raises ValueError that says which `name` polygon is none.
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
    """What is wrong with the first polygon that is none."""
    for index, array in enumerate(polygons):
        if array.ndim != 2 or array.shape[1] != 2 or len(array) < 3:
            return f"{name} polygon {index} has shape {array.shape}: need (P >= 3, 2)"
    for index, array in enumerate(polygons):
        if not np.isfinite(array).all():
            return f"{name} polygon {index} has a coordinate that is not finite"
    return None


def pack(polygons: Sequence[np.ndarray], *, truncated: bool) -> Polygons:
    """n (P, 2) arrays in a row and measured, see `measure`."""
    return measure(RaggedPolygons.pack(polygons), truncated=truncated)


def measure(ragged: RaggedPolygons, *, truncated: bool) -> Polygons:
    """n polygons measured, with corners `truncated` to whole pixels or as they are.

    1. Corners as (2, M), float64: whole pixels and their products are exact in it.
    2. Areas by the shoelace formula.
    3. Short outlines are convex if no corner lies outside any edge's side; a triangle's last
       corner is taken twice.
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
    """Where in a row the parts of some outlines lie, after the outline's place in `index`."""
    return ranges(offsets[index], offsets[index + 1])


def four_corners(offsets: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Where in a row the corners of some short outlines lie, (4, K); triangles repeat the last."""
    return np.minimum(offsets[index] + np.arange(4)[:, None], offsets[index + 1] - 1)


def sides(points: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Which side of window edge e point p lies on: positive inside, 0 on its line.

    points (2, P, K), windows (2, 4, K) -> (4, P, K).
    """
    edges = windows[:, NEXT] - windows
    return cross(edges[:, :, None], points[:, None] - windows[:, :, None])
