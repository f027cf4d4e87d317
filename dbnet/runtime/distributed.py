"""Several processes train one model: torchrun starts them, each is a rank.

Without torchrun there is rank 0 of 1, no process group is made, and every function here gives back
what it was given. What ranks tell each other travels between hosts by gloo, gradients on GPUs by
nccl.
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
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dbnet.errors import OtherRankError, Stopped, is_lost_rank

T = TypeVar("T")

# For ranks that hang: one that has died is noticed at once. Rank 0 may draw receipts for a while.
_TIMEOUT = timedelta(hours=1)


@contextmanager
def process_group() -> Iterator[None]:
    """Join the ranks that torchrun has started, by what it wrote to the environment.

    Ranks other than 0 print nothing but errors of their own: that all were stopped, or that a rank
    was lost, is said by rank 0. After an error the group is not taken down: the others hear of it
    when this process has said its last line and is gone.
    """
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    store, rank, world = next(dist.rendezvous("env://", timeout=_TIMEOUT))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpus else "gloo",
        store=of_this_start(store, rank, world),
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
                barrier()  # breaks off when that rank is gone: now torchrun may end this one
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


def of_this_start(store: dist.Store, rank: int, world: int) -> dist.Store:
    """A part of the store that only the ranks started together know; all have to ask for it.

    torchrun keeps one store over its restarts. In it a rank would find addresses of ranks that are
    gone, and its count of restarts differs between machines.

    Raises:
        TimeoutError: a rank has not asked within an hour.
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
        for other in others:  # again and again: what is there may be an earlier start's
            if store.check([other]):
                store.set(f"part for {store.get(other).decode()}", name)
        if time.monotonic() > latest:
            raise TimeoutError(f"not all of the {world} ranks have come within {_TIMEOUT}")
        time.sleep(0.01)
    return dist.PrefixStore(name, store)


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """The number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Rank 0: the one that prints and writes."""
    return rank() == 0


def local_world() -> int:
    """The number of ranks on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_initialized() else 1


def local_rank() -> int:
    """Number of the GPU that this rank computes on, among those of its machine."""
    return int(os.environ["LOCAL_RANK"]) if dist.is_initialized() else 0


def shard(items: Sequence[Any]) -> Sequence[Any]:
    """This rank's part of a sequence: contiguous, disjoint, lengths differ by one at most.

    Rank 0 has none only where there is nothing.
    """
    first, end = (-(-len(items) * number // world()) for number in (rank(), rank() + 1))
    return items[first:end]


def all_reduce_sum(values: np.ndarray) -> np.ndarray:
    """Sums over ranks; any shape, the same on all of them, float64."""
    if not dist.is_initialized():
        return values
    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor)
    return tensor.numpy()


def all_reduce_sum_by_name(figures: dict[str, float]) -> dict[str, float]:
    """Sums over ranks, by name; a rank that lacks a name adds nothing to it."""
    sums: dict[str, float] = {}
    for part in all_gather(figures):
        for name, value in part.items():
            sums[name] = sums.get(name, 0) + value
    return sums


def all_reduce_max(value: int) -> int:
    """The largest over ranks."""
    if not dist.is_initialized():
        return value
    tensor = torch.tensor(value)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)


def all_gather(value: T) -> list[T]:
    """One value per rank, on every rank; anything that can be pickled."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Return once every rank has come here."""
    all_reduce_max(0)


def on_main(work: Callable[[], T]) -> T:
    """Rank 0 does it, the others wait; its result on all of them."""
    results = [work() if is_main() else None]
    if dist.is_initialized():
        dist.broadcast_object_list(results, src=0, device=torch.device("cpu"))
    return results[0]


def main_only(work: Callable[..., Any]) -> Callable[..., Any]:
    """Rank 0 does it, the others pass by; nobody waits, and there is no result."""

    @wraps(work)
    def on_rank_0(*args: Any, **kwargs: Any) -> None:
        if is_main():
            work(*args, **kwargs)

    return on_rank_0


@contextmanager
def main_first() -> Iterator[None]:
    """Rank 0 goes through the block before the others do: what it refuses is told once, and what
    it makes is there for them."""
    if not is_main():
        barrier()
    yield
    if is_main():
        barrier()


def parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` with gradients that are means over ranks; weights and buffers become rank 0's.

    Batch-norm statistics stay each rank's own: see `broadcast_buffers`.
    """
    if not dist.is_initialized():
        return model
    broadcast_buffers(model)
    gpus = [device] if device.type == "cuda" else None
    with warnings.catch_warnings():  # newer torch calls it forward_sync_buffers
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(model, device_ids=gpus, broadcast_buffers=False)


def gradient_sync(model: nn.Module, *, enabled: bool) -> AbstractContextManager[Any]:
    """Around forward and backward pass: gradients become means over ranks only where `enabled`."""
    if enabled or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    return model.no_sync()


def broadcast_buffers(model: nn.Module) -> None:
    """Give all ranks the buffers of rank 0, the statistics of batch norms above all."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
