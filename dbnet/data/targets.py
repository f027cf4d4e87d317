"""Ground-truth maps of DBNet (section 3.4): kernels for the probability, bands for the threshold.

D = A (1 - r^2) / L is a text's offset. Its kernel is the outline moved inwards by D, its band the
pixels closer than D to the outline. All texts of an image are worked on together: their points lie
in one array, and each edge visits only the pixels near it, so that the cost follows the length of
the outlines and not the area of the image.
"""

from itertools import chain, compress
from typing import NamedTuple

import cv2
import numpy as np

from dbnet import geometry
from dbnet.ragged import RaggedPolygons, cross
from dbnet.structures import TargetMaps

_UPRIGHT = 0.9  # an upright kernel fills more than this share of its bounding box
MIN_SIDE = 3.0
"""Pixels at the network. Texts whose shorter side is below leave no kernel worth learning."""

_LARGEST = 1e9  # a larger coordinate does not fit the integers of the polygon filler
_ONE_TURN = 7.0  # radians: a polygon that goes around once turns by 2 pi, a star by 4 pi
_BLOCK = 1 << 15  # pixels worked on at a time: the temporaries stay in the processor's cache


def make_targets(
    polygons: list[np.ndarray],
    ignored: np.ndarray,
    height: int,
    width: int,
    *,
    shrink_ratio: float,
    thresh_min: float,
    thresh_max: float,
) -> TargetMaps:
    """Draw the four maps, (height, width), of one image.

    `polygons` are n x float32 (P, 2) in pixels of the image and may leave it; `ignored` is bool
    (n,). A text is *learnable* if it is not ignored, has three points or more, is at least
    MIN_SIDE pixels thick (shorter side of the smallest rectangle around it) and has a kernel.

    - shrink_map: 1 in the kernels of learnable texts, outline pixels included. Upright pieces
      are first snapped to whole pixels, size before place: growing them back multiplies an error
      of the size, up to 1 / r^2 times for long texts. Corners of others are rounded one by one.
    - shrink_mask: 0 in all other texts, so that none is taken for background, except where the
      kernel of a learnable one lies: that is certain to be text. 1 elsewhere.
    - thresh_map: thresh_max on the outline of a learnable text, falling with the distance d to the
      nearest edge to thresh_min at D and beyond; the highest value where texts overlap.
    - thresh_mask: 1 inside the learnable texts and closer than D to their outlines.

    The order of the texts does not matter. Raises ValueError for a coordinate that is NaN,
    infinite or beyond 1e9.

    The reference implementation (MhLiao/DB) differs in details: it masks kernels under an ignored
    text, draws one piece of a kernel only, truncates corners to whole pixels, which moves every
    text by half a pixel, and fills the polygon grown by D for thresh_mask.
    """
    _check(polygons)
    thick: list[np.ndarray] = []
    masked: list[np.ndarray] = []
    for polygon, is_ignored in zip(polygons, ignored, strict=True):
        (masked if is_ignored or _short_side(polygon) < MIN_SIDE else thick).append(polygon)
    kernels, reach = _shrink(thick, shrink_ratio)
    has_kernel = [len(pieces) > 0 for pieces in kernels]
    learnable = list(compress(thick, has_kernel))
    masked += [polygon for polygon, keep in zip(thick, has_kernel, strict=True) if not keep]

    maps = TargetMaps(
        shrink_map=np.zeros((height, width), np.uint8),
        shrink_mask=np.ones((height, width), np.uint8),
        thresh_map=np.zeros((height, width), np.float32),
        thresh_mask=np.zeros((height, width), np.uint8),
    )
    _fill(maps.shrink_map, _snap(list(chain.from_iterable(kernels))), 1)
    _fill(maps.shrink_mask, masked, 0)
    np.maximum(maps.shrink_mask, maps.shrink_map, out=maps.shrink_mask)
    _draw_closeness(maps.thresh_map, learnable, reach[has_kernel])
    np.copyto(maps.thresh_mask, maps.thresh_map > 0)
    _fill(maps.thresh_mask, learnable, 1)
    maps.thresh_map[:] *= thresh_max - thresh_min
    maps.thresh_map[:] += thresh_min
    return maps


def _check(polygons: list[np.ndarray]) -> None:
    if polygons and not (np.abs(np.concatenate(polygons)) < _LARGEST).all():
        number = next(i for i, p in enumerate(polygons) if not (np.abs(p) < _LARGEST).all())
        raise ValueError(f"polygon {number}: a coordinate is not a number below {_LARGEST:.0e}")


def _short_side(polygon: np.ndarray) -> float:
    return min(cv2.minAreaRect(polygon)[1]) if len(polygon) >= 3 else 0.0


def _fill(canvas: np.ndarray, polygons: list[np.ndarray], value: float) -> None:
    """Set the pixels inside and on the outline of any of the polygons."""
    ragged = RaggedPolygons.pack(polygons)
    corners = ragged.with_points(np.round(ragged.points).astype(np.int32))
    for polygon in filter(len, corners.split()):
        # One call per polygon: within a call, overlaps cancel out.
        cv2.fillPoly(canvas, [polygon], value)


def _snap(polygons: list[np.ndarray]) -> list[np.ndarray]:
    """Move upright kernels to whole pixels; the others stay as they are.

    A kernel is upright if it fills its bounding box. The box is scaled to the nearest whole size,
    then moved to the nearest whole place.
    """
    if not polygons:
        return []
    ragged = RaggedPolygons.pack(polygons)
    low, high = ragged.bounds  # (n, 2)
    size = high - low
    whole = np.round(size)
    upright = (np.abs(ragged.signed_areas) > _UPRIGHT * size.prod(axis=1))[:, None]
    start = np.where(upright, np.round((low + high - whole) / 2), low)
    factor = np.divide(whole, size, out=np.ones_like(size), where=upright & (size > 0))
    snapped = ragged.repeat(start)  # (M, 2)
    snapped += (ragged.points - ragged.repeat(low)) * ragged.repeat(factor)
    return ragged.with_points(snapped).split()


def _shrink(
    polygons: list[np.ndarray], shrink_ratio: float
) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Kernels of n polygons, each a list of pieces, and their D, float64 (n,).

    1. D = A (1 - r^2) / L (DBNet, section 3.4) of all polygons at once.
    2. Moving an edge inwards by D moves a corner along its bisector: by D (after - before) / sin,
       with the unit vectors of the edges before and after it and the sine of the angle between
       them. That is the kernel where the polygon is convex, goes around once, and no edge has
       shrunk to nothing: all such polygons are done at once.
    3. Every other polygon goes through the clipper, one by one.

    The clipper works in thousandths of a pixel and returns polygons wound in one direction. Step 2
    rounds and winds them alike: a corner halfway between two pixels may be drawn at either.
    """
    if not polygons:
        return [], np.zeros(0)
    # 1.
    ragged = RaggedPolygons.pack(polygons)
    ragged = ragged.with_points(ragged.points.astype(np.float64))
    areas = ragged.signed_areas  # (n,)
    distances = np.abs(areas) * (1 - shrink_ratio**2) / ragged.perimeters

    # 2.
    edges = ragged.edges  # (M, 2), from each corner to the next
    after = edges / np.maximum(np.hypot(edges[:, 0], edges[:, 1]), 1e-9)[:, None]
    before = np.empty_like(after)
    before[ragged.next] = after
    winding = np.where(areas < 0, -1, 1)
    sines = cross(before.T, after.T) * ragged.repeat(winding)  # above 0 at convex corners
    angles = np.arctan2(sines, (before * after).sum(axis=1))
    is_convex = sines > 1e-6
    steps = (after - before) / np.where(is_convex, sines, 1.0)[:, None]
    moved = np.round(ragged.points, 3) + steps * ragged.repeat(distances)[:, None]
    moved = ragged.with_points(np.round(moved, 3).astype(np.float32))
    is_left = (moved.edges * after).sum(axis=1) > 0
    is_direct = ragged.reduce(np.logical_and, is_convex & is_left)
    is_direct &= ragged.reduce(np.add, angles) < _ONE_TURN

    # 3.
    kernels = [
        [kernel[::turn]] if direct else _clip(polygon, distance)
        for polygon, kernel, turn, direct, distance in zip(
            polygons, moved.split(), winding, is_direct, distances, strict=True
        )
    ]
    return kernels, distances


def _clip(polygon: np.ndarray, distance: float) -> list[np.ndarray]:
    return geometry.offset(polygon, -distance) if distance > 0 else []


class _Columns(NamedTuple):
    """G groups of neighbouring columns that an edge visits, float64 (G,) each.

    An edge runs along u, the axis it is more parallel to (x or y); v is the other axis. Its line is
    v = v_middle + slope (u - u_middle). A column holds the pixels at one whole u.
    """

    kind: np.ndarray  # 2 where v is x and u is y, plus 1 where the columns are beside an end
    rows: np.ndarray  # pixels per column
    width: np.ndarray  # number of columns
    first_u: np.ndarray  # u of the first column
    u_middle: np.ndarray  # of the edge
    v_middle: np.ndarray
    slope: np.ndarray  # dv / du, -1..1
    low: np.ndarray  # v at u = 0 of the line's parallel at D, on the side of smaller v
    rise: np.ndarray  # distance to the line gained per pixel along v, in D
    half: np.ndarray  # half the edge's length, in D


def _draw_closeness(canvas: np.ndarray, polygons: list[np.ndarray], reach: np.ndarray) -> None:
    """Raise `canvas`, float32 (H, W), to 1 - d / D around the outlines of n polygons.

    `reach` holds their D. For each column of each edge:

    1. The first pixel is the one above the lower parallel, moved into the image.
    2. The distance to the line, in D, is -1 at that parallel and grows by `rise` per pixel.
    3. Beside an end, the nearest point is the end itself: what a pixel lies beyond it, along the
       edge, is the other side of a right triangle.
    4. Pixels farther than D get closeness below 0, which changes nothing.
    """
    if not polygons:
        return
    height, width = canvas.shape
    pixels = canvas.reshape(-1)
    for block in _column_blocks(polygons, reach, height, width):
        steep, beside_end = divmod(int(block.kind[0]), 2)
        u_stride, v_stride, v_size = (width, 1, width) if steep else (1, width, height)
        rows = int(block.rows.max())
        count = block.width.astype(np.int64)
        before = np.cumsum(count) - count
        per_group = np.stack([block.first_u - before, *block[4:]])  # from u_middle on
        # From here on one value per column, (C,).
        shift, u_middle, v_middle, slope, low, rise, half = np.repeat(per_group, count, axis=1)
        u = np.arange(len(shift)) + shift

        # 1.
        low += slope * u
        v = np.minimum(np.maximum(np.ceil(low), 0), v_size - rows)
        step = np.arange(rows)[:, None]
        index = (u * u_stride + v * v_stride).astype(np.int64) + step * v_stride  # (rows, C)

        # 2.
        across = rise * (v - low) - 1
        if beside_end:
            # 3.
            along = rise * (slope * (v - v_middle) + u - u_middle)
            beyond = np.maximum(np.abs(rise * slope * step + along) - half, 0)
            across = rise * step + across
            distance = np.sqrt(across * across + beyond * beyond).astype(np.float32)
        else:
            distance = rise.astype(np.float32) * step.astype(np.float32)
            distance += across.astype(np.float32)
            np.abs(distance, out=distance)

        # 4.
        closeness = np.subtract(1, distance, out=distance)
        np.maximum.at(pixels, index.reshape(-1), closeness.reshape(-1))


def _column_blocks(
    polygons: list[np.ndarray], reach: np.ndarray, height: int, width: int
) -> list[_Columns]:
    """The columns that each edge has to visit, in blocks of one kind and about _BLOCK pixels.

    1. Each edge is taken to its own frame, u and v.
    2. At every whole u near it, an edge visits the pixels between its two parallels at distance D.
       They are 2 / rise apart along v.
    3. Its columns form three groups: beside one end, between the ends, beside the other. Between
       the ends, every pixel of the column is nearest to a point inside the edge. The end's own
       perpendicular leans away from the column by |slope| * cosine * D. Beyond D no pixel counts.
    4. Groups are sorted by kind and size, and cut into blocks.
    """
    # 1.
    ragged = RaggedPolygons.pack(polygons)
    ragged = ragged.with_points(ragged.points.astype(np.float64))
    reach = ragged.repeat(reach)  # (M,), of each edge
    starts, ends = ragged.points, ragged.points[ragged.next]
    middle, extent = (starts + ends).T / 2, (ends - starts).T  # (2, M)
    steep = np.abs(extent[1]) > np.abs(extent[0])
    u, v = np.where(steep, middle[::-1], middle)
    du, dv = np.where(steep, extent[::-1], extent)
    u_size, v_size = np.where(steep, [[height], [width]], [[width], [height]])

    # 2.
    half = np.abs(du) / 2
    slope = dv / np.where(du == 0, 1, du)
    cosine = 1 / np.sqrt(1 + slope * slope)
    rise = cosine / reach
    rows = np.minimum(np.floor(2 / rise) + 1, v_size)

    # 3.
    between = half - np.abs(slope) * cosine * reach
    outer = half + reach
    in_sight = np.abs(v - (v_size - 1) / 2) <= (v_size - 1 + np.abs(dv)) / 2 + reach
    borders = np.ceil([u - outer, u - between, u + between, u + outer])
    borders = np.minimum(np.maximum(borders, 0), u_size * in_sight)  # (4, M)
    table = np.empty((len(_Columns._fields), 3, len(u)))
    columns = _Columns(*table)  # views
    columns.kind[:] = 2 * steep + np.array([[1], [0], [1]])
    columns.rows[:] = rows
    columns.width[:] = np.diff(borders, axis=0)  # below 0 between the ends of a short edge: dropped
    columns.first_u[:] = borders[:-1]
    columns.u_middle[:] = u
    columns.v_middle[:] = v
    columns.slope[:] = slope
    columns.low[:] = v - slope * u - 1 / rise
    columns.rise[:] = rise
    columns.half[:] = half / (cosine * reach)

    # 4.
    return _blocks(table[:, columns.width > 0])


def _blocks(table: np.ndarray) -> list[_Columns]:
    """The groups, float64 (fields, G), sorted by kind and size and cut into blocks."""
    kind, rows, _ = table[:3]
    table = table[:, np.lexsort([rows, kind])]
    columns = _Columns(*table)
    # A block's columns are all made as long as its longest. 1..3 pixels go together, 4..15, 16..63.
    length_class = (np.frexp(columns.rows)[1] + 1) // 2
    number = np.cumsum(columns.rows * columns.width) // _BLOCK
    labels = np.stack([columns.kind, length_class, number])
    cuts = np.flatnonzero(np.diff(labels, axis=1).any(axis=0)) + 1
    return [_Columns(*block) for block in np.split(table, cuts, axis=1)] if table.size else []
