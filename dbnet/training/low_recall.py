"""Pictures of the validation images on which most text is missed."""

import heapq
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from dbnet.data.images import decode_image
from dbnet.reporting.pictures import draw_result
from dbnet.runtime import distributed
from dbnet.structures import ImageResult, Record

_SIDE = 960  # pixels of a picture's longest side at most, its caption not counted


class LowRecall:
    """Collects the images of a validation whose CLEval recall is below a threshold.

    Images without legible text have no recall and are left out.

    Args:
        threshold: recall, 0..1.
        most: number of images, those with the lowest recall; of equal ones the first by name.
    """

    def __init__(self, *, threshold: float, most: int) -> None:
        self.threshold, self.most = threshold, most
        self.results: list[ImageResult] = []

    def add(self, result: ImageResult) -> None:
        """Add the result of one image if its recall is low."""
        figures = result.scores["cleval"]
        if figures["num_char_gt"] > 0 and figures["recall"] < self.threshold:
            self.results = _lowest([*self.results, result], self.most)

    def of_all_ranks(self) -> list[ImageResult]:
        """The images with the lowest recall over all ranks, lowest first, and start afresh.

        All ranks must call this.
        """
        found = chain.from_iterable(distributed.all_gather(self.results))
        self.results = []
        return _lowest(found, self.most)


def _lowest(results: Iterable[ImageResult], most: int) -> list[ImageResult]:
    def recall(result: ImageResult) -> tuple[float, str]:
        return result.scores["cleval"]["recall"], result.image_id

    return heapq.nsmallest(most, results, key=recall)


def draw_low_recall(
    results: Iterable[ImageResult], records: Iterable[Record]
) -> Iterator[np.ndarray]:
    """A picture of each result: true polygons green (grey where ignored), found ones red, below a
    caption with the image's figures; uint8 (H, W, 3).

    Args:
        records: hold these images; they are read again, at most 960 pixels long.
    """
    results = list(results)
    wanted = {result.image_id for result in results}
    by_id = {record.image_id: record for record in records if record.image_id in wanted}
    for result in results:
        record = by_id[result.image_id]
        image = decode_image(record.image_path)
        scale = min(1.0, _SIDE / max(image.shape[:2]))
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        found = [polygon * scale for polygon in result.detections.polygons]
        truth = [polygon * scale for polygon in record.polygons]
        drawn = draw_result(image, found, truth, record.ignored)
        yield _captioned(drawn, _caption(result, record))


def _caption(result: ImageResult, record: Record) -> list[str]:
    cleval, iou = result.scores["cleval"], result.scores["iou"]
    texts = int(np.sum(~np.asarray(record.ignored, bool)))
    return [
        Path(result.image_id).name,
        f"CLEval R {cleval['recall']:.3f}  P {cleval['precision']:.3f}  H {cleval['hmean']:.3f}",
        f"IoU R {iou['recall']:.3f}  P {iou['precision']:.3f}  H {iou['hmean']:.3f}",
        f"{texts} texts, {len(result.detections.polygons)} found",
    ]


def _captioned(image: np.ndarray, lines: list[str]) -> np.ndarray:
    """The image below lines of text on white, padded if it is narrower than the text."""
    font, size, row = cv2.FontFace("sans"), 16, 22
    width = max(image.shape[1], 400)
    canvas = np.full((len(lines) * row + 8 + image.shape[0], width, 3), 255, np.uint8)
    for number, line in enumerate(lines):
        cv2.putText(canvas, line, (6, 18 + number * row), (40, 40, 40), font, size, 400)
    canvas[len(lines) * row + 8 :, : image.shape[1]] = image
    return canvas
