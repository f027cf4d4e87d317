"""The order in which a loader asks for its samples."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from dbnet.runtime import distributed


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) pairs, in an order that depends on (seed, epoch) only.

    Set `epoch` before each pass. To resume in the middle of an epoch, set `start`: that many images
    at the beginning are skipped, and the rest keeps its order.

    To share the records among ranks, set `split` to the batch size of one rank. Every `split` x
    world successive images of the epoch form a batch, and each rank takes its shard of it. `start`
    counts the images of all ranks. If the last batch has fewer images than there are ranks, ranks
    without an image take its first image: all ranks must have the same number of batches.

    Args:
        length: images in an epoch.
        shuffle: whether the order is random.
        seed: of the order.
    """

    def __init__(self, *, length: int, shuffle: bool, seed: int) -> None:
        self.length = length
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self.start = 0
        self.split: int | None = None

    def __len__(self) -> int:
        return len(self._shard(range(self.start, self.length)))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        return iter((self.epoch, index) for index in self._shard(order[self.start :].tolist()))

    def _shard(self, order: Sequence[int]) -> Sequence[int]:
        if self.split is None:
            return order
        size = self.split * distributed.world()
        batches = [order[first : first + size] for first in range(0, len(order), size)]
        return [index for batch in batches for index in distributed.shard(batch) or batch[:1]]
