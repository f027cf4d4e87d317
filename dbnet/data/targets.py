"""Ground-truth maps of DBNet (section 3.4): kernels for the probability, bands for the threshold.

D = A (1 - r^2) / L is a text's offset. Its kernel is the outline moved inwards by D, its band the
pixels closer than D to the outline. All texts of an image are worked on together: their points lie
in one array, and each edge visits only the pixels near it, so that the cost follows the length of
the outlines and not the area of the image.
"""

from itertools import chain, compress

import cv2
import numpy as np

from dbnet import geometry
from dbnet.structures import TargetMaps

_UPRIGHT = 0.9  # share of its bounding box that an upright kernel fills
MIN_SIDE = 3.0
"""Pixels at the network. Texts whose shorter side is below leave no kernel worth learning."""

_LARGEST = 1e9  # a larger coordinate does not fit the integers of the polygon filler
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
    thick, masked = [], []
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
    if not polygons:
        return
    corners = np.round(np.concatenate(polygons)).astype(np.int32)
    end = 0
    for polygon in filter(len, polygons):
        start, end = end, end + len(polygon)
        # One call per polygon: within a call, overlaps cancel out.
        cv2.fillPoly(canvas, [corners[start:end]], value)


def _snap(polygons: list[np.ndarray]) -> list[np.ndarray]:
    """Polygons that fill their bounding box: that to the nearest whole size, then place."""
    if not polygons:
        return []
    counts = np.array([len(polygon) for polygon in polygons])
    firsts = np.cumsum(counts) - counts
    points = np.concatenate(polygons)  # (M, 2)
    low, high = np.minimum.reduceat(points, firsts), np.maximum.reduceat(points, firsts)
    size = high - low  # (n, 2)
    whole = np.round(size)
    doubled_areas = np.add.reduceat(_cross(points, points[_following(counts)]), firsts)
    upright = (np.abs(doubled_areas) > 2 * _UPRIGHT * size.prod(axis=1))[:, None]
    start = np.where(upright, np.round((low + high - whole) / 2), low)
    factor = np.divide(whole, size, out=np.ones_like(size), where=upright & (size > 0))
    snapped = np.repeat(start, counts, axis=0)
    snapped += (points - np.repeat(low, counts, axis=0)) * np.repeat(factor, counts, axis=0)
    return np.split(snapped, firsts[1:])


def _following(counts: np.ndarray) -> np.ndarray:
    """Index of the next point of the same polygon, for polygons of `counts` points end to end."""
    following = np.arange(1, counts.sum() + 1)
    following[np.cumsum(counts) - 1] -= counts
    return following


def _shrink(
    polygons: list[np.ndarray], shrink_ratio: float
) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Kernels of n polygons, each a list of pieces, and their D, float64 (n,).

    Where a polygon is convex and all its edges outlast the shrinking, each corner moves along its
    bisector: all such corners move at once. Every other polygon goes through the clipper.
    """
    if not polygons:
        return [], np.zeros(0)
    counts = np.array([len(polygon) for polygon in polygons])
    firsts = np.cumsum(counts) - counts
    following = _following(counts)
    points = np.concatenate(polygons).astype(np.float64)  # (M, 2)
    edges = points[following] - points
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    doubled_areas = np.add.reduceat(_cross(points, points[following]), firsts)  # (n,), signed
    reach = np.abs(doubled_areas) / 2 * (1 - shrink_ratio**2) / np.add.reduceat(lengths, firsts)

    along = edges / np.maximum(lengths, 1e-9)[:, None]
    before = np.empty_like(along)
    before[following] = along
    clockwise = np.where(doubled_areas < 0, -1, 1)
    sines = _cross(before, along) * np.repeat(clockwise, counts)
    angles = np.arctan2(sines, (before * along).sum(axis=1))
    bends = sines > 1e-6
    steps = (along - before) / np.where(bends, sines, 1.0)[:, None]
    # Three digits and the direction of the clipper, for the pixels depend on them.
    moved = np.round(points, 3) + steps * np.repeat(reach, counts)[:, None]
    moved = np.round(moved, 3).astype(np.float32)
    outlasts = ((moved[following] - moved) * along).sum(axis=1) > 0
    direct = np.logical_and.reduceat(bends & outlasts, firsts)
    direct &= np.add.reduceat(angles, firsts) < 7  # one turn, 2 pi: not a star
    kernels = [
        [moved[end - count : end][::step]] if is_direct else _clip(polygon, distance)
        for polygon, end, count, step, is_direct, distance in zip(
            polygons, np.cumsum(counts), counts, clockwise, direct, reach, strict=True
        )
    ]
    return kernels, reach


def _clip(polygon: np.ndarray, distance: float) -> list[np.ndarray]:
    return geometry.offset(polygon, -distance) if distance > 0 else []


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _draw_closeness(canvas: np.ndarray, polygons: list[np.ndarray], reach: np.ndarray) -> None:
    """Raise `canvas`, float32 (H, W), to 1 - d / reach around the outlines of n polygons."""
    if not polygons:
        return
    height, width = canvas.shape
    pixels = canvas.reshape(-1)
    for groups in _column_groups(polygons, reach, height, width):
        steep, beside_end = divmod(int(groups[0, 0]), 2)
        u_stride, v_stride, v_size = (width, 1, width) if steep else (1, width, height)
        rows = int(groups[1].max())
        count = groups[2].astype(np.int64)
        groups[3] -= np.cumsum(count) - count
        shift, u_mid, v_mid, slope, low, rise, half = np.repeat(groups[3:], count, axis=1)
        u = np.arange(len(shift)) + shift  # (C,)
        low += slope * u
        v = np.minimum(np.maximum(np.ceil(low), 0), v_size - rows)
        step = np.arange(rows)[:, None]
        index = (u * u_stride + v * v_stride).astype(np.int64) + step * v_stride  # (rows, C)
        across = rise * (v - low) - 1  # distance to the line over reach, negative on the low side
        if beside_end:
            along = rise * (slope * (v - v_mid) + u - u_mid)
            beyond = np.maximum(np.abs(rise * slope * step + along) - half, 0)
            across = rise * step + across
            distance = np.sqrt(across * across + beyond * beyond).astype(np.float32)
        else:
            distance = rise.astype(np.float32) * step.astype(np.float32)
            distance += across.astype(np.float32)
            np.abs(distance, out=distance)
        closeness = np.subtract(1, distance, out=distance)  # below 0 where beyond reach: no change
        np.maximum.at(pixels, index.reshape(-1), closeness.reshape(-1))


def _column_groups(
    polygons: list[np.ndarray], reach: np.ndarray, height: int, width: int
) -> list[np.ndarray]:
    """Which pixels each edge has to visit, in blocks of about _BLOCK pixels.

    An edge runs along u, the axis it is more parallel to (x or y); v is the other axis. At every
    whole u near it, it visits a column of pixels along v: those between its two parallels at
    distance reach. The columns of an edge form three groups: beside one end, between the ends,
    beside the other. In those between, every pixel is nearest to a point inside the edge.

    Returns blocks of groups of one kind, float64 (10, G), with these rows: kind (2 where v is x,
    plus 1 beside an end); pixels per column; columns; first u; u and v of the edge's middle; its
    slope dv / du; v of its lower parallel at u = 0; closeness gained per pixel along v; half the
    edge's length over reach.
    """
    counts = np.array([len(polygon) for polygon in polygons])
    reach = np.repeat(reach, counts)
    starts = np.concatenate(polygons).astype(np.float64)  # (M, 2)
    ends = starts[_following(counts)]
    middle, extent = (starts + ends).T / 2, (ends - starts).T
    steep = np.abs(extent[1]) > np.abs(extent[0])
    u, v = np.where(steep, middle[::-1], middle)
    du, dv = np.where(steep, extent[::-1], extent)
    u_size, v_size = np.where(steep, [[height], [width]], [[width], [height]])

    half = np.abs(du) / 2
    slope = dv / np.where(du == 0, 1, du)
    cosine = 1 / np.sqrt(1 + slope * slope)
    rise = cosine / reach
    rows = np.minimum(np.floor(2 / rise) + 1, v_size)
    between = half - np.abs(slope) * cosine * reach
    outer = half + reach
    in_sight = np.abs(v - (v_size - 1) / 2) <= (v_size - 1 + np.abs(dv)) / 2 + reach
    borders = np.ceil([u - outer, u - between, u + between, u + outer])
    borders = np.minimum(np.maximum(borders, 0), u_size * in_sight)  # (4, M)

    groups = np.empty((10, 3, len(u)))
    groups[0] = 2 * steep + np.array([[1], [0], [1]])
    groups[1] = rows
    groups[2] = np.diff(borders, axis=0)
    groups[3] = borders[:-1]
    edges = [u, v, slope, v - slope * u - 1 / rise, rise, half / (cosine * reach)]
    groups[4:] = np.stack(edges)[:, None]
    groups = groups[:, groups[2] > 0]  # (10, G); near a short edge, no column is between
    groups = groups[:, np.lexsort(groups[1::-1])]
    kind, rows, count = groups[:3]
    # A block's columns are all as long as its longest, so 4..15 pixels go together, then 16..63.
    labels = np.stack([kind, (np.frexp(rows)[1] + 1) // 2, np.cumsum(rows * count) // _BLOCK])
    cuts = np.flatnonzero(np.diff(labels, axis=1).any(axis=0)) + 1
    return np.split(groups, cuts, axis=1) if len(kind) else []
