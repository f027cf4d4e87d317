"""Times of stages: measurement, statistics, comparison with an earlier profile."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dbnet.errors import InputError


class StageTimer:
    """Collects the durations of named stages: `with timer("forward"): ...`.

    Args:
        synchronize: called at the start and the end of each stage, such as
            `torch.cuda.synchronize`: queued device work then counts for the stage that queued it.
            None: stages on the host, or without waiting for the device.
        clock: returns seconds; `time.process_time` measures the CPU time of this process.
    """

    def __init__(
        self,
        *,
        synchronize: Callable[[], None] | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.synchronize = synchronize
        self.clock = clock
        self.durations: dict[str, list[float]] = {}  # seconds

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        if self.synchronize:
            self.synchronize()
        start = self.clock()
        yield
        if self.synchronize:
            self.synchronize()
        self.add(stage, self.clock() - start)

    def add(self, stage: str, seconds: float) -> None:
        """Record a duration measured elsewhere, such as in a loader worker."""
        self.durations.setdefault(stage, []).append(seconds)

    def totals(self) -> dict[str, float]:
        """Seconds per stage, in order of first use."""
        return {stage: sum(values) for stage, values in self.durations.items()}


def waiting_seconds() -> float:
    """Seconds in which this thread waited for a core; 0 if the system does not report it."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


@dataclass(frozen=True)
class StageStats:
    """Statistics of one stage in seconds; all but count and total are per batch."""

    count: int
    total: float
    mean: float
    median: float
    p95: float
    p99: float
    std: float


def summarize(durations: list[float]) -> StageStats:
    """Statistics of durations in seconds; percentiles are linearly interpolated.

    Raises:
        InputError: there are none.
    """
    if not durations:
        raise InputError("no batch was measured")
    values = np.asarray(durations)
    median, p95, p99 = np.percentile(values, [50, 95, 99])
    return StageStats(
        len(values), *map(float, (values.sum(), values.mean(), median, p95, p99, values.std()))
    )


# Values that two profiles must share besides the settings. Profiles of earlier versions lack them.
MACHINE = ("device_name", "cpu", "threads", "torch")


def check_comparable(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Raise InputError, naming what differs, unless two profiles share settings and machine."""
    keys = sorted(before.keys() | after.keys())
    listed = [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in keys
        if before.get(key) != after.get(key) and not (key in MACHINE and key not in before)
    ]
    if listed:
        raise InputError(
            f"the baseline has other settings or another machine ({', '.join(listed)}); "
            "measure a new baseline with these settings"
        )


def missing_facts(before: dict[str, Any]) -> list[str]:
    """Facts of the machine that a profile of an earlier version lacks."""
    return [name for name in MACHINE if name not in before]


class Change(NamedTuple):
    """One stage in two profiles; seconds per batch."""

    stage: str
    before: float  # median
    after: float  # median
    noise: float  # difference that may be due to chance alone
    regressed: bool


def compare_profiles(
    before: dict[str, Any], after: dict[str, Any], tolerance: float
) -> list[Change]:
    """Compare the medians per batch of each stage.

    A stage has regressed if it is slower by more than `tolerance` (0.1 is 10 %) and by more than
    the noise, 2.5 standard errors of the difference of the two medians.

    Args:
        before, after: as profile.json holds them.

    Raises:
        InputError: a profile has no batches, or their settings differ.
    """
    for name, profile in (("baseline", before), ("this profile", after)):
        if not profile.get("performance/val_num_batches"):
            raise InputError(f"{name} has no measured batches: nothing to compare")
    check_comparable(before["compared"], after["compared"])
    changes = []
    for stage in after["stages"]:
        if stage not in before["stages"]:
            continue
        old, new = StageStats(**before["stages"][stage]), StageStats(**after["stages"][stage])
        # The median of n normal values has the standard error 1.25 std / sqrt(n).
        noise = 2.5 * 1.25 * math.hypot(old.std / old.count**0.5, new.std / new.count**0.5)
        slower = new.median - old.median
        regressed = slower > tolerance * old.median and slower > noise
        changes.append(Change(stage, old.median, new.median, noise, regressed))
    return changes
