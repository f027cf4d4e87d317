"""Verdicts follow from the figures, with threshold and evidence."""

import numpy as np
import pytest

from dbnet.reporting.findings import findings, growth, slope
from dbnet.reporting.pictures import draw_batches
from dbnet.reporting.verdicts import verdicts
from tests.reporting.profiles import FORWARD, LOADER, SCORING, profile


def verdict(about: str, found: dict) -> str:
    """The one verdict with these words."""
    [line] = [line for line in verdicts(found) if line.startswith(about)]
    return line


@pytest.mark.parametrize(
    ("stages", "line"),
    [
        (FORWARD, "**device-bound**: of the main process' time, loader 1%, device 93%, scoring 6%"),
        (SCORING, "**host-bound**: of the main process' time, loader 1%, device 30%, scoring 69%"),
        (LOADER, "**loader-bound**: of the main process' time, loader 80%, device 14%, scoring 6%"),
    ],
)
def test_the_largest_part_names_what_bounds_the_run(stages, line):
    assert f"Validation is {line} (the largest decides;" in verdict(
        "Validation is", profile(stages)
    )


def test_the_ceiling_tells_what_the_rest_of_the_time_is():
    assert verdict("Validation took", profile(FORWARD)) == (
        "Validation took 10.00 s, **at its ceiling**: 1.08 times the forward pass alone, 9.30 s "
        "(threshold 1.1)."
    )
    slow = profile(FORWARD, **{"performance/forward_alone_s": 5.0})
    assert verdict("Validation took", slow) == (
        "Validation took 10.00 s, **away from its ceiling**: 2.00 times the forward pass alone, "
        "5.00 s (threshold 1.1). The rest is mostly a slower forward pass 4.30 s, "
        "postprocess 0.40 s, metric 0.20 s."
    )


def test_loader_and_scoring_are_judged_by_their_share():
    slow = profile(LOADER | {"worker/decode": 15.0, "worker/targets": 1.0})
    assert verdict("The loader", slow) == (
        "The loader **slows the rest down**: 80% of the main process' time goes to waiting for it "
        "(threshold 10% while away from the ceiling); it takes 160.0 ms an image in 2 processes."
    )
    assert "**keeps up**: 1% of" in verdict("The loader", profile(FORWARD))
    assert verdict("Scoring", profile(SCORING)) == (
        "Scoring **slows the rest down**: 69% of the main process' time goes to post-process and "
        "metrics (threshold 10% while away from the ceiling); they take 69.0 ms an image in the "
        "main process."
    )
    workers = {"submit": 0.1, "score_wait": 2.0, "worker/postprocess": 5.0, "worker/metric": 3.0}
    beside = profile({"data_wait": 0.1, "forward": 5.0} | workers, scoring_workers=2)
    assert "**slows the rest down**: 29% of" in verdict("Scoring", beside)
    assert "80.0 ms an image in 2 processes" in verdict("Scoring", beside)


def test_parts_that_a_device_hides_hold_nothing_up():
    """A GPU's stages are timed one after the other, its validation as it runs."""
    hidden = profile(SCORING, **{"performance/over_forward": 1.02})
    assert "**device-bound**" in verdict("Validation is", hidden)
    assert "**keeps up**" in verdict("Scoring", hidden)


@pytest.mark.parametrize(
    ("alone", "whole", "loaders", "word", "end"),
    [
        (0.0, 0.04, 0, "quiet", "(threshold 5%)."),
        (0.6, 0.5, 0, "busy", "and their shares uncertain."),
        (0.0, 0.3, 0, "busy", "and their shares uncertain."),
        (0.0, 0.3, 1, "quiet", "Loader and scoring processes used the core."),
        (0.6, 0.3, 1, "busy", "and their shares uncertain."),
    ],
)
def test_a_busy_machine_is_told_by_the_time_without_a_core(alone, whole, loaders, word, end):
    waited = {"performance/waited_for_core": whole, "performance/waited_for_core_alone": alone}
    line = verdict("The machine", profile(FORWARD, loader_workers=loaders, **waited))
    assert line.startswith(f"The machine is **{word}**") and line.endswith(end)
    assert f"{alone:.0%} of the forward pass alone and {whole:.0%} of the validation" in line
    assert not [line for line in verdicts(profile(FORWARD)) if line.startswith("The machine")]


def test_high_variance_names_batches_their_stage_and_images():
    steady = {"forward": [1.0] * 10, "postprocess": [0.1] * 10, "worker/decode": [9.0] * 10}
    steady["postprocess"] = [0.1] * 8 + [2.0, 0.1]
    steady["forward"] = [1.0, 1.9] + [1.0] * 8
    images = [[f"{batch}-{image}.jpg" for image in range(3)] for batch in range(10)]
    spread = {"performance/val_batch_median": 1.1, "performance/val_batch_p95": 2.6}
    series = {"stages": steady, "image_ids": images}
    assert verdict("Variance", profile(FORWARD, series=series, **spread)) == (
        "Variance is **high**: the 95th percentile of a batch is 2.36 times the median, 1100 ms "
        "(threshold 1.5). Slowest: batch 9 (3000 ms, postprocess 2000; 8-0.jpg to 8-2.jpg), "
        "batch 2 (2000 ms, forward 1900; 1-0.jpg to 1-2.jpg)."
    )
    assert "**low**: the 95th percentile of a batch is 1.10 times" in verdict(
        "Variance", profile(FORWARD)
    )
    few = profile(FORWARD, **spread, **{"performance/val_num_batches": 1})
    assert verdict("Variance", few) == "Variance is **unknown**: 1 batch, fewer than 5."


NOISE = np.random.default_rng(0).normal(0, 2, 200)
STEPS = np.arange(200)


@pytest.mark.parametrize(
    ("memory", "grows"),
    [
        (500 + NOISE, False),
        (500 + NOISE + 0.5 * STEPS, True),
        (500 + NOISE + 0.05 * STEPS, False),  # below the threshold
        (500 + 40.0 * (STEPS > 120), False),  # a single step, as an allocator makes
        (500 + 40.0 * (STEPS > 60), False),
        (500 - 400 * np.exp(-STEPS / 15), False),  # fills
        (np.where(STEPS < 30, 5.0 * STEPS, 150.0), False),
        (600 - 0.5 * STEPS, False),
        (np.repeat([584.0, 594, 599, 600, 601, 610, 615], [1, 2, 5, 5, 8, 1, 12]), False),  # real
        (500 + 0.6 * STEPS[:34], True),
    ],
)
def test_memory_grows_only_beyond_its_error_and_threshold(memory, grows):
    word = "grows" if grows else "does not grow"
    found = profile(FORWARD, series={"own_mb": memory.tolist()})
    assert f"Memory **{word}**: " in verdict("Memory", found)
    assert growth(memory.tolist()).grows == grows


def test_memory_of_few_batches_is_not_judged():
    few = profile(FORWARD, series={"own_mb": [1.0 * step for step in range(19)]})
    assert verdict("Memory", few) == "Memory growth is **unknown**: 10 batches, fewer than 20."


def test_the_slope_is_that_of_a_line():
    found = slope([3.0 + 0.25 * step for step in range(50)])
    assert found.per_100 == pytest.approx(25) and found.error == pytest.approx(0, abs=1e-6)
    assert slope([1.0, 2.0]) is None


def test_a_training_step_stands_beside_a_validation_batch():
    assert verdict("A training step", profile(FORWARD)) == (
        "A training step is **longer than a validation batch**, as it should be: 4000 ms, 4.0 "
        "times a validation batch (threshold 1)."
    )
    short = profile(FORWARD, **{"performance/train_step_s": 0.5})
    assert "**shorter than a validation batch**: 500 ms, 0.5 times" in verdict(
        "A training step", short
    )
    without = profile(FORWARD, **{"performance/train_step_s": 0.0})
    assert not [line for line in verdicts(without) if line.startswith("A training")]


def test_a_profile_of_an_earlier_version_has_verdicts_too():
    old = profile(FORWARD)
    del old["run"]
    assert len(verdicts(old)) == 7
    assert findings(old).device == "cuda" and findings(old).spare_cores == 0


def test_the_picture_stacks_every_batch():
    picture = draw_batches({"forward": [1.0, 2.0], "metric": [1.0, 0.0], "copy": [0.0, 0.0]})
    assert picture.dtype == np.uint8 and picture.shape == (320, 960, 3)
    columns = (picture != 255).any(axis=2).sum(axis=0)
    assert columns[200] > 150 and columns[700] > 150
    assert len(np.unique(picture[:, 200], axis=0)) > len(np.unique(picture[:, 700], axis=0))
