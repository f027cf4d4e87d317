"""Curled, folded and crumpled paper: displacement of the print, and shading."""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from dbnet.errors import InputError


class Surface(NamedTuple):
    """K waves and folds. Each shifts print along `push` by a profile of the distance to a line.

    A line is given by its unit normal `across` and its `offset`: distance = across . p - offset.
    """

    across: np.ndarray  # float64 (K, 2), unit vectors
    offset: np.ndarray  # (K,), pixels of the paper
    width: np.ndarray  # (K,), pixels: width of a fold, or wavelength / 2 pi
    push: np.ndarray  # (K, 2), pixels
    is_wave: np.ndarray  # bool (K,)

    def shift(self, points: np.ndarray) -> np.ndarray:
        """Displacement of points on the flat paper, float64 (n, 2)."""
        u = (points @ self.across.T - self.offset) / self.width  # (n, K)
        profile = np.where(self.is_wave, np.sin(u), u * np.exp(-np.minimum(u * u, 60) / 2))
        return profile @ self.push

    def move(self, points: np.ndarray) -> np.ndarray:
        """Map points from the flat paper to the used one, float64 (n, 2)."""
        return points + self.shift(points)

    def back(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `move`, by fixed-point iteration, to within about 0.01 pixels."""
        flat = points
        for _ in range(4):
            flat = points - self.shift(flat)
        return flat

    def light(self, shape: tuple[int, int]) -> np.ndarray:
        """Brightness of the paper, float32 (H, W), 1 where it is flat."""
        step = 4
        rows, columns = -(-shape[0] // step), -(-shape[1] // step)
        y, x = (np.mgrid[:rows, :columns] * step + 0.5 * (step - 1)).astype(np.float32)
        light = np.ones((rows, columns), np.float32)
        for across, offset, width, push, is_wave in zip(*self, strict=True):
            u = (x * across[0] + y * across[1] - offset) / np.float32(width)
            tilt = float(push @ across / width)
            if is_wave:
                light += np.float32(0.8 * tilt) * np.cos(u)
            else:
                side = np.clip(6 * u, -1, 1) * np.exp(-np.abs(u))
                light += np.float32(0.9 * tilt) * side
        light = np.clip(light, 0.65, 1.25)
        return cv2.resize(light, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def draw_surface(
    rng: np.random.Generator, shape: tuple[int, int], *, em: float, creased: bool
) -> Surface:
    """A random surface of a sheet (height, width): curled a little; if creased, also folded."""
    height, width = shape
    waves = int(rng.integers(0, 3))
    crumpled = creased and rng.random() < 0.5
    folds = int(rng.integers(6, 16) if crumpled else rng.integers(1, 5)) * creased
    is_wave = np.arange(waves + folds) < waves
    along = rng.choice([0, np.pi / 2], waves + folds)
    angle = np.where(is_wave, rng.uniform(0, np.pi, len(along)), along)
    angle += rng.normal(0, 0.8 if crumpled else 0.05, len(along))
    across = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    offset = (across * rng.uniform(0, 1, across.shape) * (width, height)).sum(axis=1)
    length = rng.uniform(0.25, 1.2, len(along)) * max(width, 10 * em)
    size = np.where(is_wave, length, rng.uniform(1.2, 5, len(along)) * em)
    slope = rng.uniform(-1, 1, len(along)) * np.where(is_wave, 0.05, 0.1)
    turn = angle + rng.normal(0, 0.3, len(along)) + np.pi / 2 * is_wave * (rng.random() < 0.7)
    push = (slope * size)[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return Surface(across, offset, size, push, is_wave)


def textured(
    rng: np.random.Generator, sheet: np.ndarray, texture: str, strength: float
) -> np.ndarray:
    """The sheet, uint8 (H, W, 3), with the relief of a random part of photographed paper."""
    relief = _relief(texture)
    side = rng.uniform(0.5, 1.0) * np.array(relief.shape)
    y, x = (int(v) for v in rng.uniform(0, 1, 2) * (relief.shape - side))
    part = relief[y : y + int(side[0]), x : x + int(side[1])]
    part = np.ascontiguousarray(np.rot90(part, int(rng.integers(4))))
    part = cv2.resize(part, sheet.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    field = np.clip((1 + strength * (part - 1)) * 200, 0, 255).astype(np.uint8)
    return cv2.multiply(sheet, cv2.merge([field] * 3), scale=1 / 200)


@lru_cache(maxsize=8)
def _relief(path: str) -> np.ndarray:
    """Grey values divided by those of their surroundings, float32 (H, W), about 1."""
    gray = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    if gray is None:
        raise InputError(f"{path}: not an image that can be read; remove it from the textures")
    scale = min(1.0, 1200 / max(gray.shape))
    gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    values = gray.astype(np.float32) + 1
    lamp = cv2.resize(values, (8, 8), interpolation=cv2.INTER_AREA)
    return values / cv2.resize(lamp, gray.shape[::-1], interpolation=cv2.INTER_CUBIC)
