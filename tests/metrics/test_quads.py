"""A metric on smallest rectangles scores the rectangles."""

import numpy as np

from dbnet.metrics import build_metrics
from dbnet.metrics.quads import AsQuads
from dbnet.settings import MetricConfig

TEXT = np.array([[10, 10], [110, 10], [110, 30], [10, 30]], np.float32)
# The text's outline with a notch that takes 60 % of it, which its rectangle does not show.
NOTCHED = np.array([[10, 10], [110, 10], [110, 30], [90, 30], [60, 11], [30, 30], [10, 30]])


def test_an_outline_is_scored_as_its_rectangle():
    metric = build_metrics(MetricConfig())["iou"]
    notched = [np.asarray(NOTCHED, np.float32)]
    arguments = ([[TEXT]], [[False]], [["total"]], [(40, 120)])
    as_is = metric.update_batch([notched], *arguments)[0]
    as_quads = AsQuads(build_metrics(MetricConfig())["iou"])
    as_rectangle = as_quads.update_batch([notched], *arguments)[0]
    exact = build_metrics(MetricConfig())["iou"].update_batch([[TEXT]], *arguments)[0]
    assert as_rectangle == exact
    assert as_quads.compute()["num_matched"] == 1
    assert as_is["hmean"] <= as_rectangle["hmean"]


def test_images_without_detections_are_counted():
    as_quads = AsQuads(build_metrics(MetricConfig())["cleval"])
    as_quads.update_batch([[]], [[TEXT]], [[False]], [["total"]], [(40, 120)])
    assert as_quads.compute()["recall"] == 0
    as_quads.reset()
    assert as_quads.state().sum() == 0
