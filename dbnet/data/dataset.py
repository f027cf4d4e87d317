"""Records to samples, and the order in which a loader asks for them."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from dbnet.data.transforms import EvalTransform, Geometry, TrainTransform
from dbnet.errors import InputError
from dbnet.runtime import distributed
from dbnet.runtime.profiler import StageTimer
from dbnet.structures import Batch, Record, Sample

_HAS_SIGTIMEDWAIT = hasattr(signal, "sigtimedwait")  # not on macOS


class DetectionDataset(Dataset[Sample]):
    """Loads and transforms one record at a time.

    It is asked with (epoch, index) pairs: each draws its own random stream from (seed, epoch,
    index), so what a sample looks like depends on neither the workers nor their number.

    Args:
        load: `load_sample`, or what gives the same after `transform`.
    """

    def __init__(
        self,
        *,
        records: Sequence[Record],
        load: Callable[[Record, Geometry], Sample],
        transform: EvalTransform | TrainTransform,
        seed: int,
    ) -> None:
        self.records = records
        self.load = load
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Raises ValueError for an image that cannot be read; every error names the image."""
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        timer = StageTimer(synchronize=None)
        try:
            geometry = self.transform.geometry(rng)
            with timer("decode"):
                sample = self.load(self.records[index], geometry)
            with timer("transform"):
                sample = self.transform(sample, geometry, rng)
        except InputError:
            raise
        except Exception as error:
            path = self.records[index].image_path
            raise RuntimeError(f"{path}: {type(error).__name__}: {error}") from error
        return sample._replace(seconds=timer.totals())


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, index) pairs; shuffled by (seed, epoch) alone where `shuffle` is on.

    Set `epoch` before each pass, and `start` to the images of it that are done already: the pass
    gives the others, in the order they would have had. Its length is theirs.

    Where ranks go through the records together, set `split` to the images of a rank's batch. As
    many times that as there are ranks, in the order of the epoch, are one batch, of which each rank
    takes its share; `start` counts those of all. A last batch with fewer images than ranks leaves
    some without: they take its first one too, so that every rank has as many batches.
    """

    def __init__(self, *, length: int, shuffle: bool, seed: int) -> None:
        self.length = length
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self.start = 0
        self.split: int | None = None

    def __len__(self) -> int:
        return len(self._own(range(self.start, self.length)))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        return iter((self.epoch, index) for index in self._own(order[self.start :].tolist()))

    def _own(self, order: Sequence[int]) -> Sequence[int]:
        if self.split is None:
            return order
        size = self.split * distributed.world()
        batches = [order[first : first + size] for first in range(0, len(order), size)]
        return [index for batch in batches for index in distributed.shard(batch) or batch[:1]]


def make_loader(
    dataset: DetectionDataset,
    collate: Callable[[list[Sample]], Batch],
    *,
    shuffle: bool,
    batch_size: int,
    num_workers: int,
    prefetch_factor: int,
    persistent_workers: bool,
    pin_memory: bool,
) -> DataLoader[Batch]:
    """A DataLoader whose `sampler.epoch` is set before each pass; the last batch may be smaller.

    Torch's random state stays as it is: each pass would draw a seed for the workers from it.
    """
    return _Loader(
        dataset,
        batch_size=batch_size,
        sampler=EpochSampler(length=len(dataset), shuffle=shuffle, seed=dataset.seed),
        collate_fn=collate,
        num_workers=num_workers,
        prefetch_factor=prefetch_factor if num_workers else None,
        persistent_workers=persistent_workers and num_workers > 0,
        pin_memory=pin_memory and torch.cuda.is_available(),
        worker_init_fn=_start_worker,
        generator=torch.Generator().manual_seed(dataset.seed),
    )


class _Loader(DataLoader[Batch]):
    """Its workers are born deaf to SIGTERM: torch has them die of it before they are asked."""

    def __iter__(self) -> Iterator[Batch]:
        if not _HAS_SIGTIMEDWAIT:
            return super().__iter__()
        earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _start_worker(_: int) -> None:
    """Ctrl-C in a terminal, `timeout` and service managers signal all processes of a run at once:
    only the main one shall react, the workers serve its last step and end with it."""
    cv2.setNumThreads(0)  # the workers are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _tell
    if _HAS_SIGTIMEDWAIT:
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Of a worker's threads: one hands tensors over, and where the main process leaves in the
    middle of that, it has said why itself."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _end_with_parent() -> None:
    """Once it says so, or is gone."""
    parent = multiprocessing.parent_process()
    while parent.is_alive():
        word = signal.sigtimedwait({signal.SIGTERM}, 2.0)
        if word and word.si_pid == parent.pid:
            break
    os._exit(0)
