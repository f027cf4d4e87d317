"""Scores detections as rectangles: each outline is replaced by its smallest rectangle."""

from collections.abc import Sequence

import numpy as np

from dbnet import geometry
from dbnet.metrics import Metric


class AsQuads:
    """Passes the smallest enclosing rectangle of every detection to another metric.

    Ground truth is not changed. Other arguments and results are those of `metric`.
    """

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def update_batch(
        self,
        det_polygons: Sequence[Sequence[np.ndarray]],
        gt_polygons: Sequence[Sequence[np.ndarray]],
        ignored: Sequence[Sequence[bool] | np.ndarray],
        texts: Sequence[Sequence[str] | None],
        image_sizes: Sequence[tuple[int, int] | None],
    ) -> list[dict[str, float]]:
        """See `Metric.update_batch`; det_polygons: per image D outlines (P, 2), any P >= 3."""
        quads = [list(geometry.min_area_quads(polygons)) for polygons in det_polygons]
        return self._metric.update_batch(quads, gt_polygons, ignored, texts, image_sizes)

    def compute(self) -> dict[str, float]:
        return self._metric.compute()

    def reset(self) -> None:
        self._metric.reset()

    def state(self) -> np.ndarray:
        return self._metric.state()

    def load_state(self, state: np.ndarray) -> None:
        self._metric.load_state(state)
