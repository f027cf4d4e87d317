"""Adapter of the published package cleval 0.1.1, detection only. Its import needs the package."""

from types import SimpleNamespace

import numpy as np
from cleval.box_types import QUAD
from cleval.eval_functions import evaluation
from cleval.torchmetric import CLEvalMetric

from dbnet.reference.cleval import NAMES

_OPTIONS = SimpleNamespace(
    CASE_SENSITIVE=True,
    VERTICAL_ASPECT_RATIO_THRESH=0.5,
    AREA_PRECISION_CONSTRAINT=0.3,
    RECALL_GRANULARITY_PENALTY_WEIGHT=1.0,
    PRECISION_GRANULARITY_PENALTY_WEIGHT=1.0,
    E2E=False,
    ORIENTATION=False,
    DUMP_SAMPLE_RESULT=False,
)


def evaluate(dets, gts, ignored, texts, *, longest_side=None, size_range=(0.0, 1.0)):
    """Counts, precision, recall and hmean of one image; texts and detections are float32 (4, 2)."""
    boxes = []
    for gt, is_dc, text in zip(gts, ignored, texts, strict=True):
        box = QUAD(gt.reshape(8), transcription=text, is_dc=bool(is_dc))
        if longest_side is not None:
            box.scale = CLEvalMetric._CLEvalMetric__check_box_scale(gt.reshape(8), longest_side)
        if not text and not is_dc:  # the package guesses lengths for don't-care regions only
            box.transcription = "#" * box.pseudo_transcription_length()
        boxes.append(box)
    found = [QUAD(np.asarray(det).reshape(8), transcription="", is_dc=False) for det in dets]
    stats = evaluation(_OPTIONS, boxes, found, size_range).stats
    values = {**vars(stats), **vars(stats.det), "num_char_tp": stats.det.num_char_tp_recall}
    return {name: values[name] for name in (*NAMES, "precision", "recall", "hmean")}
