"""Ranks: the processes that torchrun starts to train or evaluate one model together.

Without torchrun there is no process group: rank 0 of 1, and every function here returns its input.
Python values and figures travel between machines by gloo, gradients on GPUs by NCCL.
"""

import os
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stdout,
    suppress,
)
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dbnet.errors import OtherRankError, Stopped, is_lost_rank

T = TypeVar("T")

# For ranks that hang; a rank that has died is noticed at once. The other ranks wait while rank 0
# draws receipts or reads a large data set, which may take long.
_TIMEOUT = timedelta(hours=1)


@contextmanager
def process_group() -> Iterator[None]:
    """Join the ranks that torchrun has started; it has set the environment variables for that.

    Ranks other than 0 print errors of their own only: rank 0 alone prints that the run was stopped
    or that a rank was lost. After an error the process group is not destroyed: the other ranks
    notice the error when this process ends, after it has printed its line. Without torchrun, this
    does nothing.
    """
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    store, rank, world = next(dist.rendezvous("env://", timeout=_TIMEOUT))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpus else "gloo",
        store=store_of_this_start(store, rank, world),
        rank=rank,
        world_size=world,
        timeout=_TIMEOUT,
    )
    with Path(os.devnull).open("w") as nowhere:
        try:
            with nullcontext() if is_main() else redirect_stdout(nowhere):
                yield
        except OtherRankError:
            with suppress(RuntimeError):
                barrier()  # fails when the other rank has ended: torchrun may end this one now
            sys.exit(1)
        except KeyboardInterrupt as stop:
            if is_main():
                raise
            sys.exit(128 + stop.number if isinstance(stop, Stopped) else 130)
        except Exception as error:
            if is_main() or not is_lost_rank(error):
                raise
            sys.exit(1)
    dist.destroy_process_group()


def store_of_this_start(store: dist.Store, rank: int, world: int) -> dist.Store:
    """A prefix of `store` that only the ranks of this start use; all ranks must call this.

    torchrun uses the same store for all its restarts. Torch separates restarts by their count, but
    each machine counts only its own. After one machine has lost a rank, the counts differ, and
    ranks look for each other at addresses of the previous start.

    1. Rank r writes a random name at the key "rank r".
    2. Rank 0 chooses the prefix. It answers to every name that it finds, because a name may be
       left over from the previous start.
    3. Each rank confirms the answer to its own name. Rank 0 repeats step 2 until all have done so.

    Raises:
        TimeoutError: a rank has not called within an hour.
    """
    name = uuid.uuid4().hex
    if rank:
        store.set(f"rank {rank}", name)
        name = store.get(f"part for {name}").decode()  # waits for rank 0
        store.add(f"{name} known", 1)
        return dist.PrefixStore(name, store)
    others = [f"rank {other}" for other in range(1, world)]
    latest = time.monotonic() + _TIMEOUT.total_seconds()
    while store.add(f"{name} known", 0) < len(others):
        for other in others:
            if store.check([other]):
                store.set(f"part for {store.get(other).decode()}", name)
        if time.monotonic() > latest:
            raise TimeoutError(f"not all of the {world} ranks have started within {_TIMEOUT}")
        time.sleep(0.01)
    return dist.PrefixStore(name, store)


def rank() -> int:
    """This process's number among all ranks, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """The number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is rank 0, which prints and writes."""
    return rank() == 0


def local_rank() -> int:
    """This process's number among the ranks of its machine, and the number of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if dist.is_initialized() else 0


def local_world() -> int:
    """The number of ranks on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_initialized() else 1


def shard(items: Sequence[Any]) -> Sequence[Any]:
    """This rank's part of `items`: contiguous and disjoint; lengths differ by one at most.

    The first ranks have the longer parts, so rank 0 has an item unless `items` is empty.
    """
    first, end = (-(-len(items) * number // world()) for number in (rank(), rank() + 1))
    return items[first:end]


def all_reduce_sum(values: np.ndarray) -> np.ndarray:
    """Sums over ranks, float64; `values` has the same shape on all ranks."""
    if not dist.is_initialized():
        return values
    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor)
    return tensor.numpy()


def all_reduce_sum_by_name(figures: dict[str, float]) -> dict[str, float]:
    """Sums over ranks, by name; ranks may have different names."""
    sums: dict[str, float] = {}
    for part in all_gather(figures):
        for name, value in part.items():
            sums[name] = sums.get(name, 0) + value
    return sums


def all_reduce_max(value: int) -> int:
    """The largest value over ranks."""
    if not dist.is_initialized():
        return value
    tensor = torch.tensor(value)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)


def all_gather(value: T) -> list[T]:
    """The values of all ranks, by rank, on every rank; they are pickled."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Return once every rank has called this."""
    all_reduce_max(0)


def on_main(work: Callable[[], T]) -> T:
    """Rank 0 calls `work` and the others wait. All return the result, which is pickled."""
    results = [work() if is_main() else None]
    if dist.is_initialized():
        dist.broadcast_object_list(results, src=0, device=torch.device("cpu"))
    return cast(T, results[0])


def main_only(work: Callable[..., object]) -> Callable[..., None]:
    """`work` on rank 0; on the others a function that does nothing. No rank waits."""

    @wraps(work)
    def on_rank_0(*args: Any, **kwargs: Any) -> None:
        if is_main():
            work(*args, **kwargs)

    return on_rank_0


@contextmanager
def main_first() -> Iterator[None]:
    """Rank 0 runs the block before the others do.

    An error of the user is then printed only once, and the others find the files that rank 0 made.
    """
    if not is_main():
        barrier()
    yield
    if is_main():
        barrier()


def parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` whose gradients are averaged over ranks. Weights and buffers become those of rank 0.

    Each rank has its own batch-norm statistics in training; see `broadcast_buffers`.
    """
    if not dist.is_initialized():
        return model
    broadcast_buffers(model)
    gpus = [device] if device.type == "cuda" else None
    with warnings.catch_warnings():  # torch 2.14 renames the argument
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(model, device_ids=gpus, broadcast_buffers=False)


def gradient_sync(model: nn.Module, *, enabled: bool) -> AbstractContextManager[Any]:
    """For the forward and backward pass: gradients are averaged over ranks only if `enabled`."""
    if enabled or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    return model.no_sync()


def broadcast_buffers(model: nn.Module) -> None:
    """Give all ranks the buffers of rank 0, such as the statistics of batch norms."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
