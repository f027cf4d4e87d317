"""Scoring: probability maps to detections in original pixels, and detections to figures."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dbnet.errors import InputError
from dbnet.metrics import Metric
from dbnet.postprocess.frames import to_original
from dbnet.runtime import distributed
from dbnet.runtime.profiler import StageTimer
from dbnet.structures import Batch, Detections, ImageResult

Postprocess = Callable[[np.ndarray], Detections]  # float32 (H, W), 0..1 -> pixels of the map


class Truth(NamedTuple):
    """The fields of a `Batch` of N images that scoring needs."""

    image_ids: list[str]
    matrices: np.ndarray  # float64 (N, 3, 3)
    orig_sizes: list[tuple[int, int]]
    orig_polygons: list[list[np.ndarray]]
    ignored: list[np.ndarray]
    texts: list[list[str]]


class BatchScores(NamedTuple):
    """One scored batch."""

    images: list[ImageResult]
    sums: dict[str, np.ndarray]  # metric name -> `Metric.state()` over these images alone


def truth_of(batch: Batch) -> Truth:
    return Truth._make(getattr(batch, field) for field in Truth._fields)


def score_batch(
    truth: Truth,
    prob_maps: np.ndarray,
    postprocess: Postprocess,
    metrics: dict[str, Metric],
    timer: StageTimer,
) -> BatchScores:
    """Post-process and score N images. The result depends on these images only.

    Args:
        prob_maps: float32 (N, H, W), 0..1.
        metrics: they are reset first.
        timer: gets the stages "postprocess" and "metric".

    Raises:
        InputError: an image raised ValueError, for example for a map that is not finite; names the
            image.
        RuntimeError: an image raised another error; names the image.
    """
    with timer("postprocess"):
        found, seconds = [], []
        for index in range(len(truth.image_ids)):
            started = time.perf_counter()
            found.append(_detections(truth, prob_maps, index, postprocess))
            seconds.append(time.perf_counter() - started)
    with timer("metric"):
        scores = measure(truth, found, metrics)
    timed = zip(scores.images, seconds, strict=True)
    return scores._replace(images=[image._replace(seconds=taken) for image, taken in timed])


def measure(truth: Truth, found: list[Detections], metrics: dict[str, Metric]) -> BatchScores:
    """Measure N images' detections, in original pixels, the highest score first.

    Args:
        metrics: are reset; what they held before is lost.

    Raises:
        InputError, RuntimeError: as `score_batch`.
    """
    by_metric = {name: _measure(metric, truth, found) for name, metric in metrics.items()}
    images = [
        ImageResult(image_id, found[i], {name: s[i] for name, s in by_metric.items()}, size)
        for i, (image_id, size) in enumerate(zip(truth.image_ids, truth.orig_sizes, strict=True))
    ]
    return BatchScores(images, {name: metric.state() for name, metric in metrics.items()})


def _detections(
    truth: Truth, prob_maps: np.ndarray, index: int, postprocess: Postprocess
) -> Detections:
    try:
        found = postprocess(prob_maps[index])
        return to_original(found, truth.matrices[index], truth.orig_sizes[index])
    except Exception as error:
        raise _named(truth.image_ids[index], error) from error


def _measure(metric: Metric, truth: Truth, found: list[Detections]) -> list[dict[str, float]]:
    """Figures of each image. After an error, images are scored one by one to find its image."""
    metric.reset()
    try:
        return _update(metric, truth, found)
    except Exception:
        for index, image_id in enumerate(truth.image_ids):
            image = Truth._make(column[index : index + 1] for column in truth)
            try:
                _update(metric, image, found[index : index + 1])
            except Exception as error:
                raise _named(image_id, error) from error
        raise


def _update(metric: Metric, truth: Truth, found: list[Detections]) -> list[dict[str, float]]:
    polygons = [each.polygons for each in found]
    annotated = (truth.orig_polygons, truth.ignored, truth.texts, truth.orig_sizes)
    return metric.update_batch(polygons, *annotated)


def _named(image_id: str, error: Exception) -> Exception:
    """The error with the name of the image: InputError for a ValueError, else RuntimeError."""
    if isinstance(error, ValueError):
        return InputError(f"{image_id}: {error}")
    return RuntimeError(f"{image_id}: {type(error).__name__}: {error}")


def add_sums(total: dict[str, np.ndarray], scored: BatchScores) -> None:
    """Add the metric sums of a batch to `total`, in place."""
    for name, sums in scored.sums.items():
        total[name] = total[name] + sums if name in total else sums


def compute_all(metrics: dict[str, Metric], sums: dict[str, np.ndarray]) -> dict[str, Any]:
    """{"cleval": metric, ...} to {"cleval/hmean": figure, ...}, over the images of all ranks.

    Args:
        sums: metric name -> sums over the images of this rank; a metric without any has none.
    """
    for name, metric in metrics.items():
        metric.reset()
        own = sums.get(name, metric.state())
        metric.load_state(distributed.all_reduce_sum(own))
    return {
        f"{name}/{key}": value
        for name, metric in metrics.items()
        for key, value in metric.compute().items()
    }
