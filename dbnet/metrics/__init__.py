"""The metrics that the programs report, and their common interface."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dbnet.metrics.cleval import CLEval
from dbnet.metrics.iou import IoUMetric
from dbnet.settings import MetricConfig


class Metric(Protocol):
    """A metric over a set of images. Polygons are in original pixels; arguments as in `CLEval`."""

    def update_batch(
        self,
        det_polygons: Sequence[Sequence[np.ndarray]],
        gt_polygons: Sequence[Sequence[np.ndarray]],
        ignored: Sequence[Sequence[bool] | np.ndarray],
        texts: Sequence[Sequence[str] | None],
        image_sizes: Sequence[tuple[int, int] | None],
    ) -> list[dict[str, float]]: ...

    def compute(self) -> dict[str, float]: ...

    def reset(self) -> None: ...

    def state(self) -> np.ndarray: ...  # sums that may be added over ranks

    def load_state(self, state: np.ndarray) -> None: ...


def build_metrics(cfg: MetricConfig) -> dict[str, Metric]:
    """The metrics by the name that reports use for their figures."""
    return {"cleval": CLEval(cfg.cleval), "iou": IoUMetric(cfg.iou)}
