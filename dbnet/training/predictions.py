"""Predictions on the device to figures: download, scoring, sums over images and ranks."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dbnet.errors import InputError
from dbnet.metrics import Metric
from dbnet.runtime import distributed
from dbnet.runtime.profiler import StageTimer
from dbnet.structures import Batch, ImageResult
from dbnet.training.scoring import (
    BatchScores,
    Postprocess,
    Truth,
    add_sums,
    compute_all,
    score_batch,
    truth_of,
)
from dbnet.training.scoring_pool import ScoringPool


class Prediction(NamedTuple):
    """Results of one batch that the device may still be computing."""

    batch: Batch
    losses: Any  # a NamedTuple of scalars on the device
    download: Callable[[], Tensor]  # waits for the maps, float32 (N, 1, H, W) on the host


def score_predictions(
    predictions: Iterable[Prediction],
    postprocess: Postprocess,
    metrics: dict[str, Metric],
    *,
    timer: StageTimer,
    pool: ScoringPool | None = None,
    on_image: Callable[[ImageResult], None] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Losses and metrics over all images of all ranks; arguments and result as in `evaluate`.

    Args:
        predictions: one per batch. With a pool, they must download to its `host_maps`.

    Raises:
        InputError: there are no images, one of them cannot be scored, or a worker was lost.
        RuntimeError: any other error of an image; it names the image.
    """
    loss_sums: dict[str, Tensor] = {}  # on the device
    metric_sums: dict[str, np.ndarray] = {}
    images = empty = capped = 0
    pairs = _downloaded(predictions, loss_sums, timer)
    for scores in _scored(pairs, postprocess, metrics, timer, pool):
        add_sums(metric_sums, scores)
        for result in scores.images:
            images += 1
            empty += not result.detections.polygons
            capped += result.detections.capped
            if on_image:
                on_image(result)
        if is_stopped():
            break
    if distributed.all_reduce_max(is_stopped()):
        return {}
    counts = distributed.all_reduce_sum_by_name(
        {"images": images, "empty": empty, "capped": capped}
    )
    if counts["images"] == 0:
        raise InputError("nothing to evaluate: the loader gave no batch")
    sums = {name: float(value) for name, value in loss_sums.items()}
    sums = distributed.all_reduce_sum_by_name(sums)
    report = {f"loss/{name}": value / counts["images"] for name, value in sums.items()}
    return report | compute_all(metrics, metric_sums) | counts


def _downloaded(
    predictions: Iterable[Prediction], loss_sums: dict[str, Tensor], timer: StageTimer
) -> Iterator[tuple[Truth, Tensor]]:
    """Batches to score. Adds losses times images to `loss_sums`, which are on the device."""
    for batch, losses, download in one_ahead(predictions):
        for name, loss in losses._asdict().items():
            loss_sums[name] = loss_sums.get(name, 0.0) + loss * len(batch.image_ids)
        with timer("download"):
            prob_maps = download()
        yield truth_of(batch), prob_maps


def _scored(
    pairs: Iterable[tuple[Truth, Tensor]],
    postprocess: Postprocess,
    metrics: dict[str, Metric],
    timer: StageTimer,
    pool: ScoringPool | None,
) -> Iterator[BatchScores]:
    """Scores of each batch, in order."""
    if pool:
        yield from pool.scored(pairs, timer)
        return
    for truth, prob_maps in pairs:
        yield score_batch(truth, prob_maps[:, 0].numpy(), postprocess, metrics, timer)


def start_download(tensor: Tensor, host: Tensor | None = None) -> Callable[[], Tensor]:
    """Start copying to the host, into `host` if given. The returned function waits for the copy."""
    if tensor.device.type != "cuda":
        return tensor.cpu if host is None else partial(host.copy_, tensor)
    if host is None:
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    result = host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(tensor.device))

    def wait() -> Tensor:
        copied.synchronize()
        return result

    return wait


def one_ahead(items: Iterable[Any]) -> Iterator[Any]:
    """The same items. Each is yielded after the next one has been requested."""
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
    postprocess: Postprocess,
    metrics: dict[str, Metric],
    pool: ScoringPool | None = None,
) -> dict[str, float]:
    """Metrics of the ground-truth maps: the figures of a network without errors."""

    def pairs() -> Iterator[tuple[Truth, Tensor]]:
        for batch in loader:
            maps = batch.shrink_map.float()
            if pool:
                maps = pool.host_maps(tuple(maps.shape)).copy_(maps)
            yield truth_of(batch), maps

    sums: dict[str, np.ndarray] = {}
    timer = StageTimer(synchronize=None)
    for scores in _scored(pairs(), postprocess, metrics, timer, pool):
        add_sums(sums, scores)
    return compute_all(metrics, sums)
