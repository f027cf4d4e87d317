"""Verdicts and recommendations follow from the figures, and from nothing else."""

import numpy as np
import pytest

from dbnet.reporting.pictures import draw_batches
from dbnet.reporting.verdicts import recommendations, shares, slope, verdicts


def profile(stages: dict[str, float], **changes) -> dict:
    """A profile of these seconds by stage."""
    values = {
        "stages": {name: {"total": total} for name, total in stages.items()},
        "performance/over_forward": 1.0,
        "performance/val_batch_median": 1.0,
        "performance/val_batch_mean": 1.0,
        "performance/val_batch_p95": 1.1,
        "performance/train_step_s": 4.0,
        "performance/val_epoch_time": sum(stages.values()),
        "performance/forward_alone_s": stages.get("forward", 0.0),
        "config": {"data": {"cache": "targets", "num_workers": 2}},
        "compared": {"precision": "fp32"},
        "run": {"cores": 16, "scoring_workers": 0, "device_type": "cuda"},
    }
    return values | changes


FORWARD = {"data_wait": 0.1, "forward": 9.0, "postprocess": 0.5, "metric": 0.4}
SCORING = {"data_wait": 0.1, "forward": 1.0, "postprocess": 5.0, "metric": 3.9}
LOADER = {"data_wait": 8.0, "forward": 1.0, "postprocess": 0.5, "metric": 0.5}


@pytest.mark.parametrize(
    ("stages", "bound"),
    [(FORWARD, "device-bound"), (SCORING, "host-bound"), (LOADER, "loader-bound")],
)
def test_the_largest_part_names_what_bounds_the_run(stages, bound):
    assert f"**{bound}**" in verdicts(profile(stages))[0]
    assert sum(shares(profile(stages)).values()) == pytest.approx(1)


def test_verdicts_name_their_threshold_and_evidence():
    lines = verdicts(profile(FORWARD, **{"performance/over_forward": 1.3}))
    assert "below its ceiling" in lines[1] and "1.30" in lines[1] and "1.1" in lines[1]
    assert "**low**" in lines[2] and "1.10" in lines[2]
    assert "4.0 times a validation batch" in lines[-1]
    high = profile(FORWARD, **{"performance/val_batch_p95": 2.0, "performance/train_step_s": 0.5})
    assert "**high**" in verdicts(high)[2]
    assert "less than a validation batch" in verdicts(high)[-1]


def test_memory_grows_only_beyond_its_error_and_threshold():
    noise = np.random.default_rng(0).normal(0, 5, 200)
    flat, rising = (500 + noise).tolist(), (500 + noise + 0.5 * np.arange(200)).tolist()
    assert any(
        "**does not grow**" in v for v in verdicts(profile(FORWARD, series={"rss_mb": flat}))
    )
    assert any("**grows**: +" in v for v in verdicts(profile(FORWARD, series={"rss_mb": rising})))


def test_the_slope_is_that_of_a_line():
    found = slope([3.0 + 0.25 * step for step in range(50)])
    assert found.per_100 == pytest.approx(25) and found.error == pytest.approx(0, abs=1e-6)
    assert slope([1.0, 2.0]) is None


def test_only_flags_that_follow_from_the_figures_are_recommended():
    [line] = recommendations(profile(SCORING))
    assert line.startswith("`--data.scoring-workers 2`: saves up to 4.45 s of 10.00 s (44%)")
    first, second = recommendations(profile(LOADER))
    assert first.startswith("`--data.cache all`: saves up to 8.00 s")
    assert second.startswith("`--data.num-workers 4`")
    [line] = recommendations(profile(FORWARD))
    assert line.startswith("`--precision bf16`")
    cpu = {"cores": 2, "scoring_workers": 0, "device_type": "cpu"}
    [line] = recommendations(profile(FORWARD, run=cpu))
    assert line.startswith("Nothing to change")
    busy = {"performance/over_forward": 1.9, "performance/forward_alone_s": 5.0}
    [line] = recommendations(profile(FORWARD, run=cpu, **busy))
    assert line.startswith("Measure again on a quiet machine: the forward pass takes 9.00 s")


def test_a_profile_of_an_earlier_version_has_verdicts_too():
    old = profile(FORWARD)
    del old["run"]
    assert len(verdicts(old)) == 4 and recommendations(old)


def test_the_picture_stacks_every_batch():
    picture = draw_batches({"forward": [1.0, 2.0], "metric": [1.0, 0.0], "copy": [0.0, 0.0]})
    assert picture.dtype == np.uint8 and picture.shape == (320, 960, 3)
    columns = (picture != 255).any(axis=2).sum(axis=0)
    assert columns[200] > 150 and columns[700] > 150
    assert len(np.unique(picture[:, 200], axis=0)) > len(np.unique(picture[:, 700], axis=0))
