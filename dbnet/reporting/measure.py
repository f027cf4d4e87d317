"""Further timings of a profile: the forward pass alone, a training step, the timer itself."""

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.profiler import profile

from dbnet.data.collate import to_device
from dbnet.runtime.device import autocast, wait_for
from dbnet.runtime.profiler import StageTimer, waiting_seconds
from dbnet.structures import Batch


class Passes(NamedTuple):
    """Times of repeated forward passes over one batch."""

    seconds: list[float]  # of each
    waited: float  # seconds of all of them in which this thread waited for a core


def time_forward(
    model: nn.Module, batch: Batch, *, device: torch.device, dtype: torch.dtype | None, repeats: int
) -> Passes:
    """Time forward passes over a batch in memory while nothing else runs."""
    timer = StageTimer(synchronize=wait_for(device))
    images = batch.images.to(device)
    model.eval()
    with torch.inference_mode(), autocast(device, dtype):
        model(images)
        waited = waiting_seconds()
        for _ in range(repeats):
            with timer("forward"):
                model(images)
    return Passes(timer.durations["forward"], waiting_seconds() - waited)


def training_step_seconds(
    model: nn.Module,
    criterion: nn.Module,
    batch: Batch,
    *,
    device: torch.device,
    dtype: torch.dtype | None,
    steps: int,
) -> float:
    """Median seconds of forward, loss, backward and AdamW step, on a copy of the model."""
    timer = StageTimer(synchronize=wait_for(device))
    model = copy.deepcopy(model).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    batch = to_device(batch, device)
    for step in range(steps + 1):
        with timer("first" if step == 0 else "step"):  # the first one warms up
            with autocast(device, dtype):
                outputs = model(batch.images)
            criterion(outputs, batch).total.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return sorted(timer.durations["step"])[steps // 2]


def timer_seconds(device: torch.device) -> float:
    """Seconds that the measurement of one stage takes."""
    timer = StageTimer(synchronize=wait_for(device))
    started = time.perf_counter()
    for _ in range(1000):
        with timer("nothing"):
            pass
    return (time.perf_counter() - started) / 1000


def write_trace(path: Path, work: Callable[[], Any]) -> None:
    """Run `work` under torch.profiler; the file opens in chrome://tracing or Perfetto."""
    with profile(record_shapes=True) as recorded:
        work()
    path.parent.mkdir(parents=True, exist_ok=True)  # torch says nothing where it is not there
    recorded.export_chrome_trace(str(path))
