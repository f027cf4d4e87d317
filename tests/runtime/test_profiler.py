"""Statistics computed by hand; what counts as a regression."""

import numpy as np
import pytest

from dbnet.runtime.profiler import StageTimer, compare_profiles, summarize


def test_summary_is_what_numpy_says():
    durations = np.random.default_rng(0).gamma(3, 0.1, 34).tolist()
    stats = summarize(durations)
    assert stats.count == 34
    assert stats.total == pytest.approx(sum(durations))
    assert stats.mean == pytest.approx(np.mean(durations))
    assert stats.median == pytest.approx(np.median(durations))
    assert stats.p95 == pytest.approx(np.percentile(durations, 95))
    assert stats.p99 == pytest.approx(np.percentile(durations, 99))
    assert stats.std == pytest.approx(np.std(durations))


def test_nothing_measured_is_an_error_and_not_a_zero():
    with pytest.raises(ValueError, match="no batch"):
        summarize([])


def test_timer_synchronizes_at_both_borders():
    events = []
    timer = StageTimer(synchronize=lambda: events.append("wait"))
    with timer("work"):
        events.append("work")
    timer.add("elsewhere", 2.0)
    assert events == ["wait", "work", "wait"]
    assert list(timer.totals()) == ["work", "elsewhere"] and timer.totals()["elsewhere"] == 2.0


def profile(median: float, *, std: float = 0.001, batches: int = 30, **compared) -> dict:
    stats = dict(
        count=batches, total=median * batches, mean=median, median=median, p95=median,
        p99=median, std=std,
    )  # fmt: skip
    settings = {"device": "cpu", "data.image_size": 640} | compared
    return {
        "performance/val_num_batches": batches,
        "stages": {"forward": stats},
        "compared": settings,
    }


@pytest.mark.parametrize(
    ("before", "after", "regressed"),
    [
        (profile(0.1), profile(0.1), False),
        (profile(0.1), profile(0.105), False),  # within the tolerance
        (profile(0.1), profile(0.12), True),
        (profile(0.1), profile(0.05), False),  # faster
        (profile(0.1, std=0.1), profile(0.12, std=0.1), False),  # within the noise
    ],
)
def test_a_regression_is_beyond_tolerance_and_noise(before, after, regressed):
    (change,) = compare_profiles(before, after, 0.1)
    assert change.regressed is regressed
    assert (change.before, change.after) == (
        before["stages"]["forward"]["median"],
        after["stages"]["forward"]["median"],
    )


def test_other_settings_and_empty_profiles_are_refused():
    with pytest.raises(ValueError, match="device: cpu -> cuda"):
        compare_profiles(profile(0.1), profile(0.1, device="cuda"), 0.1)
    with pytest.raises(ValueError, match="baseline has no measured batches"):
        compare_profiles(profile(0.1, batches=0), profile(0.1), 0.1)
