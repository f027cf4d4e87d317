"""One pass over the training set; one pass over the validation set. Knows no component."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from dbnet.data.collate import to_device
from dbnet.errors import NonFiniteError, OtherRankError
from dbnet.metrics import Metric
from dbnet.runtime import distributed
from dbnet.runtime.device import autocast
from dbnet.runtime.profiler import StageTimer
from dbnet.structures import Batch
from dbnet.training.predictions import Prediction, score_predictions, start_download
from dbnet.training.scoring import ImageResult, Postprocess
from dbnet.training.scoring_pool import ScoringPool


class StepReport(NamedTuple):
    """What one batch did, over all ranks."""

    losses: dict[str, float]  # total, prob, thresh, binary
    images: int
    grad_norm: float | None  # before clipping; None where the optimizer did not step
    lr: float


def train_one_epoch(
    model: nn.Module,
    criterion: nn.Module,
    loader: Iterable[Batch],
    optimizer: Optimizer,
    scheduler: LRScheduler,
    scaler: GradScaler,
    *,
    batch_sizes: list[int],
    device: torch.device,
    dtype: torch.dtype | None,
    accumulate: int,
    grad_clip: float,
    ema: AveragedModel | None,
    timer: StageTimer,
    on_step: Callable[[StepReport], None],
) -> None:
    """Train on every batch once.

    Args:
        model: as `distributed.parallel` gave it.
        batch_sizes: images in each batch over all ranks, of which this one's `loader` gives the
            rank's share, or any one where it has none. `accumulate` batches form one optimizer
            step in which every image weighs the same, also where the last ones are fewer.
        dtype: of autocast; None for full float32.
        grad_clip: largest gradient norm; 0 for no limit.
        on_step: called for every batch once its optimizer step is done. What it raises ends the
            pass; where its report has a `grad_norm` nothing is in hand, and the state can be kept.

    Raises:
        NonFiniteError: names the loss parts and the files of the batch; the weights are those
            of the last finite step.
        OtherRankError: this happened to another rank.
    """
    model.train()
    optimizer.zero_grad(set_to_none=True)
    syncs_norms = any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
    for index, batch in enumerate(timed(loader, timer)):
        place = index % accumulate
        group = batch_sizes[index - place : index - place + accumulate]
        is_last = place == len(group) - 1
        images = len(distributed.shard(range(batch_sizes[index])))
        with timer("copy"):
            on_device = to_device(batch, device)
        with distributed.gradient_sync(model, enabled=is_last):
            with timer("forward"), autocast(device, dtype):
                outputs = model(on_device.images)
            with timer("loss"):
                losses = criterion(outputs, on_device)
                values = torch.stack(losses).tolist()  # waits for the device
            if place == 0:
                sums = np.zeros((len(group), 1 + len(values)))  # images; losses times images
            sums[place] = images, *(images * value for value in values)
            parts = dict(zip(losses._fields, values, strict=True))
            is_finite = math.isfinite(parts["total"])
            # A rank whose loss is not finite must leave together with the others: before their next
            # collective, which is that of the gradients, or of synchronised batch norms.
            if is_last or syncs_norms or not is_finite:
                totals = distributed.all_reduce_sum(sums)
            if not is_finite:
                raise NonFiniteError(f"loss is not finite: {parts}; files: {batch.image_ids}")
            if (is_last or syncs_norms) and not np.isfinite(totals).all():
                raise OtherRankError("the loss of another rank is not finite; it names the files")
            with timer("backward"):
                weight = images * distributed.world() / sum(group)
                scaler.scale(losses.total * weight).backward()
        if not is_last:
            continue
        with timer("step"):
            grad_norm = _step(model, optimizer, scheduler, scaler, grad_clip)
            if ema is not None and math.isfinite(grad_norm):
                ema.update_parameters(model)
        # Half precision overflows now and then: the scaler skips the step and scales less.
        may_recover = scaler.is_enabled() and scaler.get_scale() >= 1
        if not math.isfinite(grad_norm) and not may_recover:
            raise NonFiniteError(f"gradient is not finite; loss {parts}; files: {batch.image_ids}")
        lr = scheduler.get_last_lr()[0]
        for done, (size, *loss_sums) in enumerate(totals.tolist(), start=1):
            means = {name: s / size for name, s in zip(losses._fields, loss_sums, strict=True)}
            norm = grad_norm if done == len(group) else None
            on_step(StepReport(means, int(size), norm, lr))


def _step(
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    scaler: GradScaler,
    grad_clip: float,
) -> float:
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), grad_clip or math.inf).item()
    if math.isfinite(norm) or scaler.is_enabled():  # an enabled scaler skips such a step itself
        scaler.step(optimizer)
        scaler.update()
    if math.isfinite(norm):
        scheduler.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


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

    Works one batch behind itself: while a GPU computes a batch, the host post-processes and
    scores the one before.

    Args:
        model: the network itself; all ranks use the buffers of rank 0's.
        loader: this rank's images.
        metrics: by name; they are reset first.
        pool: worker processes with the same `postprocess` and `metrics`, which then score several
            batches at a time; None: this process scores. The results are the same bit by bit.
        on_image: is given the result of each of this rank's images, in order; none is kept here.
        is_stopped: asked after every batch; the pass ends where it says so on one of the ranks.

    Returns:
        {"loss/total": ..., "cleval/hmean": ..., "images": ..., "empty": ..., "capped": ...};
        losses are means over images, `empty` of which have no detection. All images or none:
        an error on the way leaves no figures, and so does being stopped: the dict is empty.

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
    """The loader's batches; waiting for each is the stage "data_wait".

    What its workers needed for a batch, beside everything else, goes to "worker/...". The last
    wait, in which the loader ends, is that of no batch and left out.
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
