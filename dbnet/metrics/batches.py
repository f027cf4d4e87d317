"""One image as a batch: what metrics that take several at a time have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np


class BatchMetric(ABC):
    """Measures the outlines of a batch in one go, for an image has few."""

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
        """`update_batch` for one image: one of each argument, one result."""
        images = ([det_polygons], [gt_polygons], [ignored], [texts], [image_size])
        return self.update_batch(*images)[0]
