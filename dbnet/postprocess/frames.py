"""Detections from the pixels of the network's input to those of the original image."""

import numpy as np

from dbnet import geometry
from dbnet.ragged import RaggedPolygons
from dbnet.structures import Detections


def to_original(
    detections: Detections, matrix: np.ndarray, orig_size: tuple[int, int]
) -> Detections:
    """Undo the sample's matrix and clip to the original image (height, width).

    What lies in the padding would become a line on the image's border: it is dropped.
    """
    ragged = RaggedPolygons.pack(detections.polygons)
    limit = np.array(orig_size[::-1], np.float32) - 1
    points = geometry.transform_points(ragged.points, np.linalg.inv(matrix))
    ragged = ragged.with_points(np.clip(points, 0, limit))
    low, high = ragged.bounds
    inside = (high > low).all(axis=1)
    if inside.all():
        return detections._replace(polygons=ragged.split())
    return detections._replace(
        polygons=ragged.select(np.flatnonzero(inside)), scores=detections.scores[inside]
    )
