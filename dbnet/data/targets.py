"""Ground-truth maps of DBNet (Liao et al., AAAI 2020, section 3.4).

A text with area A and perimeter L has the offset D = A (1 - r^2) / L. r is the shrink ratio.

- Its kernel is the outline moved inwards by D. The probability map is trained on the kernels.
- Its border is the pixels closer than D to the outline. The threshold map is trained there: it
  falls linearly with the distance d to the outline, as 1 - d / D.

All texts of an image are processed together: their points lie in one array. `closeness.py` draws
the borders. The cost grows with the length of the outlines, not with the image's area.

Pixel centres have whole coordinates: the pixel in column 3 of row 5 is the point x = 3, y = 5.
`dbnet/reference/targets.py` computes the same maps with a loop over texts and pixels.

MhLiao/DB, the paper's code, differs in these details: it masks kernels under an ignored text; it
draws only one piece of a kernel that falls apart; it truncates corners to whole pixels, which moves
every text by half a pixel; for thresh_mask it fills the polygon grown by D.
"""

from itertools import chain, compress

import cv2
import numpy as np

from dbnet import geometry
from dbnet.data.closeness import draw_closeness
from dbnet.ragged import RaggedPolygons, cross
from dbnet.structures import TargetMaps

_UPRIGHT = 0.9  # an upright kernel fills more than this share of its bounding box
MIN_SIDE = 3.0
"""Pixels at the network's input. The kernel of a text with a shorter side below this is too thin to
be learned."""

_LARGEST = 1e9  # a larger coordinate does not fit the integers of the polygon filler
_ONE_TURN = 7.0  # radians: a simple polygon turns by 2 pi, one that winds around twice by 4 pi


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
    learnable = RaggedPolygons.pack(list(compress(thick, has_kernel)))
    masked += [polygon for polygon, keep in zip(thick, has_kernel, strict=True) if not keep]

    maps = TargetMaps(
        shrink_map=np.zeros((height, width), np.uint8),
        shrink_mask=np.ones((height, width), np.uint8),
        thresh_map=np.zeros((height, width), np.float32),
        thresh_mask=np.zeros((height, width), np.uint8),
    )
    # 3. A masked text may overlap a kernel. The maximum sets these pixels of the mask back to 1.
    _fill(maps.shrink_map, _snap(RaggedPolygons.pack(list(chain.from_iterable(kernels)))), 1)
    _fill(maps.shrink_mask, RaggedPolygons.pack(masked), 0)
    np.maximum(maps.shrink_mask, maps.shrink_map, out=maps.shrink_mask)
    # 4. Closeness 1 - d / D. Inner pixels of a thick text are farther than D: _fill adds them.
    draw_closeness(maps.thresh_map, learnable, reach[has_kernel])
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


def _fill(canvas: np.ndarray, polygons: RaggedPolygons, value: float) -> None:
    """Set the pixels inside and on the outline of each polygon. Corners are rounded to pixels."""
    corners = polygons.with_points(np.round(polygons.points).astype(np.int32))
    for polygon in filter(len, corners.split()):
        # One call per polygon: cv2 leaves pixels empty where two polygons of a call overlap.
        cv2.fillPoly(canvas, [polygon], value)


def _snap(polygons: RaggedPolygons) -> RaggedPolygons:
    """Scale and move upright kernels to whole pixels; other kernels are returned unchanged.

    A kernel is upright if it fills its bounding box. The box gets the nearest whole size first, and
    then the nearest whole position. Rounding its corners one by one would change the size by up to
    a pixel, and post-processing multiplies an error of the size, by up to 1 / r^2 for long texts.
    An error of the position is not multiplied.
    """
    if not len(polygons):
        return polygons
    low, high = polygons.bounds  # (n, 2)
    size = high - low
    whole = np.round(size)
    upright = (np.abs(polygons.signed_areas) > _UPRIGHT * size.prod(axis=1))[:, None]
    start = np.where(upright, np.round((low + high - whole) / 2), low)
    factor = np.divide(whole, size, out=np.ones_like(size), where=upright & (size > 0))
    snapped = polygons.repeat(start)  # (M, 2)
    snapped += (polygons.points - polygons.repeat(low)) * polygons.repeat(factor)
    return polygons.with_points(snapped)


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
