"""Base of metrics that process a batch of images at once."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np


class BatchMetric(ABC):
    """A metric with `update_batch`; adds `update` for a single image.

    A batch at once is faster: one image has too few outlines for long numpy operations.
    """

    @abstractmethod
    def update_batch(
        self,
        det_polygons: Sequence[Sequence[np.ndarray]],
        gt_polygons: Sequence[Sequence[np.ndarray]],
        ignored: Sequence[Sequence[bool] | np.ndarray],
        texts: Sequence[Sequence[str] | None],
        image_sizes: Sequence[tuple[int, int] | None],
    ) -> list[dict[str, float]]: ...

    def update(
        self,
        det_polygons: Sequence[np.ndarray],
        gt_polygons: Sequence[np.ndarray],
        ignored: Sequence[bool],
        texts: Sequence[str] | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> dict[str, float]:
        """`update_batch` for one image. Arguments and result are those of this image."""
        images = ([det_polygons], [gt_polygons], [ignored], [texts], [image_size])
        return self.update_batch(*images)[0]
