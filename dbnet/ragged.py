"""Polygons with different numbers of corners in one array.

An image has about a hundred texts with four corners each. A numpy operation on an array of 400 rows
takes hardly longer than one on four rows, so all polygons of an image are processed at once.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np


class RaggedPolygons:
    """n polygons with M corners in all, stored one after another.

    Attributes:
        points: (M, 2), xy of all corners, polygon by polygon; of any number type.
        offsets: (n + 1,), the row in which each polygon starts, and M.
    """

    def __init__(self, points: np.ndarray, offsets: np.ndarray) -> None:
        self.points = points
        self.offsets = offsets

    def __reduce__(self) -> tuple[type, tuple[np.ndarray, np.ndarray]]:
        return RaggedPolygons, (self.points, self.offsets)  # without cached properties

    @classmethod
    def pack(cls, polygons: Sequence[np.ndarray]) -> "RaggedPolygons":
        """From n (P, 2) arrays."""
        counts = np.fromiter(map(len, polygons), np.intp, len(polygons))
        points = np.concatenate(polygons) if len(polygons) else np.zeros((0, 2), np.float32)
        return cls(points, np.append(0, np.cumsum(counts)))

    def split(self) -> list[np.ndarray]:
        """n views (P, 2) of the points."""
        borders = self.offsets.tolist()
        return [self.points[start:end] for start, end in pairwise(borders)]

    def select(self, index: np.ndarray) -> list[np.ndarray]:
        """Views (P, 2) of the polygons at (k,) indices."""
        starts, ends = self.offsets[index].tolist(), self.offsets[index + 1].tolist()
        return [self.points[start:end] for start, end in zip(starts, ends, strict=True)]

    def with_points(self, points: np.ndarray) -> "RaggedPolygons":
        """Polygons of the same numbers of corners at other (M, 2) points."""
        return RaggedPolygons(points, self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def counts(self) -> np.ndarray:
        """Corners of each polygon, (n,)."""
        return np.diff(self.offsets)

    @property
    def owner(self) -> np.ndarray:
        """The polygon of each corner, (M,)."""
        return self.repeat(np.arange(len(self)))

    def repeat(self, values: np.ndarray) -> np.ndarray:
        """Repeat the value of each polygon for all its corners: (n, ...) to (M, ...)."""
        return np.repeat(values, self.counts, axis=0)

    def reduce(self, ufunc: np.ufunc, values: np.ndarray, axis: int = 0) -> np.ndarray:
        """Reduce the values of the corners of each polygon with a ufunc: (M, ...) to (n, ...).

        `np.add` gives sums, `np.logical_and` "all", and so on. Every polygon must have a corner.
        """
        return ufunc.reduceat(values, self.offsets[:-1], axis=axis)

    @cached_property
    def next(self) -> np.ndarray:
        """The row of the corner after each corner, (M,); after the last comes the first."""
        following = np.arange(1, len(self.points) + 1)
        filled = self.counts > 0
        following[self.offsets[1:][filled] - 1] = self.offsets[:-1][filled]
        return following

    @property
    def edges(self) -> np.ndarray:
        """From each corner to the next, (M, 2)."""
        return self.points[self.next] - self.points

    @property
    def signed_areas(self) -> np.ndarray:
        """Shoelace formula, (n,): positive where clockwise on screen, y pointing down."""
        return self.reduce(np.add, cross(self.points.T, self.points[self.next].T)) / 2

    @property
    def perimeters(self) -> np.ndarray:
        """Lengths of the closed outlines, (n,)."""
        edges = self.edges
        return self.reduce(np.add, np.hypot(edges[:, 0], edges[:, 1]))

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest xy of each polygon, (n, 2) each."""
        return self.reduce(np.minimum, self.points), self.reduce(np.maximum, self.points)


class PackedPolygons(NamedTuple):
    """Polygons of several images as two arrays: thousands of small ones are slow to pickle."""

    polygons: RaggedPolygons  # image by image
    counts: list[int]  # polygons of each image


def pack_images(images: Sequence[Sequence[np.ndarray]]) -> PackedPolygons:
    """The (P, 2) arrays of each image, which are of one number type."""
    polygons = RaggedPolygons.pack([polygon for image in images for polygon in image])
    return PackedPolygons(polygons, [len(image) for image in images])


def unpack_images(packed: PackedPolygons) -> list[list[np.ndarray]]:
    """Views of the points, image by image."""
    polygons = packed.polygons.split()
    borders = [0, *accumulate(packed.counts)]
    return [polygons[start:end] for start, end in pairwise(borders)]


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross products of the xy in two (2, ...) arrays."""
    return a[0] * b[1] - a[1] * b[0]


def ranges(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers first[i] .. last[i] - 1 of all i, one after another.

    Returns two arrays of the same length: the i of each number, and the numbers.
    """
    sizes = last - first
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return owner, np.arange(len(owner)) + (first - np.cumsum(sizes) + sizes)[owner]
