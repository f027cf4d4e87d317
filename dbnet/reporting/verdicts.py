"""What the figures of a profile mean, and what to try; each line states its evidence."""

import math
from typing import Any, NamedTuple

import numpy as np

LOADER, DEVICE, HOST = "loader-bound", "device-bound", "host-bound"
_PARTS = {
    LOADER: ("data_wait",),
    DEVICE: ("copy", "forward", "loss", "download"),
    HOST: ("postprocess", "metric", "submit", "score_wait"),
}
_MUCH = 0.2  # of the time, for a part that is worth a recommendation
_VARIES = 1.5  # 95th percentile over median
_NEAR = 1.1  # wall time over the forward pass
_GROWS_MB = 10.0  # per 100 batches


class Slope(NamedTuple):
    """Growth by a straight line."""

    per_100: float  # in the unit of the values, per 100 steps
    error: float  # standard error of it


def slope(values: list[float]) -> Slope | None:
    """Least squares over the index; the first fifth, in which memory fills, is left out.

    None where fewer than three values are left.
    """
    kept = np.asarray(values[len(values) // 5 :], np.float64)
    if len(kept) < 3:
        return None
    steps = np.arange(len(kept)) - (len(kept) - 1) / 2
    spread = float((steps**2).sum())
    rate = float((steps * kept).sum()) / spread
    rest = kept - kept.mean() - rate * steps
    error = math.sqrt(float((rest**2).sum()) / (len(kept) - 2) / spread)
    return Slope(100 * rate, 100 * error)


def shares(profile: dict[str, Any]) -> dict[str, float]:
    """Share of the main process' time by LOADER, DEVICE and HOST, 0..1."""
    stages = profile["stages"]
    totals = {
        part: sum(stages[name]["total"] for name in names if name in stages)
        for part, names in _PARTS.items()
    }
    total = sum(totals.values()) or 1.0
    return {part: value / total for part, value in totals.items()}


def verdicts(profile: dict[str, Any]) -> list[str]:
    """Markdown lines, each from this profile's own figures."""
    parts = shares(profile)
    bound = max(parts, key=parts.__getitem__)
    split = ", ".join(f"{part.removesuffix('-bound')} {share:.0%}" for part, share in parts.items())
    over = profile["performance/over_forward"]
    reach = "at its ceiling" if over <= _NEAR else "below its ceiling"
    lines = [
        f"Validation is **{bound}**: {split} of the main process' time.",
        f"Validation is **{reach}**: it takes {over:.2f} times its forward pass alone "
        f"(threshold {_NEAR}).",
        _variance(profile),
        *_memory(profile),
        *_training(profile),
    ]
    return lines


def _variance(profile: dict[str, Any]) -> str:
    median = profile["performance/val_batch_median"]
    ratio = profile["performance/val_batch_p95"] / median if median else 1.0
    word = "high" if ratio > _VARIES else "low"
    return (
        f"Variance is **{word}**: the 95th percentile of a batch is {ratio:.2f} times the median "
        f"(threshold {_VARIES})."
    )


def _memory(profile: dict[str, Any]) -> list[str]:
    found = slope(profile.get("series", {}).get("rss_mb", []))
    if found is None:
        return []
    grows = found.per_100 > max(_GROWS_MB, 2 * found.error)
    return [
        f"Memory **{'grows' if grows else 'does not grow'}**: {found.per_100:+.1f} MB per 100 "
        f"batches, standard error {found.error:.1f} (threshold {_GROWS_MB:.0f} MB and two errors)."
    ]


def _training(profile: dict[str, Any]) -> list[str]:
    step, batch = profile["performance/train_step_s"], profile["performance/val_batch_mean"]
    if not step:
        return []
    if step >= batch:
        return [
            f"A training step takes {1000 * step:.0f} ms, {step / batch:.1f} times a validation "
            "batch, as it should: the backward pass is the difference."
        ]
    return [
        f"A training step takes {1000 * step:.0f} ms, **less than a validation batch** "
        f"({1000 * batch:.0f} ms): what follows the network is too slow."
    ]


def recommendations(profile: dict[str, Any]) -> list[str]:
    """Flags to try, most promising first, each with its expected gain; a line if there is none."""
    found = [*_loader_flags(profile), *_scoring_flags(profile), *_device_flags(profile)]
    found.sort(key=lambda item: -item[0])
    inside = profile["stages"].get("forward", {}).get("total", 0.0)
    alone = profile["performance/forward_alone_s"]
    if not found and profile["performance/over_forward"] > _NEAR and inside > _NEAR * alone:
        return [
            f"Measure again on a quiet machine: the forward pass takes {inside:.2f} s within the "
            f"validation and {alone:.2f} s alone, for other processes use its cores."
        ]
    if not found:
        return [
            "Nothing to change: no part beside the network takes more than "
            f"{_MUCH:.0%} of the time. Only a faster network or device would help."
        ]
    total = profile["performance/val_epoch_time"]
    return [
        f"`{flag}`: saves up to {gain:.2f} s of {total:.2f} s ({gain / total:.0%}); {why}."
        for gain, flag, why in found
    ]


Flag = tuple[float, str, str]  # seconds saved, flag, reason


def _loader_flags(profile: dict[str, Any]) -> list[Flag]:
    if shares(profile)[LOADER] < _MUCH:
        return []
    waited, data = profile["stages"]["data_wait"]["total"], profile["config"]["data"]
    flags = []
    if data["cache"] != "all":
        flags.append((waited, "--data.cache all", "the main process waits for the loader"))
    more = 2 * max(data["num_workers"], 1)
    cores = profile.get("run", {}).get("cores") or more
    if more <= cores:
        flags.append((waited / 2, f"--data.num-workers {more}", "more loader processes"))
    return flags


def _scoring_flags(profile: dict[str, Any]) -> list[Flag]:
    """As benchmarks.pipeline shows: scoring beside the forward pass, on cores of its own."""
    if shares(profile)[HOST] < _MUCH:
        return []
    run, stages = profile.get("run", {}), profile["stages"]
    cores, now = run.get("cores") or 1, run.get("scoring_workers", 0)
    workers = min(max(2 * now, 2), 8)
    if workers >= cores and run.get("device_type", "cpu") == "cpu":
        return []
    waits = sum(stages[name]["total"] for name in _PARTS[HOST] if name in stages)
    gain = waits / 2 if now else waits * (1 - 1 / workers)
    return [(gain, f"--data.scoring-workers {workers}", "post-process and metrics in parallel")]


def _device_flags(profile: dict[str, Any]) -> list[Flag]:
    if profile["compared"]["precision"] != "fp32" or shares(profile)[DEVICE] < _MUCH:
        return []
    if profile.get("run", {}).get("device_type") != "cuda":
        return []
    forward = profile["performance/forward_alone_s"]
    return [(forward / 2, "--precision bf16", "the forward pass runs in fp32")]
