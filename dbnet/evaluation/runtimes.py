"""One detector's networks in several runtimes and precisions, side by side on a data set."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dbnet.data.images import decode_reduced
from dbnet.errors import InputError
from dbnet.inference.networks import Trained
from dbnet.inference.pipeline import fitted
from dbnet.inference.windows import Network
from dbnet.metrics import build_metrics
from dbnet.postprocess.frames import to_original
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.settings import MetricConfig
from dbnet.structures import Record


class Figures(NamedTuple):
    """Figures of one network. Hmeans are of all images, 0..1; times are medians over the images."""

    cleval: float
    iou: float
    ms: float  # that the network alone takes for an image
    cpu_ms: float  # the same on all processors together


def compare(
    networks: dict[str, Network],
    trained: Trained,
    records: Sequence[Record],
    on_image: Callable[[], object],
) -> dict[str, Figures]:
    """Figures by the networks' names; every image goes through all of them in turn, one at a time.

    Raises:
        InputError: an image cannot be read.
    """
    postprocess = DBPostprocessor(trained.postprocess, shrink_ratio=trained.shrink_ratio)
    metrics = {name: build_metrics(MetricConfig()) for name in networks}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in networks}
    for record in records:
        sample = fitted(partial(decode_reduced, Path(record.image_path)), trained.image_size)
        image = np.ascontiguousarray(sample.image.transpose(2, 0, 1)[None])
        for name, network in networks.items():
            if not times[name]:
                network(image)  # the first call also allocates and plans
            started = time.perf_counter(), time.process_time()
            prob_map = network(image)[0, 0]
            ended = time.perf_counter(), time.process_time()
            times[name].append((ended[0] - started[0], ended[1] - started[1]))
            found = to_original(postprocess(prob_map), sample.matrix, sample.orig_size)
            for metric in metrics[name].values():
                metric.update_batch(
                    [found.polygons], [record.polygons], [record.ignored], [record.texts], [None]
                )
        on_image()
    return {
        name: Figures(
            metrics[name]["cleval"].compute()["hmean"],
            metrics[name]["iou"].compute()["hmean"],
            *(1e3 * np.median(times[name], axis=0)).tolist(),
        )
        for name in networks
    }


def loss(before: Figures, after: Figures) -> float:
    """The larger loss of hmean of the two metrics; below 0 if both rise."""
    return float(np.max([before.cleval - after.cleval, before.iou - after.iou]))  # NaN stays


def check_loss(lost: float, largest: float, path: Path) -> None:
    """Refuse a file that loses too much accuracy.

    Raises:
        InputError: the hmean falls by more than `largest`, or is not a number.
    """
    if not lost <= largest:
        raise InputError(
            f"{path}: not written, for the hmean falls by {lost:.4f}, more than {largest}; allow "
            "more by --max-loss, or choose another --precision"
        )
