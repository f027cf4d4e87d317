"""Scores detections as rectangles: each outline is replaced by its smallest rectangle."""

from typing import Any

import numpy as np

from dbnet import geometry
from dbnet.metrics.base import Metric, Polygons


class AsQuads(Metric):
    """Passes the smallest enclosing rectangle of every detection to another metric.

    Ground truth is not changed. Other arguments and results are those of `metric`.
    """

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def update_batch(self, det_polygons: Polygons, *truth: Any) -> list[dict[str, float]]:
        quads = [list(geometry.min_area_quads(polygons)) for polygons in det_polygons]
        return self._metric.update_batch(quads, *truth)

    def compute(self) -> dict[str, float]:
        return self._metric.compute()

    def reset(self) -> None:
        self._metric.reset()

    def state(self) -> np.ndarray:
        return self._metric.state()

    def load_state(self, state: np.ndarray) -> None:
        self._metric.load_state(state)
