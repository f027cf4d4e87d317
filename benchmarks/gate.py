"""Fail if a stage of validation outside the network has become slower.

    python -m benchmarks.gate             # compare with benchmarks/gate.json
    python -m benchmarks.gate --update    # store the present figures there

Times are relative: the CPU time of each stage is divided by that of a calibration, which is numpy
and OpenCV work measured right before and after it. The ratio hardly depends on the machine and its
load. The smallest ratio of many repeats counts, because load only adds time. A stage whose ratio
exceeds the stored one by more than --tolerance is measured up to twice more, and fails if it still
exceeds it.
Stages work on the drawn receipts of a small batch, as in a validation.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.arguments import positive
from dbnet.data.targets import make_targets
from dbnet.metrics.cleval import CLEval
from dbnet.metrics.iou import IoUMetric
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.settings import CLEvalConfig, IoUConfig, PostprocessConfig, TargetsConfig
from dbnet.synthetic.dataset import draw_receipt

STORED = Path(__file__).with_suffix(".json")
SIDE = 640
IMAGES = 4
RETRIES = 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--turns", type=positive, default=15)
    parser.add_argument("--tolerance", type=float, default=0.6, help="0.6: 1.6 times as slow")
    parser.add_argument("--update", action="store_true", help="store the present figures")
    parser.add_argument("--slow", help="make this stage twice as slow, to see the gate fail")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    work = stages()
    if args.slow:
        work[args.slow] = partial(twice, work[args.slow])
    found = {name: ratio(stage, args.turns) for name, stage in work.items()}
    if args.update:
        STORED.write_text(json.dumps(found, indent=2) + "\n")
    stored = json.loads(STORED.read_text())
    limits = {name: (1 + args.tolerance) * value for name, value in stored.items()}
    for _ in range(RETRIES):
        for name in [name for name, value in found.items() if value > limits[name]]:
            found[name] = min(found[name], ratio(work[name], args.turns))
    print("| stage | stored ratio | ratio now | change |")
    print("| --- | ---: | ---: | ---: |")
    for name, value in found.items():
        change = value / stored[name] - 1
        print(f"| {name} | {stored[name]:.2f} | {value:.2f} | {change:+.0%} |")
    slower = [name for name, value in found.items() if value > limits[name]]
    if slower:
        sys.exit(f"slower than {STORED.name} by more than {args.tolerance:.0%}: {slower}")


def stages() -> dict[str, Callable[[], object]]:
    """Work on drawn receipts at the network's size."""
    cfg = TargetsConfig()
    postprocess = DBPostprocessor(PostprocessConfig(), shrink_ratio=cfg.shrink_ratio)
    polygons, ignored, texts, targets, maps = [], [], [], [], []
    for seed in range(IMAGES):
        image, quads, words = draw_receipt(np.random.default_rng(seed))
        scale = SIDE / max(image.shape)
        polygons.append([(quad * scale).astype(np.float32) for quad in quads])
        ignored.append([False] * len(quads))
        texts.append(words)
        none = np.zeros(len(quads), bool)
        draw = partial(make_targets, polygons[-1], none, SIDE, SIDE, **vars(cfg))
        targets.append(draw)
        maps.append(cv2.GaussianBlur(draw().shrink_map.astype(np.float32), (5, 5), 1.0))
    found = [postprocess(prob_map).polygons for prob_map in maps]
    truth = (polygons, ignored, texts, [None] * IMAGES)
    cleval, iou = CLEval(CLEvalConfig()), IoUMetric(IoUConfig())
    return {
        "targets": lambda: [draw() for draw in targets],
        "postprocess": lambda: [postprocess(prob_map) for prob_map in maps],
        "cleval": partial(cleval.update_batch, found, *truth),
        "iou": partial(iou.update_batch, found, *truth),
    }


def calibration() -> None:
    """Work of the same kinds: large arrays, many small ones, contours."""
    values = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    blurred = cv2.GaussianBlur(values, (9, 9), 2.0)
    contours, _ = cv2.findContours(
        (blurred > 0.5).view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE
    )
    for contour in contours[:400]:
        cv2.minAreaRect(contour)
        np.sqrt(np.square(contour.astype(np.float64)).sum())


def twice(stage: Callable[[], object]) -> None:
    stage()
    stage()


def ratio(stage: Callable[[], object], turns: int) -> float:
    """CPU time of the stage over that of the calibration: the smallest of each."""
    stage()
    calibration()
    of_stage, of_calibration = [], []
    for _ in range(turns):
        of_calibration.append(seconds(calibration))
        of_stage.append(seconds(stage))
    return min(of_stage) / min(of_calibration)


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
