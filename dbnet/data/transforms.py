"""Transforms of samples. All geometry is one exact 3x3 matrix; photometry does not change it.

Matrices map pixels of the original to pixels of the canvas. Pixel centres have whole coordinates.
The geometry is drawn before the image is decoded, so that a JPEG can be decoded at a reduced size.
"""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from dbnet.data import photometry
from dbnet.geometry import transform
from dbnet.settings import AugmentConfig
from dbnet.structures import Sample

# From the height and width of an original to its matrix (3, 3).
Geometry = Callable[[tuple[int, int]], np.ndarray]


class EvalTransform:
    """Resizes the longest side to `image_size`; pads with black on the right and at the bottom."""

    def __init__(self, *, image_size: int) -> None:
        self.image_size = image_size

    def geometry(self, rng: np.random.Generator) -> Geometry:
        """The letterbox geometry; `rng` is not used."""
        return partial(letterbox, size=self.image_size)

    def __call__(self, sample: Sample, geometry: Geometry, rng: np.random.Generator) -> Sample:
        """Shape (H, W, 3) -> (image_size, image_size, 3). `rng` is not used."""
        return warp(sample, geometry(sample.orig_size), self.image_size)


class TrainTransform:
    """Letterbox with random geometry and photometry; see AugmentConfig for the meaning of each.

    The same `rng` state gives the same result.
    """

    def __init__(self, augment: AugmentConfig, *, image_size: int) -> None:
        self.augment = augment
        self.image_size = image_size

    def __call__(self, sample: Sample, geometry: Geometry, rng: np.random.Generator) -> Sample:
        """Shape (H, W, 3) -> (image_size, image_size, 3); `rng` has drawn the geometry before."""
        sample = warp(sample, geometry(sample.orig_size), self.image_size)
        if rng.random() < self.augment.flip:
            sample = mirror(sample)
        return sample._replace(image=self._photometry(sample, rng))

    def _photometry(self, sample: Sample, rng: np.random.Generator) -> np.ndarray:
        """Photometric changes, in the order of causes: paper and print, light, lens, sensor."""
        augment, image = self.augment, sample.image

        def chance(probability: float) -> bool:
            return probability > 0 and rng.random() < probability

        inside, height = content(sample), text_height(sample)
        if chance(augment.show_through):
            image = photometry.show_through(image, inside, height, rng)
        if chance(augment.fade):
            image = photometry.fade(image, inside, height, rng)
        if chance(augment.invert):
            image = photometry.invert(image, inside, visible(sample), rng)
        if chance(augment.crease):
            image = photometry.crease(image, rng)
        if chance(augment.shade):
            image = photometry.shade(image, rng)
        if augment.color > 0:
            image = photometry.jitter_color(image, augment.color, rng)
        if chance(augment.defocus):
            image = photometry.defocus(image, height, rng)
        if chance(augment.blur):
            image = photometry.blur(image, rng)
        if chance(augment.low_resolution):
            image = photometry.low_resolution(image, height, rng)
        if chance(augment.noise):
            image = photometry.add_noise(image, rng)
        if chance(augment.jpeg):
            image = photometry.recompress(image, augment.jpeg_quality, rng)
        return image

    def geometry(self, rng: np.random.Generator) -> Geometry:
        """Draw the random geometry. The result works for images of any size."""
        size = self.image_size
        if rng.random() < self.augment.crop:
            zoom = 1 / rng.uniform(0.3, 1.0)
        else:
            zoom = float(np.exp(rng.uniform(*np.log(self.augment.scale))))
        turns = int(rng.integers(1, 4)) if rng.random() < self.augment.quarter_turns else 0
        angle = 90 * turns + rng.uniform(-self.augment.rotate, self.augment.rotate)
        aspect = 1.0
        if self.augment.stretch != (1.0, 1.0):
            aspect = float(np.exp(rng.uniform(*np.log(self.augment.stretch))))
        if zoom == 1 and angle == 0 and aspect == 1:
            return partial(letterbox, size=size)
        stretched = np.diag([aspect**0.5, aspect**-0.5, 1.0])
        turned = _centred(_scale_rotate(zoom, angle) @ stretched)
        where = rng.uniform(0, 1, 2)
        return lambda shape: _place(turned @ letterbox(shape, size), shape, size, where)


def letterbox(shape: tuple[int, int], size: int) -> np.ndarray:
    """Matrix that resizes (height, width) to a longest side of `size`, placed at the top left.

    Sides are rounded to whole pixels. The matrix has the exact factor of each rounded side.
    """
    height, width = shape
    scale = size / max(height, width)
    sx = max(1, round(width * scale)) / width
    sy = max(1, round(height * scale)) / height
    return _centred(np.diag([sx, sy, 1.0]))


def _centred(matrix: np.ndarray) -> np.ndarray:
    """Convert a matrix from coordinates with origin at the image's corner to pixel centres."""
    to_corner = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.linalg.inv(to_corner) @ matrix @ to_corner


def _scale_rotate(zoom: float, degrees: float) -> np.ndarray:
    turn = np.deg2rad(degrees)
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def _place(matrix: np.ndarray, shape: tuple[int, int], size: int, where: np.ndarray) -> np.ndarray:
    """Shift the content into the canvas: to the top left, or, if it is larger, to a random place.

    Args:
        where: (2,), 0..1: share of the excess width and height that lies left of and above the
            canvas.
    """
    height, width = shape
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5]])
    corners = np.vstack([corners, [[width - 0.5, height - 0.5]]])
    placed = corners @ matrix[:2, :2].T + matrix[:2, 2]
    low, high = placed.min(axis=0) + 0.5, placed.max(axis=0) + 0.5
    excess = np.maximum(high - low - size, 0)
    shift = -low - where * excess
    return np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]]) @ matrix


def warp(sample: Sample, matrix: np.ndarray, size: int) -> Sample:
    """Resample to (size, size, 3) with `matrix` (affine, (3, 3)), without aliasing.

    1. A scale below 1 is applied with cv2.INTER_AREA.
    2. The remaining geometry (rotation, shift, enlargement) is bilinear.

    Args:
        sample: in its original size, or scaled without rotation.
        matrix: from pixels of the original, even if the sample is scaled.
    """
    image = sample.image
    residual = matrix @ np.linalg.inv(sample.matrix)
    factors = np.minimum(np.linalg.norm(residual[:2, :2], axis=0), 1.0)
    columns, rows = size, size
    if (factors < 1 - 1e-9).any():
        # Exact width and height of the original at this scale. A reduced image may be larger by a
        # part of a pixel.
        extent = np.diag(sample.matrix)[:2] * sample.orig_size[::-1]
        columns, rows = (max(1, round(side)) for side in extent * factors)
        fx, fy = columns / extent[0], rows / extent[1]
        image = cv2.resize(image, None, fx=fx, fy=fy, interpolation=cv2.INTER_AREA)
        residual = residual @ np.linalg.inv(_centred(np.diag([fx, fy, 1.0])))
    if np.allclose(residual, np.eye(3), atol=1e-6):
        canvas: np.ndarray = np.zeros((size, size, 3), np.uint8)
        part = image[: min(rows, size), : min(columns, size)]
        canvas[: part.shape[0], : part.shape[1]] = part
    else:
        canvas = cv2.warpAffine(image, residual[:2], (size, size), flags=cv2.INTER_LINEAR)
    return sample._replace(
        image=canvas, polygons=transform(sample.orig_polygons, matrix), matrix=matrix
    )


def mirror(sample: Sample) -> Sample:
    """Mirror left to right, exactly, pixel by pixel."""
    matrix = np.array([[-1.0, 0, sample.image.shape[1] - 1], [0, 1, 0], [0, 0, 1]])
    return sample._replace(
        image=np.ascontiguousarray(sample.image[:, ::-1]),
        polygons=transform(sample.polygons, matrix),
        matrix=matrix @ sample.matrix,
        unmirrored=sample.polygons,
    )


def visible(sample: Sample) -> list[np.ndarray]:
    """Polygons of the texts whose centre lies in the image, float32 (P, 2)."""
    size = np.array(sample.image.shape[1::-1])
    middles = [polygon.mean(axis=0) for polygon in sample.polygons]
    inside = [bool((middle >= 0).all() and (middle < size).all()) for middle in middles]
    return [
        polygon for polygon, is_inside in zip(sample.polygons, inside, strict=True) if is_inside
    ]


def text_height(sample: Sample) -> float:
    """First quartile of the heights of visible texts, in pixels; 12 without visible texts."""
    heights = [min(cv2.minAreaRect(polygon)[1]) for polygon in visible(sample)]
    return max(1.0, float(np.percentile(heights, 25))) if heights else 12.0


def content(sample: Sample) -> np.ndarray:
    """Mask of the original's area, uint8 (H, W): 255 there, 0 on padding."""
    height, width = sample.orig_size
    right, bottom = width - 0.5, height - 0.5
    corners = [[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]]
    (outline,) = transform([np.array(corners, np.float32)], sample.matrix)
    outline -= 0.5 * np.sign(outline - outline.mean(axis=0))  # to the centres of the last pixels
    mask = np.zeros(sample.image.shape[:2], np.uint8)
    return cv2.fillConvexPoly(mask, np.round(outline).astype(np.int32), 255)
