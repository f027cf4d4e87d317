"""Records and decoded images to samples. No PyTorch: prediction by onnxruntime comes here too."""

from collections.abc import Callable

import numpy as np

from dbnet.data.images import Decoded, decode_reduced
from dbnet.data.transforms import Geometry
from dbnet.geometry import transform
from dbnet.structures import Record, Sample

# The geometry uses at most this share of a reduced image's sides: OpenCV cannot resize to no pixel.
_TO_SPARE = 0.9


def load_sample(record: Record, geometry: Geometry) -> Sample:
    """The record with its decoded image, in original size or reduced as far as `geometry` allows.

    Raises:
        InputError: the image cannot be read; names the file.
    """
    return as_sample(decode_reduced(record.image_path, needed_scale(geometry)), record)


def needed_scale(geometry: Geometry) -> Callable[[tuple[int, int]], float]:
    """The `scale_of` for `decode_reduced`: the largest scale that `geometry` uses."""
    return lambda size: float(np.linalg.norm(geometry(size)[:2, :2], axis=0).max()) / _TO_SPARE


def as_sample(decoded: Decoded, record: Record) -> Sample:
    """The decoded image with the record's annotations; `record.image_path` is not used."""
    polygons = record.polygons
    if decoded.pixels.shape[:2] != decoded.size:
        polygons = transform(polygons, decoded.matrix)
    return Sample(
        image=decoded.pixels,
        polygons=polygons,
        ignored=record.ignored,
        texts=record.texts,
        image_id=record.image_id,
        matrix=decoded.matrix,
        orig_polygons=record.polygons,
        orig_size=decoded.size,
    )
