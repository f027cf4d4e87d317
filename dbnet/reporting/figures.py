"""The figures of a profile, from the durations of its stages."""

from typing import Any

from dbnet.runtime.profiler import summarize


def stage_figures(durations: dict[str, list[float]]) -> dict[str, Any]:
    """Statistics of a pass over the images, as profile.json holds them.

    Args:
        durations: seconds per batch, by stage. Stages under worker/ run in parallel and are
            no part of the time of a batch.

    Raises:
        InputError: no batch was measured.
    """
    stages = {name: summarize(values) for name, values in durations.items()}
    host = {name: values for name, values in durations.items() if is_host(name)}
    batch = summarize([sum(of_batch) for of_batch in zip(*host.values(), strict=True)])
    return {
        "performance/val_batch_mean": batch.mean,
        "performance/val_batch_median": batch.median,
        "performance/val_batch_p95": batch.p95,
        "performance/val_batch_p99": batch.p99,
        "performance/val_batch_std": batch.std,
        "performance/val_num_batches": batch.count,
        "bottleneck": max(host, key=lambda name: stages[name].total),
        "stages": {name: vars(stats) for name, stats in stages.items()},
    }


def memory_entries(memory: dict[str, float]) -> dict[str, float]:
    """GPU and resident memory of `runtime.device.memory_figures`, as profile.json names them."""
    return {
        "performance/gpu_memory_gb": memory.get("gpu_allocated_gb", 0.0),
        "performance/gpu_memory_reserved_gb": memory.get("gpu_reserved_gb", 0.0),
        "performance/gpu_memory_peak_gb": memory.get("gpu_peak_gb", 0.0),
        "performance/cpu_memory_percent": memory["rss_peak_percent"],
        "performance/rss_peak_gb": memory["rss_peak_gb"],
    }


def is_host(stage: str) -> bool:
    """Whether the main process spends its time in this stage."""
    return not stage.startswith("worker/")
