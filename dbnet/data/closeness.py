"""The border of texts for the threshold map: closeness 1 - d / D to the nearest edge.

Each edge visits only the pixels near it, in columns along the axis that it is more parallel to.
Pixel centres have whole coordinates, as in `targets.py`.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dbnet.ragged import RaggedPolygons

_BLOCK = 1 << 15  # pixels processed at a time: the temporary arrays stay in the processor's cache


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


def draw_closeness(canvas: np.ndarray, polygons: RaggedPolygons, reach: np.ndarray) -> None:
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
    if not len(polygons):
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
    polygons: RaggedPolygons, reach: np.ndarray, height: int, width: int
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
    ragged = polygons.with_points(polygons.points.astype(np.float64))
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
    borders = [0, *cuts.tolist(), len(rows)]
    return [_Columns(*table[:, i:j]) for i, j in pairwise(borders)] if len(rows) else []
