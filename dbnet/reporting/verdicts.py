"""Verdicts about a profile; each line states its evidence and its threshold."""

from typing import Any

import numpy as np

from dbnet.reporting.figures import is_host
from dbnet.reporting.findings import (
    BUSY,
    DEVICE,
    FEW,
    FILLS,
    GROWS_MB,
    HOST,
    LOADER,
    MUCH,
    NEAR,
    RISES_MB,
    VARIES,
    Findings,
    findings,
    growth,
)

_NAMED = 3  # slow batches


def verdicts(profile: dict[str, Any]) -> list[str]:
    """The verdicts as Markdown lines."""
    found = findings(profile)
    return [
        *_machine(profile, found),
        _bound(found),
        _ceiling(found),
        _loader(found),
        _scoring(found),
        _variance(profile, found),
        _memory(found),
        *_training(profile),
    ]


def _machine(profile: dict[str, Any], found: Findings) -> list[str]:
    """Whether other programs used the cores; no line if an earlier version did not measure it."""
    if "performance/waited_for_core" not in profile:
        return []
    word = "busy" if found.is_busy else "quiet"
    line = (
        f"The machine is **{word}**: the main process waited for a core during "
        f"{found.waited_alone:.0%} of the forward pass alone and {found.waited:.0%} of the "
        f"validation (threshold {BUSY:.0%})."
    )
    if found.is_busy:
        return [f"{line} Other programs make all times longer, and their shares uncertain."]
    own = found.waited > BUSY
    return [f"{line} Loader and scoring processes used the core." if own else line]


def _bound(found: Findings) -> str:
    what = {LOADER: "loader", DEVICE: "device", HOST: "scoring"}
    split = ", ".join(f"{what[part]} {s / found.total:.0%}" for part, s in found.parts.items())
    forward = found.stages.get("forward", 0.0) / found.total
    return (
        f"Validation is **{found.bound}**: of the main process' time, {split} (the largest "
        f"decides; the forward pass is {forward:.0%})."
    )


def _ceiling(found: Findings) -> str:
    reach = "at its ceiling" if found.is_near else "away from its ceiling"
    line = (
        f"Validation took {found.wall:.2f} s, **{reach}**: {found.over:.2f} times the forward pass "
        f"alone, {found.forward_alone:.2f} s (threshold {NEAR})"
    )
    return f"{line}." if found.is_near else f"{line}. {lost_time(found)}"


def lost_time(found: Findings) -> str:
    """The largest differences between the validation and its forward pass."""
    lost = {name: s for name, s in found.stages.items() if is_host(name) and name != "forward"}
    lost["a slower forward pass"] = found.stages.get("forward", 0.0) - found.forward_alone
    largest = sorted(lost.items(), key=lambda item: -item[1])[:3]
    parts = ", ".join(f"{name} {s:.2f} s" for name, s in largest if s > 0)
    return f"The rest is mostly {parts}."


def _loader(found: Findings) -> str:
    word = "slows the rest down" if found.is_much(LOADER) else "keeps up"
    processes = _processes(found.loader_workers)
    return (
        f"The loader **{word}**: {found.parts[LOADER] / found.total:.0%} of the main process' time "
        f"goes to waiting for it (threshold {MUCH:.0%} while away from the ceiling); it takes "
        f"{1000 * found.loading / found.images:.1f} ms an image in {processes}."
    )


def _processes(workers: int) -> str:
    if not workers:
        return "the main process"
    return "1 process" if workers == 1 else f"{workers} processes"


def _scoring(found: Findings) -> str:
    word = "slows the rest down" if found.is_much(HOST) else "keeps up"
    processes = _processes(found.scoring_workers)
    return (
        f"Scoring **{word}**: {found.parts[HOST] / found.total:.0%} of the main process' time goes "
        f"to post-process and metrics (threshold {MUCH:.0%} while away from the ceiling); they "
        f"take {1000 * found.scoring / found.images:.1f} ms an image in {processes}."
    )


def _variance(profile: dict[str, Any], found: Findings) -> str:
    median, p95 = (profile[f"performance/val_batch_{name}"] for name in ("median", "p95"))
    if found.is_few:
        return f"Variance is **unknown**: {_batches(found)}, fewer than {FEW}."
    ratio = p95 / median if median else 1.0
    line = (
        f"the 95th percentile of a batch is {ratio:.2f} times the median, {1000 * median:.0f} ms "
        f"(threshold {VARIES})"
    )
    if ratio <= VARIES:
        return f"Variance is **low**: {line}."
    return f"Variance is **high**: {line}.{_slow_batches(profile, median)}"


def _slow_batches(profile: dict[str, Any], median: float) -> str:
    """The slowest batches, each with its images and the stage that makes it slow."""
    series = profile.get("series", {})
    stages = {k: np.asarray(v) for k, v in series.get("stages", {}).items() if is_host(k)}
    if not stages:
        return ""
    times = np.sum(list(stages.values()), axis=0)
    described = []
    for index in np.argsort(-times, kind="stable")[:_NAMED]:
        if times[index] <= VARIES * median:
            break
        extra = {name: float(v[index] - np.median(v)) for name, v in stages.items()}
        stage = max(extra, key=extra.__getitem__)
        images = series["image_ids"][index] if "image_ids" in series else []
        names = (
            f"; {images[0]} to {images[-1]}"
            if len(images) > 1
            else "".join(f"; {image}" for image in images)
        )
        described.append(
            f"batch {index + 1} ({1000 * times[index]:.0f} ms, {stage} "
            f"{1000 * stages[stage][index]:.0f}{names})"
        )
    return f" Slowest: {', '.join(described)}."


def _memory(found: Findings) -> str:
    grown = growth(found.memory)
    if grown is None:
        return f"Memory growth is **unknown**: {_batches(found)}, fewer than {FILLS}."
    word = "grows" if grown.grows else "does not grow"
    first, second = grown.rises
    return (
        f"Memory **{word}**: {grown.whole.per_100:+.1f} MB per 100 batches, standard error "
        f"{grown.whole.error:.1f} (threshold {GROWS_MB:.0f} MB and two errors); {first:+.1f} MB in "
        f"the first half, {second:+.1f} in the second (threshold {RISES_MB:.0f} in each)."
    )


def _batches(found: Findings) -> str:
    return f"{found.batches} batch" + ("es" if found.batches != 1 else "")


def _training(profile: dict[str, Any]) -> list[str]:
    step, batch = profile["performance/train_step_s"], profile["performance/val_batch_median"]
    if not step:
        return []
    line = f"{1000 * step:.0f} ms, {step / batch:.1f} times a validation batch (threshold 1)"
    if step >= batch:
        return [f"A training step is **longer than a validation batch**, as it should be: {line}."]
    return [
        f"A training step is **shorter than a validation batch**: {line}, although it has a "
        "backward pass. The validation loses time outside its network."
    ]
