"""The metrics that the programs report."""

from dbnet.metrics.base import Metric
from dbnet.metrics.cleval import CLEval
from dbnet.metrics.iou import IoUMetric
from dbnet.settings import MetricConfig

__all__ = ["CLEval", "IoUMetric", "Metric", "build_metrics"]


def build_metrics(cfg: MetricConfig) -> dict[str, Metric]:
    """The metrics by the name that reports use for their figures."""
    return {"cleval": CLEval(cfg.cleval), "iou": IoUMetric(cfg.iou)}
