"""Turns images whose lines are tilted, or run up or down, until the lines run to the right."""

import math
from collections.abc import Callable

import cv2
import numpy as np

from dbnet.data.images import Decode, Decoded
from dbnet.geometry import min_area_quads
from dbnet.inference.order import page_angle, text_sides

_LINES, _LONG = 5, 1.5  # texts that tell how lines run, and their length over height
_AGREED = 2 / 3  # share of these texts' length that tells in which direction an image lies
_TILTED = np.deg2rad(10)  # least angle of lines to a side of the image that is turned back
_ALIKE = np.deg2rad(8)  # between lines of one direction
_MOST_AREA = 3.0  # of the canvas of a tilted image turned back, times the image's
_LONGEST = 32_766  # side in pixels of what OpenCV turns


def needed_turn(polygons: list[np.ndarray], size: tuple[int, int]) -> float:
    """The angle that an image of (height, width) must be turned back by, radians; 0: by none.

    It is that of the lines, see `lines_angle`. A tilted image is left as it is where the canvas
    would be too large for memory or OpenCV, as that of a long strip.

    Args:
        polygons: n x float32 (P, 2), pixels of the image at any scale.
    """
    angle = lines_angle(polygons)
    if angle == _nearest_quarter(angle):
        return angle
    turned = turned_size(size, angle)
    is_small = max(*size, *turned) <= _LONGEST and math.prod(turned) <= _MOST_AREA * math.prod(size)
    return angle if is_small else 0.0


def lines_angle(polygons: list[np.ndarray]) -> float:
    """The angle to the x axis at which the lines of an image read, radians, towards the y axis.

    0 where they run across, tilted by _TILTED at most, or where their direction is not known.
    Five long texts or more tell it, by their length. Lines that run up or down: on 20 receipts
    held out of training, their share is at most 0.02 upright, and at least 0.86 turned by 90
    degrees. An angle within _TILTED of 90 degrees is given as 90 degrees.

    Args:
        polygons: n x float32 (P, 2), pixels.
    """
    quads = min_area_quads(polygons)
    along, length, height = text_sides(quads)
    is_line = length >= _LONG * height
    if is_line.sum() < _LINES:
        return 0.0
    along, length = along[is_line], length[is_line]
    agreed = _AGREED * length.sum()
    angle = page_angle(polygons, quads)
    quarter = _nearest_quarter(angle)
    across = along @ [-np.sin(angle), np.cos(angle)] / np.linalg.norm(along, axis=1)
    agree = np.abs(across) < np.sin(_ALIKE)
    if abs(angle - quarter) > _TILTED and length[agree].sum() > agreed:
        return angle
    runs_down = np.abs(along[:, 1]) > np.abs(along[:, 0])
    return quarter if length[runs_down].sum() > agreed else 0.0


def turned_size(size: tuple[int, int], angle: float) -> tuple[int, int]:
    """Height and width of the canvas that just holds an image of (height, width) turned by `angle`
    radians."""
    (height, width), cos, sin = size, abs(np.cos(angle)), abs(np.sin(angle))
    return round(height * cos + width * sin), round(height * sin + width * cos)


def decode_turned(
    decode: Decode, angle: float, scale_of: Callable[[tuple[int, int]], float]
) -> Decoded:
    """The decoded image, turned so that lines along `angle` run to the right, on black; `size` is
    still the original's."""
    pixels, size, matrix = decode(scale_of)
    turn = _turn(pixels.shape[:2], angle)
    if angle == _nearest_quarter(angle):
        turned = np.ascontiguousarray(np.rot90(pixels, round(angle / (np.pi / 2))))
    else:
        height, width = turned_size(pixels.shape[:2], angle)
        turned = cv2.warpAffine(pixels, turn[:2], (width, height), flags=cv2.INTER_LINEAR)
    return Decoded(turned, size, turn @ matrix)


def _turn(size: tuple[int, int], angle: float) -> np.ndarray:
    """The matrix (3, 3) that turns an image of (height, width) by -`angle` onto the canvas that
    just holds it; pixel centres are whole numbers."""
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, sin], [-sin, cos]])
    middle, new_middle = np.array([size, turned_size(size, angle)])[:, ::-1] / 2 - 0.5  # x, y
    turn = np.eye(3)
    turn[:2, :2], turn[:2, 2] = rotation, new_middle - rotation @ middle
    return turn


def _nearest_quarter(angle: float) -> float:
    """The multiple of 90 degrees nearest to `angle`, radians."""
    return round(angle / (np.pi / 2)) * np.pi / 2
