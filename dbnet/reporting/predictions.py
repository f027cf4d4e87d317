"""Output of predict.py and evaluate.py: the texts found, as JSON and CSV."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np


class Texts(Protocol):
    """`Detections`, or the `Found` of a Detector."""

    @property
    def polygons(self) -> list[np.ndarray]: ...  # n x (P, 2), pixels

    @property
    def scores(self) -> np.ndarray: ...  # (n,)


class Crop(NamedTuple):
    """A text cut out of its image."""

    file: str  # of the crop, relative to crops.csv
    image: str  # its image's name
    row: int  # from 1 at the top of the image
    position: int  # in the row, from 1 at its start
    quad: np.ndarray  # (4, 2), pixels of the image
    score: float


def predictions_dict(found: Mapping[str, Texts]) -> dict[str, Any]:
    """UFO form: original pixels, rounded to hundredths, with the score of each text."""
    return {
        "images": {
            name: {
                "words": {
                    f"{number:04d}": {
                        "points": _rounded(polygon).tolist(),
                        "score": round(float(score), 4),
                    }
                    for number, (polygon, score) in enumerate(
                        zip(texts.polygons, texts.scores, strict=True), start=1
                    )
                }
            }
            for name, texts in found.items()
        }
    }


def predictions_json(predictions: dict[str, Any]) -> str:
    """`predictions_dict` as JSON with one text per line."""
    images = []
    for name, image in predictions["images"].items():
        words = [
            f"        {json.dumps(number)}: {json.dumps(word, allow_nan=False)}"
            for number, word in image["words"].items()
        ]
        body = "{\n" + ",\n".join(words) + "\n      }" if words else "{}"
        title = json.dumps(name, ensure_ascii=False)
        images.append(f'    {title}: {{\n      "words": {body}\n    }}')
    body = "{\n" + ",\n".join(images) + "\n  }" if images else "{}"
    return f'{{\n  "images": {body}\n}}\n'


def predictions_csv(predictions: dict[str, Any]) -> str:
    """The polygons of `predictions_dict`, a line per image: filename,polygons.

    Polygons are separated by |, the numbers of one, x y x y ..., by spaces.
    """
    rows = [
        [name, "|".join(_numbers(word["points"]) for word in image["words"].values())]
        for name, image in predictions["images"].items()
    ]
    return _csv(["filename", "polygons"], rows)


def crops_csv(crops: Iterable[Crop]) -> str:
    """A line per crop: file,row,position,quad,score,image; the quad as x y x y x y x y."""
    rows = [
        [c.file, c.row, c.position, _numbers(_rounded(c.quad)), round(c.score, 4), c.image]
        for c in crops
    ]
    return _csv(["file", "row", "position", "quad", "score", "image"], rows)


def _rounded(points: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(points, np.float64), 2)


def _numbers(points: Any) -> str:
    return " ".join(map(str, np.ravel(points).tolist()))


def _csv(header: list[str], rows: list[list[Any]]) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return lines.getvalue()
