"""Every limit that leaves detections out is named, with the images and a limit that fits."""

from dataclasses import replace

import numpy as np
import pytest

import evaluate
import profile_val
import train
from configs import Config, EvaluateConfig, ProfileConfig, TrainConfig
from dbnet.header import read_header
from dbnet.inference.weights import released_weights
from dbnet.reporting.caps import MAX_CANDIDATES, MAX_POLYGONS, cap_line
from dbnet.settings import (
    CLEvalConfig,
    DataConfig,
    MetricConfig,
    ModelConfig,
    OptimConfig,
    PostprocessConfig,
)
from dbnet.structures import Detections, ImageResult
from dbnet.training.caps import CapCounter
from tests.drawing import write_receipt_windows

BOX = np.array([[0, 0], [9, 0], [9, 9], [0, 9]], np.float32)
EAGER = PostprocessConfig(bin_thresh=0.01, box_thresh=0.0, min_size=0.0, max_candidates=1)
COUNTS_ONE = MetricConfig(cleval=CLEvalConfig(max_polygons=1))
WEIGHTS = released_weights()


def result(name: str, found: int, capped: int, uncounted: int, texts: int) -> ImageResult:
    detections = Detections([BOX] * found, np.ones(found, np.float32), capped)
    scores = {"cleval": {"num_gt": float(texts), "num_det_capped": float(uncounted)}, "iou": {}}
    return ImageResult(name, detections, scores, (100, 100))


def test_nothing_is_said_where_no_limit_is_reached():
    caps = CapCounter(PostprocessConfig(), MetricConfig())
    caps(result("a.png", 300, 0, 0, 300))
    assert caps.lines() == []


def test_each_limit_has_a_line_with_images_and_proposal():
    caps = CapCounter(PostprocessConfig(max_candidates=3000), MetricConfig())
    caps(result("dense.png", 939, 0, 439, 939))
    caps(result("plain.png", 50, 0, 0, 50))
    [line] = caps.lines()
    assert "--metric.cleval.max-polygons 500 is too low: CLEval did not count 439" in line
    assert "dense.png (439)" in line and "plain.png" not in line
    assert line.endswith("set --metric.cleval.max-polygons 1000")
    caps = CapCounter(PostprocessConfig(), MetricConfig())
    caps(result("dense.png", 300, 639, 0, 939))
    [line] = caps.lines()
    assert line.endswith("dense.png (639); set --postprocess.max-candidates 1000")


def test_many_images_are_counted_and_the_worst_five_named():
    line = cap_line(MAX_CANDIDATES, 300, {f"{n}.png": n for n in range(1, 9)}, 308)
    assert "36 detections of 8 images, 8.png (8), 7.png (7)" in line
    assert "4.png (4) and 3 more images; set --postprocess.max-candidates 400" in line


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> DataConfig:
    folder = tmp_path_factory.mktemp("caps")
    root = write_receipt_windows(folder / "receipts", count=2, size=160)
    return DataConfig(
        root=root, image_size=160, batch_size=2, num_workers=0, cache_dir=folder / "cache"
    )


@pytest.mark.parametrize("script", ["train", "evaluate", "profile"])
@pytest.mark.parametrize("flag", [MAX_CANDIDATES, MAX_POLYGONS])
def test_every_script_prints_the_limits(data, tmp_path, capsys, monkeypatch, script, flag):
    monkeypatch.chdir(tmp_path)
    limits = {"postprocess": EAGER}
    if flag == MAX_POLYGONS:
        limits = {"postprocess": replace(EAGER, max_candidates=1000), "metric": COUNTS_ONE}
    ran = {"checkpoint": WEIGHTS, "data": data, "device": "cpu", "precision": "fp32"}
    calls = {
        "train": lambda: train.main(
            Config(
                data=data,
                model=ModelConfig(
                    weights=WEIGHTS, pretrained=False, **read_header(WEIGHTS).model_args
                ),
                optim=OptimConfig(lr=1e-9),
                train=TrainConfig(epochs=1, device="cpu", precision="fp32", name="run"),
                **limits,
            )
        ),
        "evaluate": lambda: evaluate.main(EvaluateConfig(**ran, **limits)),
        "profile": lambda: profile_val.main(ProfileConfig(**ran, train_steps=0, **limits)),
    }
    calls[script]()
    out = capsys.readouterr().out
    assert f"WARNING: {flag} 1 is too low" in out
