"""How a loader's workers hand batches to the main process: in memory that is used again.

By itself torch takes fresh shared memory for every tensor. Its pages are then made and thrown away
for every batch, which takes a worker longer than everything else that it does for a cached image.
"""

import itertools
import os
import weakref
from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dbnet.ragged import pack_images, unpack_images
from dbnet.runtime.shared_memory import shared_memory
from dbnet.structures import Batch

_HELD = 3  # batches of one worker that the main process may hold at a time without a penalty
_ALIGNED = 64  # bytes
_POLYGONS = ("polygons", "orig_polygons")

_rings: "weakref.WeakValueDictionary[int, SharedRing]" = weakref.WeakValueDictionary()
_numbers: Iterator[int] = itertools.count()


class SharedRing:
    """Room for the batches of one worker. Made in the main process before the worker starts.

    A place is taken by the worker for one batch, and is free again when the main process uses no
    tensor of that batch any more. Each side writes one direction of that change only, a byte per
    place, so that no lock is needed.

    Args:
        prefetch_factor: batches that the worker makes ahead.
    """

    def __init__(self, prefetch_factor: int) -> None:
        self.number = next(_numbers)
        self._flags = shared_memory()  # 1: taken
        self._places = [shared_memory() for _ in range(prefetch_factor + _HELD)]
        self.flags()  # nobody else makes it larger
        _rings[self.number] = self

    def flags(self) -> np.ndarray:
        return self._flags.array((len(self._places),), np.uint8)

    def place(self, index: int, size: int) -> np.ndarray:
        """uint8 (size,)."""
        return self._places[index].array((size,), np.uint8)


class _Layout(NamedTuple):
    """Where a tensor lies. Its axes are those of memory put into another order."""

    start: int  # byte
    shape: tuple[int, ...]  # in the order of memory
    dtype: str  # numpy's
    axes: list[int]  # tensor = memory.permute(axes)


def reduce_batch(batch: Batch, ring: SharedRing) -> tuple[Any, ...]:
    """How a worker's batch is pickled: its tensors go to a free place of the ring, and its outlines
    into one array.

    Without a free place, or without room for it, they are pickled one by one.
    """
    free = np.flatnonzero(ring.flags() == 0)
    if not len(free):
        return Batch, tuple(batch)
    names = [name for name, value in batch._asdict().items() if isinstance(value, Tensor)]
    arrays, layouts, size = [], [], 0
    for name in names:
        tensor = getattr(batch, name)
        order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
        array = tensor.permute(order).numpy()  # as it lies in memory
        axes = [order.index(axis) for axis in range(len(order))]
        layouts.append(_Layout(size, array.shape, array.dtype.str, axes))
        arrays.append(array)
        size += -(-array.nbytes // _ALIGNED) * _ALIGNED
    index = int(free[0])
    try:
        memory = ring.place(index, size)
    except OSError:
        return Batch, tuple(batch)
    for array, layout in zip(arrays, layouts, strict=True):
        _in_memory(memory, layout)[...] = array
    ring.flags()[index] = 1
    rest = {name: value for name, value in batch._asdict().items() if name not in names}
    rest |= {name: pack_images(rest[name]) for name in _POLYGONS}
    return _rebuild, (ring.number, index, size, dict(zip(names, layouts, strict=True)), rest)


def _in_memory(memory: np.ndarray, layout: _Layout) -> np.ndarray:
    dtype = np.dtype(layout.dtype)
    end = layout.start + prod(layout.shape) * dtype.itemsize
    return memory[layout.start : end].view(dtype).reshape(layout.shape)


def _rebuild(
    number: int, index: int, size: int, layouts: dict[str, _Layout], rest: dict[str, Any]
) -> Batch:
    """In the main process: the batch, whose tensors all share one storage."""
    ring = _rings[number]
    memory = ring.place(index, size)
    weakref.finalize(memory, _set_free, ring.flags(), index, os.getpid()).atexit = False
    storage = torch.from_numpy(memory)  # keeps `memory` alive until the last tensor is gone
    tensors: dict[str, Any] = {}
    for name, layout in layouts.items():
        dtype = torch.from_numpy(np.empty(0, layout.dtype)).dtype
        end = layout.start + prod(layout.shape) * dtype.itemsize
        flat = storage[layout.start : end].view(dtype)
        tensors[name] = flat.reshape(layout.shape).permute(layout.axes)
    outlines = {name: unpack_images(rest[name]) for name in _POLYGONS}
    return Batch(**(rest | tensors | outlines))


def _set_free(flags: np.ndarray, index: int, process: int) -> None:
    if os.getpid() == process:  # not in a process that was forked meanwhile
        flags[index] = 0
