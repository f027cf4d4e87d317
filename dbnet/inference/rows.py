"""Groups the texts of an image into rows, on skewed, tilted and curled receipts too."""

from typing import NamedTuple

import numpy as np

from dbnet.ragged import RaggedPolygons

_STRAY = np.tan(np.radians(35))  # edges steeper than this against the page are no part of a row
_NEARBY = 6.0  # text heights, up and down, over which rows have the same shape
_STIFF = 0.02  # ridge of the fit: one text alone makes a straight row
_DOUBT = 0.05  # slope (dv / du) by which an edge may differ from its neighbours and still count
_SAME_ROW = 0.5  # of the smaller height, how far the middles of two texts of a row may differ
_SIDE_BY_SIDE = 0.5  # of the smaller width, how far two texts of a row may overlap along it


class Lines(NamedTuple):
    """n texts in a frame in which rows are straight: u along them, v from row to row, pixels."""

    start: np.ndarray  # (n,), smallest u
    end: np.ndarray  # (n,), largest u
    middle: np.ndarray  # (n,), v halfway between top and bottom
    height: np.ndarray  # (n,)


class _Edges(NamedTuple):
    """m edges of outlines that run along the rows."""

    x: np.ndarray  # (m,), place along the row, -1..1 over the page
    v: np.ndarray  # (m,), place across the rows
    length: np.ndarray  # (m,)
    slope: np.ndarray  # (m,), dv / du


def straightened(polygons: list[np.ndarray], angle: float) -> Lines:
    """Undo skew, perspective and curl: slide every point along its row to the page's middle.

    The slope of a row is a parabola in u, fitted for each text to the edges of the outlines at
    about its height, so that it may differ from the top of a receipt to its bottom.
    """
    ragged = RaggedPolygons.pack(polygons)
    points = ragged.points.astype(np.float64)  # (M, 2)
    u = points @ [np.cos(angle), np.sin(angle)]
    v = points @ [-np.sin(angle), np.cos(angle)]
    centre, half = (u.max() + u.min()) / 2, max(np.ptp(u) / 2, 1.0)
    x = (u - centre) / half  # -1..1

    run, rise = u[ragged.next] - u, v[ragged.next] - v  # (M,), of each edge
    in_row = np.abs(rise) < _STRAY * np.abs(run)
    edges = _Edges(
        x=(x + run / half / 2)[in_row],
        v=(v + rise / 2)[in_row],
        length=np.abs(run[in_row]),
        slope=rise[in_row] / run[in_row],
    )
    middle = ragged.reduce(np.add, v) / ragged.counts
    height = np.median(ragged.reduce(np.maximum, v) - ragged.reduce(np.minimum, v))
    curve = _row_slopes(edges, middle, reach=_NEARBY * height)  # (n, 3)

    a, b, c = ragged.repeat(curve).T  # each (M,)
    v = v - half * (a * x + b * x**2 / 2 + c * x**3 / 3)
    top, bottom = ragged.reduce(np.minimum, v), ragged.reduce(np.maximum, v)
    return Lines(
        start=ragged.reduce(np.minimum, u),
        end=ragged.reduce(np.maximum, u),
        middle=(top + bottom) / 2,
        height=bottom - top,
    )


def _row_slopes(edges: _Edges, heights: np.ndarray, *, reach: float) -> np.ndarray:
    """Slope dv / du of rows at n `heights` v as a + b x + c x^2: (n, 3).

    Weighted ridge regression over the edges within about `reach` of each height; edges that
    disagree with the first fits count less in the next ones.
    """
    x, v, length, slope = edges
    basis = np.stack([np.ones_like(x), x, x**2], axis=1)  # (m, 3)
    near = np.exp(-(((v - heights[:, None]) / max(reach, 1.0)) ** 2) / 2) * length  # (n, m)
    weights = near
    curve = np.zeros((len(heights), 3))
    for _ in range(3):
        total = weights.sum(axis=1) + 1e-9
        moments = np.einsum("nm,mi,mj->nij", weights, basis, basis, optimize=True)
        moments += (_STIFF * total)[:, None, None] * np.diag([1e-3, 1, 1])
        curve = np.linalg.solve(moments, ((weights * slope) @ basis)[..., None])[..., 0]
        doubt = (curve @ basis.T - slope) / _DOUBT
        weights = near / (1 + doubt**2)
    return curve


def group_rows(lines: Lines) -> np.ndarray:
    """The row of each text, int (n,), numbered in any order.

    Each text is linked to the nearest one to its right that lies on its row; chains are rows.
    """
    smaller = np.minimum(lines.height[:, None], lines.height)
    narrower = np.minimum(lines.end - lines.start, (lines.end - lines.start)[:, None])
    gap = lines.start - lines.end[:, None]  # (n, n), from the end of i to the start of j
    follows = (
        (np.abs(lines.middle - lines.middle[:, None]) < _SAME_ROW * smaller)
        & (gap > -_SIDE_BY_SIDE * narrower)
        & (lines.start > lines.start[:, None])
    )
    before, after = np.nonzero(follows)
    right, left = np.full(len(gap), -1), np.full(len(gap), -1)
    for pair in np.argsort(gap[before, after], kind="stable"):
        i, j = before[pair], after[pair]
        if right[i] < 0 and left[j] < 0:
            right[i], left[j] = j, i
    row_of = np.zeros(len(gap), int)
    for row, text in enumerate(np.flatnonzero(left < 0)):
        while text >= 0:
            row_of[text] = row
            text = right[text]
    return row_of
