"""The text in images that nobody has annotated: decode, network, polygons, side by side."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

import numpy as np
import torch

from dbnet.data.samples import load_sample
from dbnet.data.transforms import EvalTransform
from dbnet.errors import InputError
from dbnet.inference.inputs import Source
from dbnet.model.dbnet import DBNet
from dbnet.model.fuse import fuse_batch_norms
from dbnet.postprocess.frames import to_original
from dbnet.runtime.device import autocast
from dbnet.structures import Batch, Detections, Record, Sample

# uint8 (N, 3, H, W) RGB, H and W multiples of 32 -> probability maps, float32 (N, 1, H, W).
Network = Callable[[np.ndarray], np.ndarray]

A, B = TypeVar("A"), TypeVar("B")


def torch_network(
    model: DBNet, *, device: torch.device, dtype: torch.dtype | None, compiled: bool
) -> Network:
    """The detector on `device`, as a copy with folded batch norms; `dtype` is that of autocast,
    None for full float32.

    Compiled, it takes a minute or so for each new shape it sees, and less time after it.
    """
    model = fuse_batch_norms(model).to(device, memory_format=torch.channels_last)
    predict = torch.compile(model.predict) if compiled else model.predict

    @torch.inference_mode()
    def network(images: np.ndarray) -> np.ndarray:
        with autocast(device, dtype):
            return predict(torch.from_numpy(images).to(device)).cpu().numpy()

    return network


@torch.inference_mode()
def predict_batch(
    model: DBNet,
    batch: Batch,
    *,
    postprocess: Callable[[np.ndarray], Detections],
    device: torch.device,
    dtype: torch.dtype | None,
) -> tuple[np.ndarray, list[Detections]]:
    """Probability maps, float32 (N, 1, H, W), and detections in the batch's pixels."""
    model.eval()
    with autocast(device, dtype):
        prob_maps = model.predict(batch.images.to(device)).cpu().numpy()
    return prob_maps, [postprocess(prob_map[0]) for prob_map in prob_maps]


def detect(
    sources: Iterable[Source],
    network: Network,
    postprocess: Callable[[np.ndarray], Detections],
    *,
    image_size: int,
    batch_size: int,
    pool: Executor,
    on_failure: Callable[[InputError], None],
) -> Iterator[tuple[Source, Detections]]:
    """Each image with its texts in original pixels, upright, as soon as they are known.

    Images are decoded in the pool ahead of the network, and their maps are made into polygons
    there while it is busy with the next batch.

    Args:
        image_size: longest side at the network in pixels.
        batch_size: images in a batch; they share one shape, so that the order may change.
        on_failure: called for every image that cannot be read.
    """

    def load(source: Source) -> tuple[Source, Sample] | InputError:
        try:
            return source, load_canvas(source, image_size)
        except InputError as error:
            return error

    def readable() -> Iterator[tuple[Source, Sample]]:
        for loaded in ahead(pool, load, sources, depth=2 * batch_size):
            if isinstance(loaded, InputError):
                on_failure(loaded)
            else:
                yield loaded

    def predicted() -> Iterator[tuple[list[tuple[Source, Sample]], np.ndarray]]:
        for batch in same_shapes(readable(), batch_size):
            images = np.stack([sample.image for _, sample in batch])  # (N, H, W, 3)
            yield batch, network(images.transpose(0, 3, 1, 2))

    def finish(item) -> list[tuple[Source, Detections]]:
        return [
            (source, to_original(postprocess(prob_map[0]), sample.matrix, sample.orig_size))
            for (source, sample), prob_map in zip(*item, strict=True)
        ]

    for found in ahead(pool, finish, predicted(), depth=1):
        yield from found


def load_canvas(source: Source, image_size: int) -> Sample:
    """The decoded image as evaluation sees it, without the padding that 32 does not ask for.

    A receipt is narrow: on average half of the square would be padding. What is found along that
    border moves by less than a pixel. Raises ValueError, naming the file.
    """
    record = Record(str(source.path), source.name, [], np.zeros(0, bool), [])
    transform = EvalTransform(image_size=image_size)
    still = np.random.default_rng()  # nothing is drawn from it
    geometry = transform.geometry(still)
    sample = transform(load_sample(record, geometry), geometry, still)
    corner = sample.matrix[:2, :2] @ sample.orig_size[::-1]  # width and height on the canvas
    width, height = (32 * max(1, -(-round(side) // 32)) for side in corner)
    return sample._replace(image=sample.image[:height, :width])


def same_shapes(
    loaded: Iterable[tuple[Source, Sample]], size: int
) -> Iterator[list[tuple[Source, Sample]]]:
    """Batches of images of one shape: full ones as they come up, then what is left."""
    waiting: dict[tuple[int, ...], list[tuple[Source, Sample]]] = {}
    for source, sample in loaded:
        shape = sample.image.shape
        waiting.setdefault(shape, []).append((source, sample))
        if len(waiting[shape]) == size:
            yield waiting.pop(shape)
    yield from waiting.values()


def ahead(
    pool: Executor, function: Callable[[A], B], items: Iterable[A], *, depth: int
) -> Iterator[B]:
    """Results in order, like `map`; each item is given to the pool `depth` items early."""
    running: deque[Future[B]] = deque()
    for item in items:
        running.append(pool.submit(function, item))
        if len(running) > depth:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()
