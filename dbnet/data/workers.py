"""The DataLoader and its worker processes: signals, shared memory, errors on the way back."""

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
from dbnet.runtime.workers import START_METHOD, sigterm_blocked, start_worker
from dbnet.structures import Batch, Sample

_SHARED_MEMORY = "/dev/shm"
_BYTES_PER_PIXEL = 10  # of a Batch: images 3, shrink map and mask 1 + 1, threshold's 4 + 1


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
    """A loader of batches; set its `sampler.epoch` before each pass. The last one may be smaller.

    Torch's global random state is not used: a pass would draw a seed for its workers from it, and
    a resumed run would differ. Prints a line where shared memory is short.
    """
    warning = shared_memory_warning(
        side=dataset.transform.image_size,
        batch_size=batch_size,
        num_workers=num_workers,
        prefetch_factor=prefetch_factor,
    )
    if warning:
        _print_once(warning)
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
def _print_once(line: str) -> None:
    """Two loaders of one run may have the same to say."""
    print(line, flush=True)


def shared_memory_warning(
    *, side: int, batch_size: int, num_workers: int, prefetch_factor: int
) -> str | None:
    """One line where /dev/shm has too little room for the batches of all ranks of this machine.

    Containers have 64 MB of it by default. Batches that find no room there are copied through
    pipes, which is slower. None where there is enough, or where the system has no /dev/shm.

    Args:
        side: of the square images, in pixels.
    """
    try:
        found = os.statvfs(_SHARED_MEMORY)
    except OSError:  # macOS
        return None
    # Of each worker's batches ahead; one in the hands of the main process, one behind it.
    batches = num_workers * prefetch_factor + 2 if num_workers else 0
    needed = distributed.local_world() * batches * batch_size * side**2 * _BYTES_PER_PIXEL
    free = found.f_bavail * found.f_frsize
    if free >= needed:
        return None
    return (
        f"{_SHARED_MEMORY}: {free / 1e6:.0f} MB are free, the loader's workers fill up to "
        f"{needed / 1e6:.0f} MB; the rest is copied through pipes, which is slower. Give the "
        f"container more (docker run --shm-size {-(-needed // 10**9)}g), or set fewer "
        "--data.num-workers"
    )


class Loader(DataLoader[Sample]):
    """A DataLoader that gives a Batch at a time; its workers have SIGTERM blocked from birth.

    `timeout`, service managers and a shell's `kill` of a job signal all processes of a run at
    once. Workers must outlive that: the main process finishes the step in hand with them. Torch
    installs a handler that ends a worker on SIGTERM before `_start_worker` is called.
    """

    sampler: EpochSampler
    batch_size: int

    def __iter__(self) -> Any:
        try:
            if not self.persistent_workers or self._iterator is None:  # workers start
                self._rings = [
                    SharedRing(self.prefetch_factor or 0) for _ in range(self.num_workers)
                ]
                self.worker_init_fn = partial(_start_worker, rings=self._rings)
            with sigterm_blocked():
                return super().__iter__()
        except OSError as error:
            if not self.num_workers:
                raise
            raise InputError(
                f"--data.num-workers {self.num_workers}: the workers cannot be started "
                f"({error.strerror or error}); set fewer, 0 needs none"
            ) from error


def _start_worker(number: int, rings: list[SharedRing]) -> None:
    start_worker()
    ForkingPickler.register(Batch, partial(reduce_batch, ring=rings[number]))
    ForkingPickler.register(Tensor, _reduce_shared_or_copied)
    setattr(Queue, "_on_queue_feeder_error", _send_error_instead)  # noqa: B010 - not in its stubs
    sys.excepthook = _print_unless_main_has_left


def _reduce_shared_or_copied(tensor: Tensor) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
    """How a worker's tensor is pickled: by its place in shared memory, or by value where no room
    is left there, or no file descriptor."""
    try:
        tensor.share_memory_()
    except RuntimeError:
        order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)  # as it lies in memory
        return _from_array, (tensor.permute(order).numpy(), order)
    return reduce_tensor(tensor)


def _from_array(array: np.ndarray, order: list[int]) -> Tensor:
    return torch.from_numpy(array).permute([order.index(axis) for axis in range(len(order))])


def _send_error_instead(queue: "Queue[Any]", error: Exception, item: object) -> None:
    """Called in a worker whose batch could not be sent; the main process would wait for it for
    ever. It gets the error in place of the batch, or sees the worker end."""
    match item:
        case (int() as index, data) if not isinstance(data, ExceptionWrapper):
            info = (type(error), error, error.__traceback__)
            queue.put((index, ExceptionWrapper(info, where="in a DataLoader worker, sending")))
        case _:
            os._exit(1)


def _print_unless_main_has_left(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """For the thread that hands tensors over: it fails where the main process ends meanwhile,
    which has told the reason itself."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)
