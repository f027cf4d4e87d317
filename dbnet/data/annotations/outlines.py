"""Checks outlines and repairs those that can be repaired.

A text whose outline is wrong is still printed on the paper. Left out, it would be learned as
background. So an outline is repaired if its shape can be known; else its region is ignored: it is
neither learned nor counted. Only what has no region, or none inside the image, is dropped.
"""

from typing import NamedTuple

import numpy as np
import shapely

from dbnet.ragged import RaggedPolygons

OUTSIDE = "outside the image"

# Polygons whose convex hull is smaller, in square pixels, count as zero area.
_MIN_AREA = 1e-3

# Where an outline crosses itself, the share of its area that makes the largest part stand for it.
_LARGEST_PART = 0.9


class OutlineStatus(NamedTuple):
    """What is done with an outline, and why; both are "" where it is used as it is."""

    verdict: str  # "repaired", "ignored" (only its region is known) or "dropped" (not even that)
    reason: str  # the kind of repair, or what is wrong


def repair_polygons(
    points: list[np.ndarray], sizes: list[tuple[int, int]]
) -> tuple[list[np.ndarray], list[OutlineStatus]]:
    """Simple polygons of all outlines of a split.

    Args:
        points: n arrays float64 (P, 2), any P, finite or not, in pixels of the upright image.
        sizes: n heights and widths, of each one's image.

    Returns:
        n polygons float32 (P, 2) without repeated points, valid unless dropped, and n statuses.
    """
    polygons, reasons = check_polygons(points, sizes)
    statuses = [OutlineStatus("dropped" if reason else "", reason) for reason in reasons]
    found = {i: repaired for i, r in enumerate(reasons) if (repaired := _repair(points[i], r))}
    again = check_polygons([polygon for polygon, _ in found.values()], [sizes[i] for i in found])
    for i, polygon, reason in zip(found, *again, strict=True):
        polygons[i] = polygon
        statuses[i] = OutlineStatus("dropped", reason) if reason else found[i][1]
    return polygons, statuses


def _repair(points: np.ndarray, reason: str) -> tuple[np.ndarray, OutlineStatus] | None:
    """Another outline for one that is wrong, float64 (P, 2); None where there is none."""
    if reason == "self-crossing":
        return _uncrossed(points)
    if reason == "not finite":
        points = points[(np.abs(points) <= np.finfo(np.float32).max).all(axis=1)]
        return (_hull(points), OutlineStatus("ignored", reason)) if _has_area(points) else None
    if reason == "fewer than 3 points" and len(points) == 2 and (points[0] != points[1]).all():
        (x0, y0), (x1, y1) = points
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), OutlineStatus("ignored", reason)
    return None


def _uncrossed(points: np.ndarray) -> tuple[np.ndarray, OutlineStatus]:
    """Of an outline that crosses itself.

    1. Four points are those of a quad, whatever their order.
    2. Of more, the largest part is taken where it has nearly all of the area.
    3. Else the second half of an even number may be the lower side of a text, written in the
       direction of the upper one.
    4. Else only the region is known: the convex hull.
    """
    ring = points[(points != np.roll(points, -1, axis=0)).any(axis=1)]
    if len(ring) == 4 and (quad := _largest_simple(ring, [[0, 1, 3, 2], [0, 2, 1, 3]])) is not None:
        return quad, OutlineStatus("repaired", "corners reordered")
    parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(shapely.polygons(ring))))
    areas = shapely.area(parts)
    if areas.max(initial=0) >= _LARGEST_PART * max(areas.sum(), _MIN_AREA):
        largest = shapely.get_coordinates(parts[areas.argmax()].exterior)[:-1]
        return _begun_alike(largest, ring), OutlineStatus("repaired", "crossing cut off")
    half, odd = divmod(len(ring), 2)
    order = [*range(half), *range(len(ring) - 1, half - 1, -1)]
    if not odd and (repaired := _largest_simple(ring, [order])) is not None:
        return repaired, OutlineStatus("repaired", "corners reordered")
    return _hull(ring), OutlineStatus("ignored", "self-crossing")


def _largest_simple(ring: np.ndarray, orders: list[list[int]]) -> np.ndarray | None:
    """The points in the one of the orders that gives the largest simple polygon, if one does."""
    outlines = [shapely.polygons(ring[order]) for order in orders]
    simple = [outline for outline in outlines if outline.is_valid and outline.area >= _MIN_AREA]
    return shapely.get_coordinates(max(simple, key=shapely.area))[:-1] if simple else None


def _begun_alike(outline: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """The outline in the direction of `ring` and from its first point: a text has a beginning."""
    if _signed_area(outline) * _signed_area(ring) < 0:
        outline = outline[::-1]
    first = np.linalg.norm(outline - ring[0], axis=1).argmin()
    return np.roll(outline, -first, axis=0)


def _signed_area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _has_area(points: np.ndarray) -> bool:
    return shapely.MultiPoint(points).convex_hull.area >= _MIN_AREA


def _hull(points: np.ndarray) -> np.ndarray:
    return shapely.get_coordinates(shapely.MultiPoint(points).convex_hull.exterior)[:-1]


def check_polygons(
    points: list[np.ndarray], sizes: list[tuple[int, int]]
) -> tuple[list[np.ndarray], np.ndarray]:
    """What is wrong with each outline, for all of a split at once.

    Args:
        points: n arrays float64 (P, 2).
        sizes: n heights and widths, of each one's image.

    Returns:
        n polygons float32 (P, 2) without repeated points, and an object array (n,) of what is
        wrong with them, "" if nothing.
    """
    count = len(points)
    reasons = np.full(count, "", object)
    if not count:
        return [], reasons

    def drop(bad: np.ndarray, reason: str) -> None:
        reasons[bad & (reasons == "")] = reason

    ragged = RaggedPolygons.pack(points)
    owner = ragged.owner
    with np.errstate(over="ignore"):
        flat = ragged.points.astype(np.float32)  # (M, 2)
    drop(np.bincount(owner[~np.isfinite(flat).all(axis=1)], minlength=count) > 0, "not finite")
    drop(ragged.counts < 3, "fewer than 3 points")

    differs = (flat != flat[ragged.next]).any(axis=1)
    flat, owner = flat[differs], owner[differs]
    ragged = RaggedPolygons(flat, np.searchsorted(owner, np.arange(count + 1)))
    drop(ragged.counts < 3, "zero area")

    good = np.flatnonzero(reasons == "")
    rows = np.isin(owner, good)
    rings = shapely.linearrings(flat[rows], indices=np.searchsorted(good, owner[rows]))
    outlines = np.full(count, None, object)
    outlines[good] = shapely.polygons(rings)
    thin = shapely.area(outlines) < _MIN_AREA  # or a figure of eight, whose halves cancel
    thin[thin] = shapely.area(shapely.convex_hull(outlines[thin])) < _MIN_AREA
    drop(thin, "zero area")
    drop(~shapely.is_valid(outlines), "self-crossing")
    height, width = np.array(sizes, np.float64).T  # (n,) each
    frame = shapely.box(-0.5, -0.5, width - 0.5, height - 0.5)  # pixels reach half a unit around
    drop(~shapely.intersects(outlines, frame), OUTSIDE)
    return ragged.split(), reasons
