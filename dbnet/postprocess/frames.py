"""Detections from the pixels of the network's input to those of the original image."""

import numpy as np

from dbnet import geometry
from dbnet.structures import Detections


def to_original(
    detections: Detections, matrix: np.ndarray, orig_size: tuple[int, int]
) -> Detections:
    """Undo the sample's matrix and clip to the original image (height, width).

    What lies in the padding would become a line on the image's border: it is dropped.
    """
    polygons = geometry.transform(detections.polygons, np.linalg.inv(matrix))
    polygons = geometry.clip(polygons, *orig_size)
    inside = np.all(geometry.extents(polygons), axis=1)
    if not inside.all():
        polygons = [polygons[i] for i in np.flatnonzero(inside)]
        detections = detections._replace(scores=detections.scores[inside])
    return detections._replace(polygons=polygons)
