"""One pass over the training set; one pass over the validation set. Knows no component."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from dbnet.data.collate import to_device
from dbnet.errors import InputError, NonFiniteError, OtherRankError
from dbnet.metrics import Metric
from dbnet.postprocess.frames import to_original
from dbnet.runtime import distributed
from dbnet.runtime.device import autocast
from dbnet.runtime.profiler import StageTimer
from dbnet.structures import Batch, Detections


class StepReport(NamedTuple):
    """What one batch did, over all ranks."""

    losses: dict[str, float]  # total, prob, thresh, binary
    images: int
    grad_norm: float | None  # before clipping; None where the optimizer did not step
    lr: float


class ImageResult(NamedTuple):
    """One validated image."""

    image_id: str
    detections: Detections  # original pixels
    scores: dict[str, dict[str, float]]  # metric name -> that image's figures


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
    clip: float,
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
        clip: largest gradient norm; 0 for no limit.
        on_step: called for every batch once its optimizer step is done. What it raises ends the
            pass; where its report has a `grad_norm` nothing is in hand, and the state can be kept.

    Raises:
        NonFiniteError: names the loss parts and the files of the batch; the weights are those
            of the last finite step.
        OtherRankError: this happened to another rank.
    """
    model.train()
    optimizer.zero_grad(set_to_none=True)
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
            if is_last or not is_finite:  # before gradients meet: a rank may have to leave
                sums = distributed.all_reduce_sum(sums)
            if not is_finite:
                raise NonFiniteError(f"loss is not finite: {parts}; files: {batch.image_ids}")
            if not np.isfinite(sums).all():
                raise OtherRankError("the loss of another rank is not finite; it names the files")
            with timer("backward"):
                weight = images * distributed.world() / sum(group)
                scaler.scale(losses.total * weight).backward()
        if not is_last:
            continue
        with timer("step"):
            grad_norm = _step(model, optimizer, scheduler, scaler, clip)
            if ema is not None and math.isfinite(grad_norm):
                ema.update_parameters(model)
        # Half precision overflows now and then: the scaler skips the step and scales less.
        may_recover = scaler.is_enabled() and scaler.get_scale() >= 1
        if not math.isfinite(grad_norm) and not may_recover:
            raise NonFiniteError(f"gradient is not finite; loss {parts}; files: {batch.image_ids}")
        lr = scheduler.get_last_lr()[0]
        for done, (size, *loss_sums) in enumerate(sums.tolist(), start=1):
            means = {name: s / size for name, s in zip(losses._fields, loss_sums, strict=True)}
            norm = grad_norm if done == len(group) else None
            on_step(StepReport(means, int(size), norm, lr))


def _step(
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    scaler: GradScaler,
    clip: float,
) -> float:
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip or math.inf).item()
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
    postprocess: Callable[[np.ndarray], Detections],
    metrics: dict[str, Metric],
    *,
    device: torch.device,
    dtype: torch.dtype | None,
    timer: StageTimer,
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
        on_image: is given the result of each of this rank's images; none is kept here.
        is_stopped: asked after every batch; the pass ends where it says so on one of the ranks.

    Returns:
        {"loss/total": ..., "cleval/hmean": ..., "images": ..., "empty": ..., "capped": ...};
        losses are means over images, `empty` of which have no detection. All images or none:
        an error on the way leaves no figures, and so does being stopped: the dict is empty.
    """
    distributed.broadcast_buffers(model)
    model.eval()
    for metric in metrics.values():
        metric.reset()
    images = empty = capped = 0
    loss_sums: Tensor | float = 0.0
    names: tuple[str, ...] = ()
    ahead = _predictions(model, criterion, loader, device=device, dtype=dtype, timer=timer)
    for batch, losses, download in one_ahead(ahead):
        names = losses._fields
        loss_sums = loss_sums + torch.stack(losses) * len(batch.image_ids)  # stays on the device
        with timer("download"):
            prob_maps = download()
        for result in score_batch(batch, prob_maps, postprocess, metrics, timer):
            images += 1
            empty += not result.detections.polygons
            capped += result.detections.capped
            if on_image:
                on_image(result)
        if is_stopped():
            break
    if distributed.all_reduce_max(is_stopped()):
        return {}
    counts = {"images": images, "empty": empty, "capped": capped}
    counts = distributed.all_reduce_sum_by_name(counts)
    if counts["images"] == 0:
        raise InputError("nothing to evaluate: the loader gave no batch")
    sums = dict(zip(names, loss_sums.tolist(), strict=True)) if images else {}
    sums = distributed.all_reduce_sum_by_name(sums)
    report = {f"loss/{name}": value / counts["images"] for name, value in sums.items()}
    return report | compute_all(metrics) | counts


def _predictions(
    model: nn.Module,
    criterion: nn.Module,
    loader: Iterable[Batch],
    *,
    device: torch.device,
    dtype: torch.dtype | None,
    timer: StageTimer,
) -> Iterator[tuple[Batch, tuple[Tensor, ...], Callable[[], Tensor]]]:
    """Per batch: the batch, its losses on the device, and what fetches its probability maps."""
    for batch in timed(loader, timer):
        with timer("copy"):
            on_device = to_device(batch, device)
        with timer("forward"), autocast(device, dtype):
            outputs = model(on_device.images)
            prob_maps = outputs.prob_logits.float().sigmoid()
        with timer("loss"):
            losses = criterion(outputs, on_device)
        yield batch, losses, start_download(prob_maps)


def start_download(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin copying to the host; the result waits for the copy and returns it."""
    if tensor.device.type != "cuda":
        return tensor.cpu
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(tensor.device))

    def wait() -> Tensor:
        copied.synchronize()
        return host

    return wait


def one_ahead(items: Iterable[Any]) -> Iterator[Any]:
    """The same items, each given out only after the next one has been started."""
    items = iter(items)
    try:
        current = next(items)
    except StopIteration:
        return
    for following in items:
        yield current
        current = following
    yield current


def evaluate_oracle(
    loader: Iterable[Batch],
    postprocess: Callable[[np.ndarray], Detections],
    metrics: dict[str, Metric],
) -> dict[str, float]:
    """Metrics of the ground-truth maps themselves: what a perfect network would reach."""
    timer = StageTimer(synchronize=None)
    for metric in metrics.values():
        metric.reset()
    for batch in loader:
        score_batch(batch, batch.shrink_map.float(), postprocess, metrics, timer)
    return compute_all(metrics)


def score_batch(
    batch: Batch,
    prob_maps: Tensor,
    postprocess: Callable[[np.ndarray], Detections],
    metrics: dict[str, Metric],
    timer: StageTimer,
) -> list[ImageResult]:
    """Probability maps, float32 (N, 1, H, W) on the host, to results in original pixels."""
    with timer("postprocess"):
        found = [
            to_original(postprocess(prob_map.numpy()), matrix, size)
            for prob_map, matrix, size in zip(
                prob_maps[:, 0], batch.matrices, batch.orig_sizes, strict=True
            )
        ]
    with timer("metric"):
        truth = (batch.orig_polygons, batch.ignored, batch.texts, batch.orig_sizes)
        by_metric = {
            name: metric.update_batch([each.polygons for each in found], *truth)
            for name, metric in metrics.items()
        }
    scores = [
        {name: results[index] for name, results in by_metric.items()} for index in range(len(found))
    ]
    return [ImageResult(*item) for item in zip(batch.image_ids, found, scores, strict=True)]


def compute_all(metrics: dict[str, Metric]) -> dict[str, Any]:
    """{"cleval": metric, ...} to {"cleval/hmean": figure, ...}, over the images of all ranks."""
    for metric in metrics.values():
        metric.load_state(distributed.all_reduce_sum(metric.state()))
    return {
        f"{name}/{key}": value
        for name, metric in metrics.items()
        for key, value in metric.compute().items()
    }


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
