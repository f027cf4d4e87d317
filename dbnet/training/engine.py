"""One pass over the training set; one pass over the validation set. Components are arguments."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from dbnet.data.collate import to_device
from dbnet.errors import NonFiniteError, OtherRankError
from dbnet.metrics import Metric
from dbnet.runtime import distributed
from dbnet.runtime.device import autocast
from dbnet.runtime.profiler import StageTimer
from dbnet.structures import Batch, ImageResult
from dbnet.training.predictions import Prediction, score_predictions, start_download
from dbnet.training.scoring import Postprocess
from dbnet.training.scoring_pool import ScoringPool
from dbnet.training.state import TrainState


class StepReport(NamedTuple):
    """Figures of one training batch, over all ranks."""

    losses: dict[str, float]  # total, prob, thresh, binary
    images: int
    grad_norm: float | None  # before clipping; None where the optimizer did not step
    lr: float


def train_one_epoch(
    model: nn.Module,
    criterion: nn.Module,
    loader: Iterable[Batch],
    state: TrainState,
    *,
    batch_sizes: list[int],
    device: torch.device,
    dtype: torch.dtype | None,
    accumulate: int,
    grad_clip: float,
    timer: StageTimer,
    on_step: Callable[[StepReport], None],
) -> None:
    """Train on every batch once.

    Args:
        model: the network of `state` as `distributed.parallel` returns it.
        state: optimizer, schedule, scaler and averaged weights, which every step changes.
        batch_sizes: images in each batch over all ranks. `loader` yields the share of this rank, or
            any one image if it has none. `accumulate` batches make one optimizer step, in which
            all images have the same weight.
        dtype: of autocast; None for full float32.
        grad_clip: largest gradient norm; 0 for no limit.
        on_step: called for every batch after its optimizer step. An exception that it raises ends
            the pass. After a report with a `grad_norm`, no gradient is pending.

    Raises:
        NonFiniteError: names the losses and the files. The weights are those of the last finite
            step.
        OtherRankError: another rank has raised NonFiniteError.
    """
    model.train()
    state.optimizer.zero_grad(set_to_none=True)
    syncs_norms = any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
    for index, batch in enumerate(timed(loader, timer)):
        place = index % accumulate
        group = batch_sizes[index - place : index - place + accumulate]
        is_last = place == len(group) - 1
        images = len(distributed.shard(range(batch_sizes[index])))
        with distributed.gradient_sync(model, enabled=is_last):
            losses, values = _forward(model, criterion, batch, device, dtype, timer)
            parts = dict(zip(losses._fields, values, strict=True))
            if place == 0:
                sums = np.zeros((len(group), 1 + len(parts)))  # images; losses times images
            sums[place] = images, *(images * value for value in parts.values())
            totals = _sums_of_ranks(sums, parts, batch, meet=is_last or syncs_norms)
            with timer("backward"):
                weight = images * distributed.world() / sum(group)
                state.scaler.scale(losses.total * weight).backward()
        if not is_last:
            continue
        with timer("step"):
            grad_norm = _step(state, grad_clip)
        if grad_norm is None:
            raise NonFiniteError(f"gradient is not finite; loss {parts}; files: {batch.image_ids}")
        for report in _reports(totals, losses._fields, grad_norm, state.scheduler):
            on_step(report)


def _forward(
    model: nn.Module,
    criterion: nn.Module,
    batch: Batch,
    device: torch.device,
    dtype: torch.dtype | None,
    timer: StageTimer,
) -> tuple[Any, list[float]]:
    """The losses of `batch`: a NamedTuple of scalars on the device, and their values."""
    with timer("copy"):
        on_device = to_device(batch, device)
    with timer("forward"), autocast(device, dtype):
        outputs = model(on_device.images)
    with timer("loss"):
        losses = criterion(outputs, on_device)
        return losses, torch.stack(losses).tolist()  # waits for the device


def _sums_of_ranks(
    sums: np.ndarray, parts: dict[str, float], batch: Batch, *, meet: bool
) -> np.ndarray:
    """`sums` over all ranks if they `meet`, else the sums of this rank.

    If the loss of one rank is not finite, all ranks must end before their next collective
    operation. That is the one of the gradients, or of synchronised batch norms.

    Args:
        sums: float64 (batches of the step, 1 + losses): images, losses times images.
        parts: the losses of `batch`.
        meet: such a collective operation follows.

    Raises:
        NonFiniteError: the loss of this rank is not finite.
        OtherRankError: the loss of another rank is not finite.
    """
    is_finite = math.isfinite(parts["total"])
    totals = distributed.all_reduce_sum(sums) if meet or not is_finite else sums
    if not is_finite:
        raise NonFiniteError(f"loss is not finite: {parts}; files: {batch.image_ids}")
    if meet and not np.isfinite(totals).all():
        raise OtherRankError("the loss of another rank is not finite; it names the files")
    return totals


def _reports(
    totals: np.ndarray, names: tuple[str, ...], grad_norm: float, scheduler: LRScheduler
) -> Iterator[StepReport]:
    """One report for each batch of an optimizer step. The last one has the gradient norm."""
    lr = float(scheduler.get_last_lr()[0])
    for done, (size, *loss_sums) in enumerate(totals.tolist(), start=1):
        means = {name: s / size for name, s in zip(names, loss_sums, strict=True)}
        yield StepReport(means, int(size), grad_norm if done == len(totals) else None, lr)


def _step(state: TrainState, grad_clip: float) -> float | None:
    """Make an optimizer step; returns the gradient norm before clipping.

    In half precision a gradient may overflow. The scaler then skips the step and lowers its scale.
    None is returned if the gradient is not finite and a lower scale does not help.
    """
    scaler = state.scaler
    scaler.unscale_(state.optimizer)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), grad_clip or math.inf).item()
    is_finite = math.isfinite(norm)
    if is_finite or scaler.is_enabled():  # an enabled scaler skips such a step itself
        scaler.step(state.optimizer)
        scaler.update()
    if is_finite:
        state.scheduler.step()
        if state.ema is not None:
            state.ema.update_parameters(state.model)
    state.optimizer.zero_grad(set_to_none=True)
    return norm if is_finite or (scaler.is_enabled() and scaler.get_scale() >= 1) else None


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    criterion: nn.Module,
    loader: Iterable[Batch],
    postprocess: Postprocess,
    metrics: dict[str, Metric],
    *,
    device: torch.device,
    dtype: torch.dtype | None,
    timer: StageTimer,
    pool: ScoringPool | None = None,
    on_image: Callable[[ImageResult], None] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Losses and metrics over all images of all ranks, in original pixels.

    While a GPU computes a batch, the host post-processes and scores the previous one.

    Args:
        model: the network, not wrapped. All ranks use the buffers of rank 0.
        loader: this rank's images.
        metrics: by name; they are reset first.
        pool: worker processes with the same `postprocess` and `metrics`. They score several batches
            at a time. None: this process scores. Results are identical bit by bit.
        on_image: called with the result of each image of this rank, in order.
        is_stopped: called after every batch. If it returns true on one rank, the pass ends.

    Returns:
        {"loss/total": ..., "cleval/hmean": ..., "images": ..., "empty": ..., "capped": ...}.
        Losses are means over images. `empty` is the number of images without a detection. The dict
        is empty if the pass was stopped.

    Raises:
        InputError, RuntimeError: as `score_predictions`.
    """
    distributed.broadcast_buffers(model)
    model.eval()
    predictions = _predictions(
        model, criterion, loader, device=device, dtype=dtype, timer=timer, pool=pool
    )
    return score_predictions(
        predictions,
        postprocess,
        metrics,
        timer=timer,
        pool=pool,
        on_image=on_image,
        is_stopped=is_stopped,
    )


def _predictions(
    model: nn.Module,
    criterion: nn.Module,
    loader: Iterable[Batch],
    *,
    device: torch.device,
    dtype: torch.dtype | None,
    timer: StageTimer,
    pool: ScoringPool | None,
) -> Iterator[Prediction]:
    for batch in timed(loader, timer):
        with timer("copy"):
            on_device = to_device(batch, device)
        with timer("forward"), autocast(device, dtype):
            outputs = model(on_device.images)
            prob_maps = outputs.prob_logits.float().sigmoid()
        with timer("loss"):
            losses = criterion(outputs, on_device)
        host = pool.host_maps(tuple(prob_maps.shape)) if pool else None
        yield Prediction(batch, losses, start_download(prob_maps, host))


def timed(loader: Iterable[Batch], timer: StageTimer) -> Iterator[Batch]:
    """The batches of the loader. Waiting for them is the stage "data_wait".

    The times that workers needed for a batch are added as "worker/...". They run in parallel with
    everything else. The last wait, at the end of the loader, belongs to no batch and is not added.
    """
    batches = iter(loader)
    while True:
        with timer("data_wait"):
            batch = next(batches, None)
        if batch is None:
            timer.durations["data_wait"].pop()
            return
        for stage, seconds in batch.seconds.items():
            timer.add(f"worker/{stage}", seconds)
        yield batch
