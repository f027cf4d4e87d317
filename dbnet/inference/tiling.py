"""Detects at another scale or in the turned image if text is too small, too large or tilted."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np

from dbnet.data.images import Decode, Decoded
from dbnet.geometry import min_area_quads
from dbnet.inference.turning import decode_turned, lines_angle, needed_turn, turned_size
from dbnet.inference.windows import STRIDE, Network, check_finite, windowed_map
from dbnet.postprocess.frames import to_original
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.settings import PostprocessConfig
from dbnet.structures import Detections

# Heights of texts in pixels at the network. "Small": nine of ten texts of an image are higher.
_TOO_SMALL = 8.0  # small texts below it, in the fitted image, call for a larger scale
_SMALL, _MEDIAN = 10.0, 15.0  # what a larger scale aims at, for small texts and for the median
_VISIBLE = 5.0  # median height from which a map shows all texts
_MANY_TEXTS = 25  # fewer texts are not measured
_MOST_SPREAD = 0.45  # spread (quartile range / median) above which regions may be merged texts
_NARROW = 256  # a shorter side of fewer pixels at the network holds no line that can be read
_UNMEASURED_STEP, _LARGEST_STEP = 2.0, 2.5  # between scales
_MORE = 1.25  # growth of the number of unmeasured texts that justifies a larger scale
_WORTH_IT = 1.15  # least change of scale that justifies another pass
_TOO_LARGE, _LARGE = 26.0, 18.0  # median above which the scale is lowered, and the one aimed at
_LEAST_SIDE = 160  # longest side of the smallest scale
_FAR_FROM_FITTED = 4.0  # images longer than this many times the fitted size are not reduced


class Heights(NamedTuple):
    """Heights of the texts of one image, in pixels at the network."""

    small: float  # nine of ten texts are higher
    median: float
    alike: bool  # false: spread so widely that they may be no texts


class Rescaled(NamedTuple):
    """The texts of one image, found at another scale or in the turned image."""

    detections: Detections  # in original pixels
    side: int  # longest side of the image at the network, pixels
    angle: float = 0.0  # that the image was turned back by, radians


class Tiling:
    """`--tile auto`: decides whether an image needs another scale, and detects at it.

    Where the lines are tilted or run up or down, the image is turned first, until they run to the
    right: the network was trained on nearly upright receipts and outlines those best.

    The first pass is the detection that was made anyway, with the whole image fitted into the
    network's size. Where its texts are too large, the image goes through the network once more at
    the smaller scale that their heights ask for. Where they are too small, or cannot be measured,
    the scale is raised to what their heights ask for, at most to the image's own pixels, and the
    image goes through the network in overlapping windows. Both are repeated while the new heights
    ask for more; raising, also while more texts are found. Time grows with the area that holds
    text: windows in which the pass before found none are skipped, unless its scale was too small
    to find any.

    Args:
        network: the detector's network.
        image_size: longest side in pixels that images are fitted to; also that of a window.
        postprocess: settings of the post-process; `max_candidates` holds for each window's worth
            of pixels.
        shrink_ratio: r of the training shrink.
    """

    def __init__(
        self,
        network: Network,
        *,
        image_size: int,
        postprocess: PostprocessConfig,
        shrink_ratio: float,
    ) -> None:
        self.network = network
        self.image_size = image_size
        self.postprocess = postprocess
        self.shrink_ratio = shrink_ratio

    def detect(
        self, name: str, decode: Decode, found: Detections, size: tuple[int, int]
    ) -> Rescaled | None:
        """Texts at the scale they need; None where `found` is as good as it gets.

        Args:
            name: of the image, for error lines.
            decode: gives the image, such as `partial(decode_reduced, path)`.
            found: in pixels of the image fitted to `image_size`.
            size: height and width of the original in pixels.

        Raises:
            InputError: the image cannot be decoded, or its map is not finite.
        """
        if angle := needed_turn(found.polygons, size):
            turned = self._turned(name, decode, angle, found, size)
            if turned:
                return turned
        return self._rescaled(name, decode, found, self.image_size, size)

    def _turned(
        self, name: str, decode: Decode, angle: float, before: Detections, size: tuple[int, int]
    ) -> Rescaled | None:
        """Texts of the image turned back by `angle`, at the scale of the first pass; None where its
        lines do not run across either, or where the network is less certain of them than before,
        as it may be of vertical script."""
        turned = turned_size(size, angle)
        growth = max(turned) / max(size)
        side = round(self.image_size * growth)
        decode = partial(decode_turned, decode, angle)
        decoded = decode(lambda size: self.image_size / max(size))
        prob_map, matrix = self._predict(name, decoded, side, window=-(-side // STRIDE) * STRIDE)
        found = self._polygons(prob_map)
        if not found.polygons or abs(lines_angle(found.polygons)) > np.pi / 4:
            return None
        if found.scores.mean() <= before.scores.mean():
            return None
        rescaled = self._rescaled(name, decode, found, side, turned)
        rescaled = rescaled or Rescaled(to_original(found, matrix, size), side)
        return rescaled._replace(side=round(rescaled.side / growth), angle=angle)

    def _rescaled(
        self, name: str, decode: Decode, found: Detections, at: int, size: tuple[int, int]
    ) -> Rescaled | None:
        """Texts at the scale that those need which were `found` with the longest side `at`."""
        side = needed_side(found.polygons, at, size)
        if side is None:
            return None
        if side < at:
            return self._at_smaller_scales(name, decode, side)
        return self._at_larger_scales(name, decode, side, found)

    def _at_smaller_scales(self, name: str, decode: Decode, side: int) -> Rescaled | None:
        """At `side` and smaller ones, while texts are too large; None where none is found."""
        decoded = decode(lambda size: side / max(size))
        best = None
        following: int | None = side
        while following:
            side = following
            prob_map, matrix = self._predict(name, decoded, side, window=self.image_size)
            found = self._polygons(prob_map)
            if found.polygons:
                best = Rescaled(to_original(found, matrix, decoded.size), side)
            following = _smaller_side(side, _short_sides(found.polygons))
        return best

    def _at_larger_scales(
        self, name: str, decode: Decode, side: int, found: Detections
    ) -> Rescaled | None:
        """At `side` and larger ones, while texts are too small; None where that shows no more."""
        decoded = decode(lambda size: 1.0)
        best, seen = None, None
        following: int | None = side
        while following:
            side = following
            prob_map, matrix = self._predict(name, decoded, side, window=self.image_size, seen=seen)
            before, found = found, self._polygons(prob_map)
            heights = text_heights(found.polygons)
            if heights is None and len(found.polygons) <= _MORE * len(before.polygons):
                break
            best = Rescaled(to_original(found, matrix, decoded.size), side)
            seen = prob_map if heights and heights.median >= _VISIBLE else None
            following = _next_side(side, heights, decoded.pixels.shape[:2])
        return best

    def _predict(
        self,
        name: str,
        decoded: Decoded,
        side: int,
        *,
        window: int,
        seen: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The probability map with the longest side at `side`, float32 (H, W), and the matrix
        (3, 3) from original pixels to its own."""
        canvas, matrix = scaled(decoded, side)
        prob_map = windowed_map(canvas, self.network, window=window, seen=seen)
        check_finite(prob_map, name)
        return prob_map, matrix

    def _polygons(self, prob_map: np.ndarray) -> Detections:
        windows = max(1, round(prob_map.size / self.image_size**2))
        limit = self.postprocess.max_candidates * windows
        settings = replace(self.postprocess, max_candidates=limit)
        return DBPostprocessor(settings, shrink_ratio=self.shrink_ratio)(prob_map)


def needed_side(polygons: list[np.ndarray], side: int, size: tuple[int, int]) -> int | None:
    """The longest side at the network that texts found at `side` ask for; None: they are fine.

    Args:
        polygons: n x float32 (P, 2), in pixels of the image fitted to `side`.
        size: height and width of the original in pixels.
    """
    found = _short_sides(polygons)
    heights = _summary(found)
    if polygons and max(size) <= _FAR_FROM_FITTED * side:
        smaller = _smaller_side(side, found)
        if smaller is not None:
            return smaller
        low, median = np.percentile(found, [25, 50])
        if heights is None and low >= _SMALL and median >= _MEDIAN:
            return None
    if heights and heights.alike and heights.small >= _TOO_SMALL:
        return None
    return _next_side(side, heights if heights and heights.alike else None, size)


def _smaller_side(side: int, heights: np.ndarray) -> int | None:
    """The longest side at the network to try after `side` where texts are too large; else None.

    Args:
        heights: of the n texts found at `side`, (n,), in its pixels.
    """
    if not len(heights):
        return None
    low, median = np.percentile(heights, [25, 50])
    if median <= _TOO_LARGE:
        return None
    following = max(round(side * max(_LARGE / median, _SMALL / low)), _LEAST_SIDE)
    return following if following * _WORTH_IT <= side else None


def _next_side(side: int, heights: Heights | None, size: tuple[int, int]) -> int | None:
    """The longest side at the network to try after `side`; None where that is as good as it gets.

    Args:
        heights: of the texts found at `side`; None where they could not be measured.
        size: height and width of the image in pixels, of which no side is larger.
    """
    longest, shortest = max(size), min(size)
    if heights is None:
        if longest < _UNMEASURED_STEP * side:
            return None
        factor = max(_UNMEASURED_STEP, _NARROW / (side * shortest / longest))
    else:
        factor = min(max(_SMALL / heights.small, _MEDIAN / heights.median), _LARGEST_STEP)
    following = min(round(side * factor), longest)
    return following if following >= _WORTH_IT * side else None


def text_heights(polygons: list[np.ndarray]) -> Heights | None:
    """Of n outlines, each (P, 2); None where they are few."""
    return _summary(_short_sides(polygons))


def _summary(heights: np.ndarray) -> Heights | None:
    if len(heights) < _MANY_TEXTS:
        return None
    small, low, median, high = np.percentile(heights, [10, 25, 50, 75])
    return Heights(float(small), float(median), bool(high - low <= _MOST_SPREAD * median))


def _short_sides(polygons: list[np.ndarray]) -> np.ndarray:
    """The height of each text, (n,): the shorter side of its smallest rectangle."""
    quads = min_area_quads(polygons)
    return np.linalg.norm(quads[:, :2] - quads[:, 1:3], axis=2).min(axis=1)


def scaled(decoded: Decoded, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The image with its longest side scaled to `side` pixels, padded with black to multiples of
    STRIDE, uint8 (H, W, 3); and the matrix (3, 3) from original pixels to its own."""
    height, width = decoded.pixels.shape[:2]
    factor = side / max(height, width)
    rows, columns = max(1, round(height * factor)), max(1, round(width * factor))
    image = decoded.pixels
    if (rows, columns) != (height, width):
        smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, (columns, rows), interpolation=smooth)
    bottom, right = -rows % STRIDE, -columns % STRIDE
    if bottom or right:
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
    sy, sx = rows / height, columns / width  # pixel centres are whole numbers
    resizing = np.array([[sx, 0, sx / 2 - 0.5], [0, sy, sy / 2 - 0.5], [0, 0, 1]])
    return image, resizing @ decoded.matrix
