"""Validation with the images read as predict.py reads them: at the scale of their text."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from dbnet.data.images import decode_reduced
from dbnet.errors import InputError
from dbnet.inference.pipeline import Item, Located, detect
from dbnet.inference.tiling import Tiling
from dbnet.inference.windows import Network
from dbnet.metrics import Metric
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.runtime import distributed
from dbnet.runtime.profiler import StageTimer
from dbnet.settings import PostprocessConfig
from dbnet.structures import Detections, ImageResult, Record
from dbnet.training.scoring import Truth, add_sums, compute_all, measure


def evaluate_tiled(
    records: Sequence[Record],
    network: Network,
    metrics: dict[str, Metric],
    *,
    postprocess: PostprocessConfig,
    shrink_ratio: float,
    image_size: int,
    batch_size: int,
    threads: int,
    timer: StageTimer,
    on_detected: Callable[[int], object],
) -> tuple[dict[str, float], list[ImageResult]]:
    """Metrics over all images of all ranks, in original pixels, and this rank's results in order.

    There are no losses: no target map has the scale that an image is read at.

    Args:
        records: all images; each rank takes its share.
        metrics: by name; they are reset first.
        image_size: longest side that images are fitted to in pixels; also that of a window.
        batch_size: images of one shape that go through the network together.
        threads: that decode images ahead of the network.
        timer: gets the stages "detect" and "metric".
        on_detected: is given 1 after each of this rank's images.

    Raises:
        InputError: there are no images, or one of them cannot be read or scored.
    """
    own = [records[index] for index in distributed.shard(range(len(records)))]
    tiling = Tiling(
        network, image_size=image_size, postprocess=postprocess, shrink_ratio=shrink_ratio
    )

    def detected(pool: ThreadPoolExecutor) -> Iterator[tuple[int, Located]]:
        for index, located in detect(
            (Item(r.image_path, partial(decode_reduced, Path(r.image_path))) for r in own),
            network,
            DBPostprocessor(postprocess, shrink_ratio=shrink_ratio),
            tiling=tiling,
            image_size=image_size,
            batch_size=batch_size,
            first_batch=1,
            pool=pool,
            on_failure=_raise,
        ):
            yield index, located
            on_detected(1)

    with timer("detect"), ThreadPoolExecutor(threads) as pool:
        found = dict(detected(pool))
    sums: dict[str, np.ndarray] = {}
    results: list[ImageResult] = []
    for index, record in enumerate(own):
        with timer("metric"):
            scores = measure(_truth(record, found[index]), [_by_score(found[index])], metrics)
        add_sums(sums, scores)
        results += scores.images
    counts = _counts(results, list(found.values()), image_size)
    return compute_all(metrics, sums) | counts, results


def _counts(results: list[ImageResult], found: list[Located], image_size: int) -> dict[str, float]:
    """Over all ranks; `results` and `found` are of this one.

    Raises:
        InputError: there are no images.
    """
    own: dict[str, float] = {
        "images": len(results),
        "empty": sum(not result.detections.polygons for result in results),
        "capped": sum(result.detections.capped for result in results),
        "in_windows": sum(each.side > image_size for each in found),
        "reduced": sum(each.side < image_size for each in found),
        "turned": sum(each.angle != 0 for each in found),
    }
    counts = distributed.all_reduce_sum_by_name(own)
    if counts["images"] == 0:
        raise InputError("nothing to evaluate: there are no images")
    return counts


def _raise(index: int, error: InputError) -> None:
    raise error


def _truth(record: Record, located: Located) -> Truth:
    return Truth(
        image_ids=[record.image_id],
        matrices=np.eye(3)[None],
        orig_sizes=[located.size],
        orig_polygons=[record.polygons],
        ignored=[record.ignored],
        texts=[record.texts],
    )


def _by_score(located: Located) -> Detections:
    """The detections from the highest score to the lowest, as metrics take them."""
    found, by_score = located.detections, np.argsort(located.layout.order)
    polygons = [found.polygons[index] for index in by_score]
    return found._replace(polygons=polygons, scores=found.scores[by_score])
