"""Constructed profiles of 100 images in 10 batches."""

from typing import Any

# seconds by stage
FORWARD = {"data_wait": 0.1, "forward": 9.3, "postprocess": 0.4, "metric": 0.2}
SCORING = {"data_wait": 0.1, "forward": 3.0, "postprocess": 4.0, "metric": 2.9}
LOADER = {"data_wait": 8.0, "forward": 1.4, "postprocess": 0.3, "metric": 0.3}


def profile(
    stages: dict[str, float],
    *,
    device: str = "cuda",
    cores: int = 16,
    threads: int = 1,
    loader_workers: int = 2,
    scoring_workers: int = 0,
    precision: str = "bf16",
    data: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """The parts of a profile.json that verdicts and advice read."""
    wall = sum(total for name, total in stages.items() if not name.startswith("worker/"))
    alone = changes.get("performance/forward_alone_s", stages["forward"])
    values = {
        "images": 100,
        "ranks": 1,
        "stages": {name: {"total": total} for name, total in stages.items()},
        "performance/val_num_batches": 10,
        "performance/val_batch_median": 1.0,
        "performance/val_batch_p95": 1.1,
        "performance/train_step_s": 4.0,
        "performance/val_epoch_time": wall,
        "performance/forward_alone_s": alone,
        "performance/over_forward": wall / alone,
        "checkpoint": None,
        "config": {
            "data": {"cache": "targets", "num_workers": loader_workers, "image_size": 640}
            | (data or {})
        },
        "compared": {"precision": precision, "device": device, "encoder": "resnet18"},
        "run": {
            "cores": cores,
            "physical_cores": cores,
            "threads": threads,
            "loader_workers": loader_workers,
            "scoring_workers": scoring_workers,
            "device_type": device,
            "auto_precision": "bf16",
        },
    }
    return values | changes
