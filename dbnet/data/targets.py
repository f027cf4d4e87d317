"""Ground-truth maps of DBNet (Liao et al., AAAI 2020, section 3.4).

A text with area A and perimeter L has the offset D = A (1 - r^2) / L. r is the shrink ratio.

- Its kernel is the outline moved inwards by D. The probability map is trained on the kernels.
- Its border is the pixels closer than D to the outline. The threshold map is trained there: it
  falls linearly with the distance d to the outline, as 1 - d / D.

All texts of an image are processed together: their points lie in one array, and each edge visits
only the pixels near it. The cost grows with the length of the outlines, not with the image's area.

Pixel centres have whole coordinates: the pixel in column 3 of row 5 is the point x = 3, y = 5.
`dbnet/reference/targets.py` computes the same maps with a loop over texts and pixels.

MhLiao/DB, the paper's code, differs in these details: it masks kernels under an ignored text; it
draws only one piece of a kernel that falls apart; it truncates corners to whole pixels, which moves
every text by half a pixel; for thresh_mask it fills the polygon grown by D.
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
"""Pixels at the network's input. The kernel of a text with a shorter side below this is too thin to
be learned."""

_LARGEST = 1e9  # a larger coordinate does not fit the integers of the polygon filler
_ONE_TURN = 7.0  # radians: a simple polygon turns by 2 pi, one that winds around twice by 4 pi
_BLOCK = 1 << 15  # pixels processed at a time: the temporary arrays stay in the processor's cache


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

    A text is *learnable* if it is not ignored, has three points or more, is at least MIN_SIDE
    pixels thick (shorter side of its smallest enclosing rectangle) and has a kernel. The order of
    the texts does not matter.

    - shrink_map: 1 in the kernels of learnable texts, outline pixels included. 0 elsewhere.
    - shrink_mask: 0 in all texts that are not learnable: the loss must not treat them as
      background. 1 elsewhere, and 1 wherever the kernel of a learnable text lies.
    - thresh_map: thresh_max on the outline of a learnable text. It falls linearly with the distance
      d to the nearest edge, to thresh_min at d = D and beyond. In overlaps the maximum counts.
    - thresh_mask: 1 inside the learnable texts and closer than D to their outlines. 0 elsewhere.

    Args:
        polygons: n x float32 (P, 2), xy in pixels of the image. They may extend beyond the image.
        ignored: bool (n,).

    Raises:
        ValueError: a coordinate is NaN, infinite or beyond 1e9.
    """
    _check(polygons)
    # 1. Ignored texts and thin texts are masked.
    thick: list[np.ndarray] = []
    masked: list[np.ndarray] = []
    for polygon, is_ignored in zip(polygons, ignored, strict=True):
        (masked if is_ignored or _short_side(polygon) < MIN_SIDE else thick).append(polygon)
    # 2. The others are shrunk. Texts without a kernel are masked too.
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
    # 3. A masked text may overlap a kernel. The maximum sets these pixels of the mask back to 1.
    _fill(maps.shrink_map, _snap(list(chain.from_iterable(kernels))), 1)
    _fill(maps.shrink_mask, masked, 0)
    np.maximum(maps.shrink_mask, maps.shrink_map, out=maps.shrink_mask)
    # 4. Closeness 1 - d / D. Inner pixels of a thick text are farther than D: _fill adds them.
    _draw_closeness(maps.thresh_map, learnable, reach[has_kernel])
    np.copyto(maps.thresh_mask, maps.thresh_map > 0)
    _fill(maps.thresh_mask, learnable, 1)
    # 5. From 0..1 to thresh_min..thresh_max.
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
    """Set the pixels inside and on the outline of each polygon. Corners are rounded to pixels."""
    ragged = RaggedPolygons.pack(polygons)
    corners = ragged.with_points(np.round(ragged.points).astype(np.int32))
    for polygon in filter(len, corners.split()):
        # One call per polygon: cv2 leaves pixels empty where two polygons of a call overlap.
        cv2.fillPoly(canvas, [polygon], value)


def _snap(polygons: list[np.ndarray]) -> list[np.ndarray]:
    """Scale and move upright kernels to whole pixels; other kernels are returned unchanged.

    A kernel is upright if it fills its bounding box. The box gets the nearest whole size first, and
    then the nearest whole position. Rounding its corners one by one would change the size by up to
    a pixel, and post-processing multiplies an error of the size, by up to 1 / r^2 for long texts.
    An error of the position is not multiplied.
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
    2. Where both edges of a corner move inwards by D, the corner moves along its bisector, by
       D (after - before) / sin t. `before` and `after` are the unit vectors of its two edges, and t
       is the angle between them. The moved corners are the kernel if three conditions hold: the
       polygon is convex, it turns by 2 pi in all, and every moved edge still runs in its earlier
       direction, so that none has shrunk to nothing. Such polygons are computed all at once.
    3. Every other polygon goes through the clipper (Vatti clipping, as in MhLiao/DB), one by one.

    The clipper rounds to thousandths of a pixel and returns all polygons wound in one direction.
    Step 2 rounds and winds in the same way: a corner halfway between two pixels would otherwise be
    drawn at one pixel or the other, depending on the path taken.
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
    is_convex = sines > 1e-6  # of a straight corner, the step below would divide by 0
    steps = (after - before) / np.where(is_convex, sines, 1.0)[:, None]
    moved = np.round(ragged.points, 3) + steps * ragged.repeat(distances)[:, None]
    moved = ragged.with_points(np.round(moved, 3).astype(np.float32))
    keeps_direction = (moved.edges * after).sum(axis=1) > 0  # (M,), per edge
    is_direct = ragged.reduce(np.logical_and, is_convex & keeps_direction)
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

    u is the axis (x or y) that the edge is more parallel to, v is the other one. The edge lies on
    the line v = v_middle + slope (u - u_middle). A column is the visited pixels at one whole u.
    """

    kind: np.ndarray  # 2 if u is y, 0 if u is x; plus 1 if the columns are near an end point
    rows: np.ndarray  # pixels per column
    width: np.ndarray  # number of columns
    first_u: np.ndarray  # u of the first column
    u_middle: np.ndarray  # of the edge
    v_middle: np.ndarray
    slope: np.ndarray  # dv / du, -1..1
    low: np.ndarray  # v at u = 0 of the parallel to the line at distance D, towards smaller v
    rise: np.ndarray  # distance to the line per pixel along v, in units of D
    half: np.ndarray  # half the edge's length, in units of D


def _draw_closeness(canvas: np.ndarray, polygons: list[np.ndarray], reach: np.ndarray) -> None:
    """Raise `canvas`, float32 (H, W), to 1 - d / D around the outlines of n polygons.

    `reach` is the D of each polygon, (n,). All distances below are in units of D. For each column
    of each edge:

    1. The first pixel is the first one behind the parallel at smaller v. It is moved so that all
       `rows` pixels of the column lie in the image.
    2. `across`, the signed distance to the line, is -1 at that parallel and grows by `rise` per
       pixel.
    3. Near an end point, that point may be nearer than the line. `beyond` is how far a pixel lies
       beyond the end, along the edge. The distance to the end point is the hypotenuse.
    4. Pixels farther than D have a closeness below 0. They change nothing, as `canvas` is never
       below 0. Several edges may visit the same pixel: np.maximum.at applies all of them.
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

    1. Each edge gets its own axes, u and v.
    2. At every whole u near it, an edge visits the pixels between its two parallels at distance D.
       These parallels are 2 / rise apart along v.
    3. The columns of an edge form three groups: near one end, between the ends, near the other end.
       A pixel at distance D from the line has its nearest point on the line at another u: the two
       differ by |slope| * cosine * D. Between the ends are the columns that are farther than this
       from both ends: there, the nearest point of every pixel lies on the edge itself. The outer
       groups end at D beyond the ends. Edges that cannot reach the image get no columns.
    4. Groups are sorted by kind and size, and cut into blocks.
    """
    # 1.
    ragged = RaggedPolygons.pack(polygons)
    ragged = ragged.with_points(ragged.points.astype(np.float64))
    reach = ragged.repeat(reach)  # (M,), D of each edge
    starts, ends = ragged.points, ragged.points[ragged.next]
    middle, extent = (starts + ends).T / 2, (ends - starts).T  # (2, M)
    steep = np.abs(extent[1]) > np.abs(extent[0])
    u, v = np.where(steep, middle[::-1], middle)
    du, dv = np.where(steep, extent[::-1], extent)
    u_size, v_size = np.where(steep, [[height], [width]], [[width], [height]])

    # 2.
    half = np.abs(du) / 2
    slope = dv / np.where(du == 0, 1, du)
    cosine = 1 / np.sqrt(1 + slope * slope)  # of the angle between the edge and u
    rise = cosine / reach
    rows = np.minimum(np.floor(2 / rise) + 1, v_size)

    # 3.
    between = half - np.abs(slope) * cosine * reach
    outer = half + reach
    is_near = np.abs(v - (v_size - 1) / 2) <= (v_size - 1 + np.abs(dv)) / 2 + reach
    borders = np.ceil([u - outer, u - between, u + between, u + outer])
    borders = np.minimum(np.maximum(borders, 0), u_size * is_near)  # (4, M)
    table = np.empty((len(_Columns._fields), 3, len(u)))
    columns = _Columns(*table)  # views
    columns.kind[:] = 2 * steep + np.array([[1], [0], [1]])
    columns.rows[:] = rows
    columns.width[:] = np.diff(borders, axis=0)  # below 0 between the ends of a short edge
    columns.first_u[:] = borders[:-1]
    columns.u_middle[:] = u
    columns.v_middle[:] = v
    columns.slope[:] = slope
    columns.low[:] = v - slope * u - 1 / rise
    columns.rise[:] = rise
    columns.half[:] = half / (cosine * reach)

    # 4. Of a short edge, the outer groups overlap; to visit a pixel twice is harmless.
    return _blocks(table[:, columns.width > 0])


def _blocks(table: np.ndarray) -> list[_Columns]:
    """The groups, float64 (fields, G), sorted by kind and size and cut into blocks."""
    kind, rows, _ = table[:3]
    table = table[:, np.lexsort([rows, kind])]
    columns = _Columns(*table)
    # All columns of a block are made as long as its longest one. Columns of similar length are
    # therefore put together: 1..3 pixels, 4..15, 16..63 and so on.
    length_class = (np.frexp(columns.rows)[1] + 1) // 2
    number = np.cumsum(columns.rows * columns.width) // _BLOCK
    labels = np.stack([columns.kind, length_class, number])
    cuts = np.flatnonzero(np.diff(labels, axis=1).any(axis=0)) + 1
    return [_Columns(*block) for block in np.split(table, cuts, axis=1)] if table.size else []
