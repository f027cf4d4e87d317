"""Reference of `make_targets` (DBNet, section 3.4): polygon by polygon, edge by edge, float64."""

import cv2
import numpy as np

from dbnet import geometry
from dbnet.data.targets import MIN_SIDE
from dbnet.structures import TargetMaps


def make_targets(
    polygons, ignored, height, width, *, shrink_ratio, thresh_min, thresh_max
) -> TargetMaps:
    """Target maps of one image, float64 (height, width)."""
    shrink_map = np.zeros((height, width))
    shrink_mask = np.ones((height, width))
    closeness = np.zeros((height, width))  # 1 - d / D
    thresh_mask = np.zeros((height, width))
    for polygon, is_ignored in zip(polygons, ignored, strict=True):
        kernel = [] if is_ignored else shrink(polygon, shrink_ratio)
        if not kernel:
            fill(shrink_mask, polygon, 0)
            continue
        for piece in kernel:
            fill(shrink_map, snap(piece), 1)
        fill(thresh_mask, polygon, 1)
        draw_closeness(closeness, polygon, shrink_distance(polygon, shrink_ratio))
    shrink_mask[shrink_map == 1] = 1  # a kernel counts, whatever lies over it
    thresh_mask[closeness > 0] = 1
    thresh_map = thresh_min + (thresh_max - thresh_min) * closeness
    return TargetMaps(shrink_map, shrink_mask, thresh_map, thresh_mask)


def shrink(polygon, shrink_ratio):
    """Kernels of a text: pieces of the polygon moved inward by D; none where it is too thin."""
    if len(polygon) < 3 or min(cv2.minAreaRect(polygon)[1]) < MIN_SIDE:
        return []
    distance = shrink_distance(polygon, shrink_ratio)
    return geometry.offset(polygon, -distance) if distance > 0 else []


def snap(polygon):
    """Kernel with a bounding box of whole pixels, if it is upright; else the kernel itself."""
    if not geometry.area(polygon) > 0.9 * np.prod(np.ptp(polygon, axis=0)):
        return polygon
    snapped = []
    for values in polygon.T:
        size = values.max() - values.min()
        whole = np.round(size)
        start = np.round((values.min() + values.max() - whole) / 2)
        snapped.append(start + (values - values.min()) * (whole / size if size > 0 else 1))
    return np.stack(snapped, axis=1)


def fill(canvas, polygon, value):
    """Fill a polygon with a value, in place; corners are rounded to whole pixels."""
    if len(polygon):
        cv2.fillPoly(canvas, [np.round(polygon).astype(np.int32)], value)


def draw_closeness(canvas, polygon, reach):
    """Maximum of the canvas and 1 - distance / reach to the outline, in place."""
    left, top = np.floor(polygon.min(axis=0) - reach).astype(int)
    right, bottom = np.ceil(polygon.max(axis=0) + reach).astype(int)
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, canvas.shape[1] - 1), min(bottom, canvas.shape[0] - 1)
    if left > right or top > bottom:
        return
    crop = canvas[top : bottom + 1, left : right + 1]
    y, x = np.mgrid[top : bottom + 1, left : right + 1].astype(np.float64)
    distances = [
        segment_distance(x, y, polygon[k - 1].astype(np.float64), polygon[k].astype(np.float64))
        for k in range(len(polygon))
    ]
    np.maximum(crop, 1 - np.min(distances, axis=0) / reach, out=crop)


def segment_distance(x, y, start, end):
    """Distance of points (x, y) from the segment between start and end."""
    edge = end - start
    length2 = edge @ edge
    along = ((x - start[0]) * edge[0] + (y - start[1]) * edge[1]) / length2 if length2 else 0 * x
    along = np.clip(along, 0, 1)
    return np.hypot(x - start[0] - along * edge[0], y - start[1] - along * edge[1])


def shrink_distance(polygon, shrink_ratio):
    """D = A (1 - r^2) / L, the offset between a text and its kernel (DBNet, section 3.4)."""
    length = perimeter(polygon)
    return geometry.area(polygon) * (1 - shrink_ratio**2) / length if length > 0 else 0.0


def perimeter(polygon):
    """Length of the closed outline in pixels."""
    points = np.asarray(polygon, np.float64)
    return float(np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1).sum())
