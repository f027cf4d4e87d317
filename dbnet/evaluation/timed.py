"""A validation that is measured: warm-up, the pass itself, and further timings."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dbnet.data.loaders import first_samples
from dbnet.data.storage.caches import CacheCounts, Caches
from dbnet.data.workers import Loader
from dbnet.metrics import Metric
from dbnet.reporting.measure import Passes, time_forward, training_step_seconds, write_trace
from dbnet.reporting.recording import Recording
from dbnet.runtime import distributed
from dbnet.runtime.device import memory_figures, wait_for
from dbnet.runtime.profiler import StageTimer, waiting_seconds
from dbnet.structures import Batch, ImageResult
from dbnet.training.caps import CapCounter
from dbnet.training.engine import evaluate
from dbnet.training.scoring import Postprocess
from dbnet.training.scoring_pool import open_pool

_CPU_IMAGES = 2  # of a training step on the CPU


class TimedValidation(NamedTuple):
    """The parts of a validation whose stages are timed."""

    model: nn.Module
    criterion: nn.Module
    loader: Loader
    caches: Caches
    postprocess: Postprocess
    metrics: dict[str, Metric]
    device: torch.device
    dtype: torch.dtype | None  # of autocast
    scoring_workers: int | None  # as asked for
    images: int  # of this rank

    def run(
        self,
        title: str,
        timer: StageTimer,
        batches: Iterable[Batch] | None = None,
        on_image: Callable[[ImageResult], None] = lambda result: None,
    ) -> dict[str, float]:
        """Losses and metrics of one pass over `batches`; None: over the loader."""
        scoring = (self.postprocess, self.metrics)
        with (
            open_pool(self.scoring_workers, *scoring, self.device) as pool,
            progress(total=self.images, desc=title, unit="image") as bar,
        ):

            def advance(result: ImageResult) -> None:
                bar.update()
                on_image(result)

            return evaluate(
                self.model,
                self.criterion,
                self.loader if batches is None else batches,
                *scoring,
                device=self.device,
                dtype=self.dtype,
                timer=timer,
                pool=pool,
                on_image=advance,
            )


class Measured(NamedTuple):
    """One validation as it really runs."""

    durations: dict[str, list[float]]  # seconds per batch of this rank, by stage
    epoch_time: float  # seconds, of the slowest rank
    waited: float  # share of rank 0's time in which its main process waited for a core
    memory: dict[str, float]
    cache: dict[str, dict[str, int]]  # of all ranks
    metrics: dict[str, float]  # of all ranks
    limits: list[str]  # lines about limits that left detections out
    recording: Recording


class ExtraTimings(NamedTuple):
    """Timings in addition to the validation, in seconds."""

    forward: float  # all images of this rank, nothing else running
    waited: float  # share of that time in which the main process waited for a core
    train_step: float  # 0: not measured
    reference: dict[str, float] | None  # stages of the reference and its "wall"
    timer: float  # measuring one stage


def warm_up(validation: TimedValidation, *, batch_size: int, batches: int) -> Batch:
    """Start the workers, fill the caches, run allocators and kernels; returns the first batch."""
    for _ in progress(validation.loader, desc="fill caches", unit="batch"):
        pass
    resident = first_samples(validation.loader, batch_size)
    if batches:
        validation.run("warm-up", StageTimer(synchronize=None), [resident] * batches)
    return resident


def forward_alone(validation: TimedValidation, batch: Batch) -> Passes:
    """Five forward passes on rank 0, nothing else running; others do none."""
    if not distributed.is_main():
        return Passes([], 0.0)
    where: dict[str, Any] = {"device": validation.device, "dtype": validation.dtype}
    return time_forward(validation.model, batch, **where, repeats=5)


def measure(validation: TimedValidation, caps: CapCounter) -> Measured:
    """One pass as it really runs.

    On the CPU each stage ends before the next begins. On a GPU the stages are measured by a second
    pass, which waits for the device at the borders of each stage.
    """
    served = validation.caches.counts()
    distributed.barrier()  # no rank measures while another one fills caches
    timer = StageTimer(synchronize=None)
    started, waited = time.perf_counter(), waiting_seconds()
    recording = Recording()

    def keep(result: ImageResult) -> None:
        recording(result)
        caps(result)

    metrics = validation.run("validation", timer, on_image=keep)
    seconds = time.perf_counter() - started
    waited = (waiting_seconds() - waited) / seconds
    epoch_time = max(distributed.all_gather(seconds))
    memory = memory_figures(validation.device)
    cache = {}
    for name, counts in validation.caches.counts().items():
        asked = distributed.all_reduce_sum(np.subtract(counts, served[name])).astype(int)
        cache[name] = CacheCounts(*asked.tolist())._asdict()
    if wait_for(validation.device):
        timer = StageTimer(synchronize=wait_for(validation.device))
        validation.run("stages", timer)
    return Measured(
        timer.durations, epoch_time, waited, memory, cache, metrics, caps.lines(), recording
    )


def trace(validation: TimedValidation, out: Path) -> None:
    """Three batches under torch.profiler, written by rank 0; all ranks take part."""
    timer, batches = StageTimer(synchronize=None), islice(validation.loader, 3)
    run = partial(validation.run, "trace", timer, batches)
    if distributed.is_main():
        write_trace(out / "trace.json", run)
    else:
        run()


def train_step(validation: TimedValidation, batch: Batch, steps: int) -> float:
    """Median seconds of a training step on the images of `batch`; 0 where none is asked for.

    On the CPU, where time is proportional to the images, it is measured on the first few and
    scaled to all: large images of a whole batch may need more memory than the machine has.
    """
    if not steps:
        return 0.0
    whole = len(batch.images)
    count = min(whole, _CPU_IMAGES) if validation.device.type == "cpu" else whole
    few = first_samples(validation.loader, count) if count < whole else batch
    where: dict[str, Any] = {"device": validation.device, "dtype": validation.dtype}
    seconds = training_step_seconds(
        validation.model, validation.criterion, few, **where, steps=steps
    )
    return seconds * whole / count


def time_reference(reference: TimedValidation) -> dict[str, float]:
    """Seconds by stage, and "wall" for the whole pass."""
    next(iter(reference.loader))  # its workers start
    timer = StageTimer(synchronize=None)
    started = time.perf_counter()
    reference.run("reference", timer)
    return timer.totals() | {"wall": time.perf_counter() - started}


def progress(*args: Any, **options: Any) -> tqdm:
    """A bar on rank 0."""
    return tqdm(*args, **options, leave=False, disable=not distributed.is_main())
