"""Derived figures of a profile, the common base of verdicts and recommendations."""

import math
from typing import Any, NamedTuple

import numpy as np

LOADER, DEVICE, HOST = "loader-bound", "device-bound", "host-bound"
_PARTS = {
    LOADER: ("data_wait",),
    DEVICE: ("copy", "forward", "loss", "download"),
    HOST: ("postprocess", "metric", "submit", "score_wait"),
}
LOADING = ("worker/decode", "worker/transform", "worker/targets")
BUSY = 0.05  # of the time, in which the main process waited for a core
MUCH = 0.1  # of the main process' time, for a part other than the device
NEAR = 1.1  # wall time over the forward pass
VARIES = 1.5  # 95th percentile over median
GROWS_MB = 10.0  # per 100 batches
RISES_MB = 5.0  # over each half of the run
FEW = 5  # batches for a decision
FILLS = 20  # the least number of batches for a verdict on memory


class Slope(NamedTuple):
    """Growth by a straight line."""

    per_100: float  # in the unit of the values, per 100 steps
    error: float  # standard error of it


class Findings(NamedTuple):
    """Seconds are those of rank 0's main process over the whole validation."""

    images: int  # of rank 0
    batches: int
    wall: float
    stages: dict[str, float]
    parts: dict[str, float]  # by LOADER, DEVICE, HOST
    forward_alone: float  # all images, nothing else running
    over: float  # wall time over `forward_alone`
    scoring: float  # post-process and metrics, in whichever process
    loading: float  # decoding, resizing and target maps, in whichever process
    waited: float  # share of the time in which the main process waited for a core
    waited_alone: float  # the same while the forward pass ran alone
    device: str  # cpu, cuda, mps
    cores: int | None  # None: unknown, in profiles of earlier versions
    threads: int
    loader_workers: int
    scoring_workers: int
    memory: list[float]  # MB at the end of each batch

    @property
    def total(self) -> float:
        return sum(self.parts.values()) or 1.0

    @property
    def is_near(self) -> bool:
        """Close enough to the forward pass alone."""
        return self.over <= NEAR

    @property
    def taken(self) -> float:
        """Share of the time in which other programs had the main process' core.

        If processes of this run may have had it, only the forward pass alone is used.
        """
        own = self.loader_workers + self.scoring_workers
        return self.waited_alone if own else max(self.waited_alone, self.waited)

    @property
    def is_busy(self) -> bool:
        return self.taken > BUSY

    @property
    def bound(self) -> str:
        """The largest part; DEVICE if the forward pass hides the others."""
        return DEVICE if self.is_near else max(self.parts, key=self.parts.__getitem__)

    @property
    def is_few(self) -> bool:
        """Too few batches for a decision."""
        return self.batches < FEW

    def is_much(self, part: str) -> bool:
        """Whether the main process loses time to the loader, or to post-process and metrics."""
        return not self.is_near and self.parts[part] >= MUCH * self.total

    @property
    def spare_cores(self) -> int:
        """Cores that this run did not use; 0 if unknown."""
        used = self.threads if self.device == "cpu" else 1
        return max(0, (self.cores or 0) - used - self.loader_workers - self.scoring_workers)


def findings(profile: dict[str, Any]) -> Findings:
    """The findings of a profile.json of this or an earlier version."""
    run, compared = profile.get("run", {}), profile["compared"]
    stages = {name: stats["total"] for name, stats in profile["stages"].items()}
    data, series = profile["config"]["data"], profile.get("series", {})

    def seconds(names: tuple[str, ...]) -> float:
        return sum(stages.get(name, 0.0) for name in names)

    return Findings(
        images=-(-profile["images"] // profile["ranks"]),
        batches=profile["performance/val_num_batches"],
        wall=profile["performance/val_epoch_time"],
        stages=stages,
        parts={part: seconds(names) for part, names in _PARTS.items()},
        forward_alone=profile["performance/forward_alone_s"],
        over=profile["performance/over_forward"],
        scoring=seconds(("postprocess", "metric", "worker/postprocess", "worker/metric")),
        loading=seconds(LOADING),
        waited=profile.get("performance/waited_for_core", 0.0),
        waited_alone=profile.get("performance/waited_for_core_alone", 0.0),
        device=run.get("device_type", compared["device"].split(":")[0]),
        cores=run.get("cores"),
        threads=run.get("threads", 1),
        loader_workers=run.get("loader_workers", data["num_workers"]),
        scoring_workers=run.get("scoring_workers", 0),
        memory=series.get("own_mb", series.get("rss_mb", [])),
    )


def slope(values: list[float]) -> Slope | None:
    """Slope over the index by least squares; None for fewer than three values."""
    if len(values) < 3:
        return None
    found = np.asarray(values, np.float64)
    steps = np.arange(len(found)) - (len(found) - 1) / 2
    spread = float((steps**2).sum())
    rate = float((steps * found).sum()) / spread
    rest = found - found.mean() - rate * steps
    error = math.sqrt(float((rest**2).sum()) / (len(found) - 2) / spread)
    return Slope(100 * rate, 100 * error)


class Growth(NamedTuple):
    """How memory changes over the batches after the first fifth, in which it fills."""

    whole: Slope
    rises: tuple[float, float]  # MB by which it rises over each half, by a straight line

    @property
    def grows(self) -> bool:
        """Whether memory grows in both halves. A single step appears in one half only."""
        is_steep = self.whole.per_100 > max(GROWS_MB, 2 * self.whole.error)
        return is_steep and min(self.rises) > RISES_MB


def growth(memory: list[float]) -> Growth | None:
    """Growth of `memory`, MB at the end of each batch; None for too few batches."""
    if len(memory) < FILLS:
        return None
    later = memory[len(memory) // 5 :]
    halves = later[: len(later) // 2], later[len(later) // 2 :]
    whole, first, second = (slope(values) for values in (later, *halves))
    if whole is None or first is None or second is None:
        return None
    rises = [s.per_100 / 100 * (len(h) - 1) for s, h in zip((first, second), halves, strict=True)]
    return Growth(whole, (rises[0], rises[1]))
