"""The DataLoader and its worker processes: signals, shared memory, errors when batches are sent."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from functools import cache, partial
from multiprocessing.queues import Queue
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._utils import ExceptionWrapper
from torch.multiprocessing.reductions import reduce_tensor
from torch.utils.data import DataLoader

from dbnet.data.dataset import DetectionDataset
from dbnet.data.sampler import EpochSampler
from dbnet.data.shared_batches import SharedRing, reduce_batch
from dbnet.errors import InputError
from dbnet.runtime import distributed
from dbnet.runtime.workers import START_METHOD, sigterm_blocked, start_worker, usable_cores
from dbnet.structures import Batch, Sample


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
) -> "Loader":
    """A loader of batches. Set its `sampler.epoch` before each pass. The last batch may be smaller.

    There are at most as many workers as cores, because more are slower. A line is printed if this
    reduces their number.

    The loader does not use torch's global random state. Otherwise each pass would draw a seed for
    its workers from it, and a resumed run would give other results.
    """
    if num_workers > usable_cores():
        _tell_fewer(num_workers, usable_cores())
        num_workers = usable_cores()
    return Loader(
        dataset,
        batch_size=batch_size,
        sampler=EpochSampler(length=len(dataset), shuffle=shuffle, seed=dataset.seed),
        collate_fn=collate,
        num_workers=num_workers,
        prefetch_factor=prefetch_factor if num_workers else None,
        persistent_workers=persistent_workers and num_workers > 0,
        pin_memory=pin_memory and torch.cuda.is_available(),
        multiprocessing_context=START_METHOD if num_workers else None,
        generator=torch.Generator().manual_seed(dataset.seed),
    )


@cache
def _tell_fewer(asked: int, cores: int) -> None:
    """Print the line, once per process."""
    if distributed.is_main():
        print(f"loader processes: {cores} of {asked}, one a core (--data.num-workers)", flush=True)


class Loader(DataLoader[Sample]):
    """A DataLoader of Batch whose workers start with SIGTERM blocked.

    `timeout`, service managers and a shell's `kill` of a job send SIGTERM to all processes of a run
    at once. Workers must not end then: the main process needs them for the current step. They have
    to be started with SIGTERM blocked, because torch installs a handler that ends a worker on
    SIGTERM before `_start_worker` is called.
    """

    sampler: EpochSampler
    batch_size: int

    def __iter__(self) -> Any:
        if self.num_workers and (not self.persistent_workers or self._iterator is None):
            self._prepare_workers()
        try:
            with sigterm_blocked():
                return super().__iter__()
        except OSError as error:
            if not self.num_workers:
                raise
            raise InputError(
                f"--data.num-workers {self.num_workers}: the workers cannot be started "
                f"({error.strerror or error}); set fewer, 0 needs none"
            ) from error

    def _prepare_workers(self) -> None:
        try:
            self._rings = [SharedRing(self.prefetch_factor or 0) for _ in range(self.num_workers)]
            # Test whether as many can be created as torch needs for its queues. If not, torch would
            # print a traceback.
            _ = [multiprocessing.Semaphore() for _ in range(3 * self.num_workers + 8)]
        except OSError as error:
            raise InputError(
                f"--data.num-workers {self.num_workers}: no room for what the workers share "
                f"({error.strerror or error}); give a container a larger /dev/shm (docker run "
                "--shm-size 1g), raise ulimit -n, or set fewer workers, 0 needs none"
            ) from error
        self.worker_init_fn = partial(_start_worker, rings=self._rings)


def _start_worker(number: int, rings: list[SharedRing]) -> None:
    start_worker()
    ForkingPickler.register(Batch, partial(reduce_batch, ring=rings[number]))
    ForkingPickler.register(Tensor, _reduce_shared_or_copied)
    setattr(Queue, "_on_queue_feeder_error", _send_error_instead)  # noqa: B010 - not in its stubs
    sys.excepthook = _print_unless_main_has_left


def _reduce_shared_or_copied(tensor: Tensor) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
    """Pickle a worker's tensor as a reference to shared memory.

    If shared memory or file descriptors have run out, it is pickled by value.
    """
    try:
        tensor.share_memory_()
    except RuntimeError:
        order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)  # in memory order
        return _from_array, (tensor.permute(order).numpy(), order)
    return reduce_tensor(tensor)


def _from_array(array: np.ndarray, order: list[int]) -> Tensor:
    return torch.from_numpy(array).permute([order.index(axis) for axis in range(len(order))])


def _send_error_instead(queue: "Queue[Any]", error: Exception, item: object) -> None:
    """Send the error in place of a batch that could not be sent, or end the worker.

    Otherwise the main process would wait forever.
    """
    match item:
        case (int() as index, data) if not isinstance(data, ExceptionWrapper):
            info = (type(error), error, error.__traceback__)
            queue.put((index, ExceptionWrapper(info, where="in a DataLoader worker, sending")))
        case _:
            os._exit(1)


def _print_unless_main_has_left(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """The excepthook of a worker.

    If the main process has ended, the thread that sends tensors fails. This error is not printed,
    because the main process has printed the reason.
    """
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)
