"""Detection pipeline: decodes images, runs the network and post-processes in parallel."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import NamedTuple, TypeVar

import numpy as np

from dbnet.data.images import Decode
from dbnet.data.samples import as_sample, needed_scale
from dbnet.data.transforms import EvalTransform
from dbnet.errors import InputError
from dbnet.inference.order import Layout, in_reading_order
from dbnet.inference.tiling import Rescaled, Tiling
from dbnet.inference.windows import STRIDE, Network, check_finite
from dbnet.postprocess.frames import to_original
from dbnet.structures import Detections, Record, Sample

A = TypeVar("A")
B = TypeVar("B")


class Item(NamedTuple):
    """One image to detect text in."""

    name: str  # for error lines
    decode: Decode


class Located(NamedTuple):
    """The text in one image, in its original upright pixels."""

    detections: Detections  # in reading order
    layout: Layout  # of the detections, which are in its order
    size: tuple[int, int]  # height, width
    side: int  # longest side at the network, pixels
    angle: float  # that the image was turned back by before it was read, radians
    decode: Decode  # the item's


class _Loaded(NamedTuple):
    number: int
    item: Item
    sample: Sample


class _Finished(NamedTuple):
    loaded: _Loaded
    found: Detections  # in pixels of the fitted image
    located: Located | InputError


_NOTHING = Detections([], np.zeros(0, np.float32), 0)


def detect(
    items: Iterable[Item],
    network: Network,
    postprocess: Callable[[np.ndarray], Detections],
    *,
    tiling: Tiling | None,
    image_size: int,
    batch_size: int,
    first_batch: int,
    pool: Executor,
    on_failure: Callable[[int, InputError], None],
) -> Iterator[tuple[int, Located]]:
    """Each image's index with its texts, as soon as they are known, in any order.

    Images are decoded in the pool ahead of the network, and their maps are made into polygons
    there while it is busy with the next batch. At most six batches are held.

    Args:
        tiling: takes the images whose text is too small at `image_size`; None: no image.
        image_size: longest side at the network in pixels.
        batch_size: images in a batch; they share one shape, so that the order may change.
        first_batch: images in the first one, for early results; the next ones double.
        on_failure: called with the index of each image that cannot be read, or whose probability
            map is not finite.
    """

    def load(numbered: tuple[int, Item]) -> tuple[int, _Loaded | InputError]:
        index, item = numbered
        try:
            return index, _Loaded(index, item, fitted(item.decode, image_size))
        except InputError as error:
            return index, error

    def readable() -> Iterator[_Loaded]:
        for index, loaded in ahead(pool, load, enumerate(items), depth=2 * batch_size):
            if isinstance(loaded, InputError):
                on_failure(index, loaded)
            else:
                yield loaded

    def predicted() -> Iterator[tuple[list[_Loaded], np.ndarray]]:
        for batch in same_shapes(readable(), batch_size, first=first_batch):
            images = np.stack([loaded.sample.image for loaded in batch])  # (N, H, W, 3)
            yield batch, network(images.transpose(0, 3, 1, 2))[:, 0]

    def finish(predicted: tuple[list[_Loaded], np.ndarray]) -> list[_Finished]:
        pairs = zip(*predicted, strict=True)
        return [_finish(loaded, prob_map, postprocess, image_size) for loaded, prob_map in pairs]

    for finished in ahead(pool, finish, predicted(), depth=1):
        for (index, item, sample), found, located in finished:
            try:
                if isinstance(located, InputError):
                    raise located
                size = sample.orig_size
                if tiling and (rescaled := tiling.detect(*item, found, size)):
                    located = locate(item, rescaled, size)
                yield index, located
            except InputError as error:
                on_failure(index, error)


def _finish(
    loaded: _Loaded,
    prob_map: np.ndarray,
    postprocess: Callable[[np.ndarray], Detections],
    image_size: int,
) -> _Finished:
    try:
        check_finite(prob_map, loaded.item.name)
    except InputError as error:
        return _Finished(loaded, _NOTHING, error)
    found = postprocess(prob_map)
    sample = loaded.sample
    original = to_original(found, sample.matrix, sample.orig_size)
    located = locate(loaded.item, Rescaled(original, image_size), sample.orig_size)
    return _Finished(loaded, found, located)


def locate(item: Item, found: Rescaled, size: tuple[int, int]) -> Located:
    """Detections in original pixels, put into reading order."""
    ordered, layout = in_reading_order(found.detections)
    return Located(ordered, layout, size, found.side, found.angle, item.decode)


def fitted(decode: Decode, image_size: int) -> Sample:
    """Decode and resize as in evaluation; pad only to multiples of STRIDE.

    A receipt is narrow: on average half of the square would be padding. What is found along that
    border moves by less than a pixel.

    Raises:
        InputError: the image cannot be decoded.
    """
    transform = EvalTransform(image_size=image_size)
    still = np.random.default_rng()  # nothing is drawn from it
    geometry = transform.geometry(still)
    unlabelled = Record("", "", [], np.zeros(0, bool), [])
    sample = transform(as_sample(decode(needed_scale(geometry)), unlabelled), geometry, still)
    corner = sample.matrix[:2, :2] @ sample.orig_size[::-1]  # width and height on the canvas
    width, height = (STRIDE * max(1, -(-round(side) // STRIDE)) for side in corner)
    return sample._replace(image=sample.image[:height, :width])


def same_shapes(loaded: Iterable[_Loaded], size: int, *, first: int) -> Iterator[list[_Loaded]]:
    """Batches of images of one shape: full ones as they fill, then the rest.

    The first full batch has `first` images, each later one twice as many, at most `size`. If two
    full batches of images wait and no shape fills one, the most frequent shape is yielded.
    """
    full = first
    waiting: dict[tuple[int, ...], list[_Loaded]] = {}
    for each in loaded:
        shape = each.sample.image.shape
        waiting.setdefault(shape, []).append(each)
        if len(waiting[shape]) < full:
            if sum(map(len, waiting.values())) < 2 * full:
                continue
            shape = max(waiting, key=lambda shape: len(waiting[shape]))
        yield waiting.pop(shape)
        full = min(2 * full, size)
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
