"""Images whose text is too small at the network's usual size: at a larger scale, in windows."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from dbnet.data.images import Decoded
from dbnet.geometry import min_area_quads
from dbnet.inference.windows import STRIDE, Network, check_finite, windowed_map
from dbnet.postprocess.frames import to_original
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.settings import PostprocessConfig
from dbnet.structures import Detections

# From the function that tells the scale which is needed to the decoded image; see decode_reduced.
Decode = Callable[[Callable[[tuple[int, int]], float]], Decoded]

# Heights of texts in pixels of the network's input: nine of ten texts of an image are higher. Text
# that is far too small is found as large blobs of all sizes, so that a height counts only where
# texts are many and alike.
_TOO_SMALL = 8.0  # below it, receipts lose texts (docs/long-receipts.md)
_COMFORTABLE = 14.0  # what a larger scale aims at: the usual height in training
_ENOUGH = 12.0  # what is left as it is once the scale has been raised
_MANY_TEXTS = 25
_MOST_SPREAD = 0.45  # quartile range over median; receipts have up to 0.4
_NARROW = 256  # a shorter side of fewer pixels at the network holds no line that can be read
_LARGEST_STEP = 2.0  # between scales
_MORE = 1.25  # times the texts: blobs have come apart, or texts have come to light
_WORTH_IT = 1.25  # times a scale: less is no reason to run the network again


class Closer(NamedTuple):
    """The texts of one image, found at a larger scale."""

    detections: Detections  # in original pixels
    side: int  # longest side of the image at the network, pixels


class Tiling:
    """`--tile auto`: decides whether an image needs a larger scale, and detects at it.

    The first look is the detection that was made anyway, with the whole image fitted into the
    network's size. Where its texts are too small, or cannot be measured, the scale is raised step
    by step, up to the image's own pixels, until nine of ten texts are high enough, or no more texts
    are found than before. At each step the image goes through the network in overlapping windows.
    Steps are large, so that the last one takes most of the time, which grows with the image's area.

    Args:
        network: the detector's network.
        image_size: longest side in pixels that images are fitted to; also that of a window.
        batch_size: windows that go through the network together.
        postprocess: settings of the post-process; `max_candidates` holds for each window's worth
            of pixels.
        shrink_ratio: r of the training shrink.
    """

    def __init__(
        self,
        network: Network,
        *,
        image_size: int,
        batch_size: int,
        postprocess: PostprocessConfig,
        shrink_ratio: float,
    ) -> None:
        self.network = network
        self.image_size = image_size
        self.batch_size = batch_size
        self.postprocess = postprocess
        self.shrink_ratio = shrink_ratio

    def detect(
        self, name: str, decode: Decode, found: Detections, size: tuple[int, int]
    ) -> Closer | None:
        """Texts at the scale they need; None where `found` is as good as it gets.

        Args:
            name: of the image, for error lines.
            decode: gives the image, such as `partial(decode_reduced, path)`.
            found: in pixels of the image fitted to `image_size`.
            size: height and width of the original in pixels.

        Raises:
            InputError: the image cannot be decoded, or its map is not finite.
        """
        best = None
        side = self._next_side(self.image_size, found, size, enough=_TOO_SMALL)
        decoded = decode(lambda size: 1.0) if side else None
        while side and decoded:
            canvas, matrix = scaled(decoded, side)
            prob_map = windowed_map(
                canvas, self.network, window=self.image_size, batch_size=self.batch_size
            )
            check_finite(prob_map, name)
            before, found = found, self._polygons(prob_map)
            if (
                len(found.polygons) <= _MORE * len(before.polygons)
                and text_height(found.polygons) is None
            ):
                break
            best = Closer(to_original(found, matrix, decoded.size), side)
            side = self._next_side(side, found, decoded.pixels.shape[:2], enough=_ENOUGH)
        return best

    def _next_side(
        self, side: int, found: Detections, size: tuple[int, int], *, enough: float
    ) -> int | None:
        """The longest side at the network to try after `side`; None where `found` is good."""
        longest, shortest = max(size), min(size)
        height = text_height(found.polygons)
        if height is None:
            if longest < _LARGEST_STEP * side:
                return None
            factor = max(_LARGEST_STEP, _NARROW / (side * shortest / longest))
        elif height < enough:
            factor = min(_COMFORTABLE / height, _LARGEST_STEP)
        else:
            return None
        following = min(round(side * factor), longest)
        return following if following >= _WORTH_IT * side else None

    def _polygons(self, prob_map: np.ndarray) -> Detections:
        windows = max(1, round(prob_map.size / self.image_size**2))
        limit = self.postprocess.max_candidates * windows
        settings = replace(self.postprocess, max_candidates=limit)
        return DBPostprocessor(settings, shrink_ratio=self.shrink_ratio)(prob_map)


def text_height(polygons: list[np.ndarray]) -> float | None:
    """The height in pixels that nine of ten texts have; None where they are few, or so unlike one
    another that they may be no texts."""
    if len(polygons) < _MANY_TEXTS:
        return None
    quads = min_area_quads(polygons)
    sides = np.linalg.norm(quads[:, :2] - quads[:, 1:3], axis=2)  # (n, 2)
    height, low, median, high = np.percentile(sides.min(axis=1), [10, 25, 50, 75])
    return float(height) if high - low <= _MOST_SPREAD * median else None


def scaled(decoded: Decoded, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The image with its longest side scaled to `side` pixels, padded with black to multiples of
    STRIDE, uint8 (H, W, 3); and the matrix (3, 3) from original pixels to its own."""
    height, width = decoded.pixels.shape[:2]
    factor = side / max(height, width)
    rows, columns = max(1, round(height * factor)), max(1, round(width * factor))
    image = decoded.pixels
    if (rows, columns) != (height, width):
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    bottom, right = -rows % STRIDE, -columns % STRIDE
    if bottom or right:
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
    sy, sx = rows / height, columns / width  # pixel centres are whole numbers
    resizing = np.array([[sx, 0, sx / 2 - 0.5], [0, sy, sy / 2 - 0.5], [0, 0, 1]])
    return image, resizing @ decoded.matrix
