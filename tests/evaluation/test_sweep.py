"""The sweep gives the figures of single evaluations, and sorts them correctly."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import evaluate
from configs import EvaluateConfig
from dbnet.errors import InputError
from dbnet.evaluation.sweep import draw_sweep, flags, grid, store_maps, sweep
from dbnet.inference.weights import released_weights
from dbnet.metrics.cleval import CLEval
from dbnet.metrics.iou import IoUMetric
from dbnet.postprocess import DBPostprocessor
from dbnet.runtime.profiler import StageTimer
from dbnet.settings import CLEvalConfig, IoUConfig, PostprocessConfig, SplitDataConfig
from dbnet.structures import Batch
from dbnet.training.scoring import add_sums, compute_all, score_batch, truth_of
from tests.drawing import write_dataset

LINES = [
    np.array([[x, y], [x + 90, y], [x + 90, y + 16], [x, y + 16]], np.float32)
    for x, y in ((8, 8), (14, 38), (6, 68))
]
LEVELS = (0.9, 0.55, 0.35)  # probabilities of the kernels of the three lines
SETTINGS = [
    setting
    for setting in grid(PostprocessConfig(box_thresh=0.8))
    if setting.bin_thresh in (0.2, 0.4)
    and setting.box_thresh in (0.3, 0.5, 0.8)
    and setting.unclip_ratio in (None, 1.5)
]


def make_postprocessor(cfg: PostprocessConfig) -> DBPostprocessor:
    return DBPostprocessor(cfg, shrink_ratio=0.4)


def metrics() -> dict:
    return {"cleval": CLEval(CLEvalConfig()), "iou": IoUMetric(IoUConfig())}


def prediction(images: int) -> tuple[Batch, torch.Tensor]:
    """A batch of equal pages, and maps whose kernels differ in their probability."""
    prob_map = np.full((96, 128), 0.05, np.float32)
    for (x, y), level in zip((line[0].astype(int) for line in LINES), LEVELS, strict=True):
        prob_map[y + 5 : y + 12, x + 5 : x + 86] = level
    prob_map[88:94, 100:120] = 0.6  # no text is there
    none = torch.empty(0)
    batch = Batch(
        images=none, shrink_map=none, shrink_mask=none, thresh_map=none, thresh_mask=none,
        polygons=[LINES] * images, orig_polygons=[LINES] * images,
        ignored=[np.zeros(3, bool)] * images, texts=[["total"] * 3] * images,
        image_ids=[f"{n}.png" for n in range(images)],
        matrices=np.stack([np.eye(3)] * images), orig_sizes=[(96, 128)] * images, seconds={},
    )  # fmt: skip
    return batch, torch.from_numpy(np.stack([prob_map] * images))[:, None]


def test_each_setting_scores_as_it_does_alone():
    predictions = [prediction(2), prediction(1)]
    with store_maps(predictions) as stored:
        results = sweep(stored, SETTINGS, make_postprocessor, metrics())
    assert len(results) == len(SETTINGS) == 24
    for result in results:
        alone, sums = metrics(), {}
        for batch, maps in predictions:
            timer = StageTimer(synchronize=None)
            postprocess = make_postprocessor(result.postprocess)
            prob_maps = maps[:, 0].numpy()
            add_sums(sums, score_batch(truth_of(batch), prob_maps, postprocess, alone, timer))
        assert result.figures == compute_all(alone, sums)


def test_the_best_setting_comes_first():
    with store_maps([prediction(1)]) as stored:
        results = sweep(stored, SETTINGS, make_postprocessor, metrics())
    hmeans = [result.figures["cleval/hmean"] for result in results]
    assert hmeans == sorted(hmeans, reverse=True)
    assert hmeans[0] > hmeans[-1]
    assert results[0].postprocess.box_thresh < 0.8, "0.8 loses two of three lines"


def test_post_processing_is_shared_by_box_thresholds():
    asked = []
    with store_maps([prediction(3)]) as stored:
        sweep(stored, SETTINGS, make_postprocessor, metrics(), lambda: asked.append(1))
    assert len(asked) == 3 * len(SETTINGS) / 3


def test_the_temporary_file_is_deleted():
    with store_maps([prediction(1)]) as stored:
        assert stored.maps().shape == (1, 96, 128)
    assert not stored.path.exists()


def test_the_grid_keeps_what_it_does_not_vary():
    base = PostprocessConfig(min_size=7.0, max_candidates=9)
    assert {(s.min_size, s.max_candidates) for s in grid(base)} == {(7.0, 9)}
    assert len(set(grid(base))) == 5 * 6 * 3 * 2


def test_flags_name_every_varied_setting():
    setting = dataclasses.replace(PostprocessConfig(), bin_thresh=0.25, use_polygon=False)
    assert flags(setting) == (
        "--postprocess.bin-thresh 0.25 --postprocess.box-thresh 0.3 "
        "--postprocess.unclip-ratio None --postprocess.no-use-polygon"
    )


def test_the_heat_map_shows_every_threshold():
    with store_maps([prediction(1)]) as stored:
        results = sweep(stored, SETTINGS, make_postprocessor, metrics())
    picture = draw_sweep(results)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 6


def test_the_settings_given_are_part_of_the_grid():
    given = PostprocessConfig(bin_thresh=0.22, box_thresh=0.45, unclip_ratio=1.8)
    assert given in grid(given)
    assert len(set(grid(given))) == 6 * 7 * 4 * 2


def test_evaluate_sweeps_a_split_of_ones_choice(tmp_path, capsys):
    root = write_dataset(tmp_path / "pages", train=2, val=1)
    data = SplitDataConfig(
        root=root, image_size=96, batch_size=2, num_workers=0, cache_dir=tmp_path / "cache"
    )
    cfg = EvaluateConfig(released_weights(), "train", data, device="cpu", sweep=True)
    figures = evaluate.main(dataclasses.replace(cfg, out=tmp_path / "train"))
    told = capsys.readouterr().out
    results = json.loads((tmp_path / "train" / "sweep.json").read_text())
    assert results[0]["figures"] == figures and len(results) == 180
    assert flags(PostprocessConfig(**results[0]["postprocess"])) in told
    assert "WARNING" not in told
    assert (tmp_path / "train" / "sweep.png").stat().st_size > 1000
    evaluate.main(dataclasses.replace(cfg, split="val", out=tmp_path / "val"))
    assert "WARNING: these thresholds are chosen on the split val" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"sweep\.json: exists; choose another --out"):
        evaluate.main(dataclasses.replace(cfg, out=tmp_path / "val"))
