"""Recommendations after a profile: flags to try with their expected gain, and one decision."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from dbnet.reporting.findings import (
    BUSY,
    DEVICE,
    FEW,
    HOST,
    LOADER,
    LOADING,
    MUCH,
    Findings,
    findings,
    growth,
)
from dbnet.reporting.verdicts import lost_time

_WORTH = 0.05  # of the validation's time, for a flag that is worth naming
_MOST_WORKERS = 8
_LARGE, _SMALL = "dbnet-efficientnet_lite0.pt", "dbnet-mobilenetv3_small_075.pt"
# Share of the forward pass that bf16 saves: on an Intel Xeon with AMX, 252 instead of 340 ms. Of a
# GPU it is the most that half the bits can save, not a measured figure.
_BF16_SAVES = {"cpu": 0.26, "cuda": 0.5}
_SMALL_SAVES = 0.72  # there, of the forward pass of _LARGE in bf16: 70 instead of 252 ms


class Advice(NamedTuple):
    """A flag to try."""

    gain: float  # seconds saved at most
    flag: str
    why: str
    is_free: bool = True  # costs neither accuracy nor hardware


def advice(profile: dict[str, Any]) -> tuple[list[str], str]:
    """Recommendations as Markdown lines, the largest gain first, and the decision."""
    found = findings(profile)
    if found.is_busy:
        return [], (
            f"**Measure again on a quiet machine**. Other programs had the main process' core for "
            f"{found.taken:.0%} of the time (threshold {BUSY:.0%}): how much a flag "
            "would save is unknown."
        )
    if found.is_few:
        return [], (
            f"**Measure more batches**. A decision needs {FEW}, this run had {found.batches}: take "
            "more images or a smaller --data.batch-size."
        )
    listed = [*_loader_flags(profile, found), *_scoring_flags(found), *_free_flags(profile, found)]
    listed += _paid_flags(profile, found)
    worth = sorted(
        (each for each in listed if each.gain >= _WORTH * found.wall),
        key=lambda each: (not each.is_free, -each.gain),
    )
    lines = [
        f"`{a.flag}` saves up to {a.gain:.2f} s of {found.wall:.2f} s ({a.gain / found.wall:.0%}): "
        f"{a.why}."
        for a in worth
    ]
    grown = growth(found.memory)
    if grown and grown.grows:
        return [_MEMORY, *lines], (
            "**Find what keeps memory** before a long run: it grows by "
            f"{grown.whole.per_100:.0f} MB per 100 batches."
        )
    if worth and worth[0].is_free:
        return lines, (
            f"**Try `{worth[0].flag}`** and profile again: it saves up to "
            f"{worth[0].gain / found.wall:.0%} of the time."
        )
    return lines, _leave(found, has_lines=bool(worth))


_MEMORY = (
    "`--data.num-workers 0 --data.scoring-workers 0`, then `--data.cache none`: the run in which "
    "memory does not grow names the part that keeps it."
)


def _leave(found: Findings, *, has_lines: bool) -> str:
    """The decision if no flag helps without a cost, with the reason."""
    forward = found.forward_alone / found.wall
    only = " Each flag above has a cost." if has_lines else ""
    if found.is_near:
        return (
            f"**Leave the settings as they are**. {forward:.0%} of the time is the forward pass "
            f"itself.{only}"
        )
    leave = "**Leave the settings as they are**: no flag saves time without a cost."
    return f"{leave} {_why_not(found)}{only}"


def _why_not(found: Findings) -> str:
    if found.is_much(LOADER):
        slowest = max(LOADING, key=lambda name: found.stages.get(name, 0.0))
        ms = 1000 * found.stages.get(slowest, 0.0) / found.images
        return (
            f"The loader takes what it needs, most of it in {slowest.removeprefix('worker/')} "
            f"({ms:.1f} ms an image), and no core is left for more processes."
        )
    if found.is_much(HOST):
        return (
            f"Scoring takes {1000 * found.scoring / found.images:.1f} ms an image, and no core is "
            "left for more processes: the others compute."
        )
    return f"No part except the device takes {MUCH:.0%} of the time. {lost_time(found)}"


def _loader_flags(profile: dict[str, Any], found: Findings) -> list[Advice]:
    """Flags for a slow loader, whose W busy processes need W times the whole time."""
    if not found.is_much(LOADER):
        return []
    waited, data, workers = found.parts[LOADER], profile["config"]["data"], found.loader_workers
    flags = []
    if data["cache"] != "all":
        saved = sum(found.stages.get(name, 0.0) for name in LOADING)
        if data["cache"] == "targets":
            saved -= found.stages.get("worker/targets", 0.0)
        gain = min(waited, saved / max(workers, 1))
        flags.append(Advice(gain, "--data.cache all", "images and target maps are read, not made"))
    more = workers + min(max(workers, 1), found.spare_cores)
    if more > workers:
        left = (workers * found.total if workers else waited) / more
        gain = found.total - max(found.total - waited, left)
        why = f"the main process waits for the loader, and {found.spare_cores} cores are free"
        flags.append(Advice(gain, f"--data.num-workers {more}", why))
    return flags


def _scoring_flags(found: Findings) -> list[Advice]:
    """Flags for slow scoring: worker processes on other cores, as in benchmarks.pipeline."""
    if not found.is_much(HOST):
        return []
    rest = found.total - found.parts[HOST]
    enough = math.ceil(found.scoring / max(rest, 1e-9))
    now = found.scoring_workers
    workers = min(now + found.spare_cores, max(enough, now + 1), _MOST_WORKERS)
    if workers <= now:
        return []
    gain = found.total - max(rest, found.scoring / workers)
    why = "post-process and metrics run in parallel with the rest, on other cores"
    return [Advice(gain, f"--data.scoring-workers {workers}", why)]


def _free_flags(profile: dict[str, Any], found: Findings) -> list[Advice]:
    """Flags for a faster forward pass of the same network on the same machine."""
    run, forward, flags = profile.get("run", {}), found.forward_alone, []
    if profile["compared"]["precision"] == "fp32" and run.get("auto_precision") == "bf16":
        gain = forward * _BF16_SAVES.get(found.device, 0.0)
        flags.append(Advice(gain, "--precision bf16", "the device computes in it natively"))
    cores = run.get("physical_cores", 0)
    if found.device == "cpu" and found.threads < cores:
        gain = forward * (1 - found.threads / cores)
        why = f"the network computes with {found.threads} of {cores} cores"
        flags.append(Advice(gain, f"OMP_NUM_THREADS={cores}", why))
    return flags


def _paid_flags(profile: dict[str, Any], found: Findings) -> list[Advice]:
    """Flags for a cheaper forward pass at some cost, if it takes most of the time."""
    if found.parts[DEVICE] < 0.5 * found.total:
        return []
    forward, size, flags = found.forward_alone, profile["config"]["data"]["image_size"], []
    smaller = size * 3 // 4 // 32 * 32
    if smaller >= 64:
        why = "fewer pixels, and small texts are missed: compare figures with evaluate.py"
        gain = forward * (1 - (smaller / size) ** 2)
        flags.append(Advice(gain, f"--data.image-size {smaller}", why, is_free=False))
    if found.device == "cpu":
        if Path(profile["checkpoint"] or "").name == _LARGE:
            why = "the smaller released network; it is less accurate, see weights/README.md"
            saved = _SMALL_SAVES * forward
            flags.append(Advice(saved, f"--checkpoint weights/{_SMALL}", why, is_free=False))
        inside = found.stages.get("forward", 0.0)
        why = f"on a machine with a GPU; the rest stays, {found.wall - inside:.2f} s on this one"
        flags.append(Advice(inside, "--device cuda", why, is_free=False))
    return flags
