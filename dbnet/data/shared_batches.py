"""Sends batches from loader workers to the main process in shared memory that is reused.

By default torch allocates new shared memory for every tensor. The kernel then creates and frees its
pages for every batch. This takes a worker longer than all other work on a cached image.
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

_HELD = 3  # batches of one worker that the main process may hold before copies get slower
_ALIGNED = 64  # bytes
_POLYGONS = ("polygons", "orig_polygons")

_rings: "weakref.WeakValueDictionary[int, SharedRing]" = weakref.WeakValueDictionary()
_numbers: Iterator[int] = itertools.count()


class SharedRing:
    """Shared memory for the batches of one worker, created in the main process before it starts.

    The worker takes a place for each batch. The main process frees it when it no longer uses any
    tensor of that batch. Each place has a flag of one byte. Only the worker sets it and only the
    main process clears it, so no lock is needed.

    Args:
        prefetch_factor: batches that the worker prepares ahead.
    """

    def __init__(self, prefetch_factor: int) -> None:
        self.number = next(_numbers)
        self._flags = shared_memory()  # 1: taken
        self._places = [shared_memory() for _ in range(prefetch_factor + _HELD)]
        self.flags()  # allocates it, before other processes map it
        _rings[self.number] = self

    def flags(self) -> np.ndarray:
        return self._flags.array((len(self._places),), np.uint8)

    def place(self, index: int, size: int) -> np.ndarray:
        """uint8 (size,)."""
        return self._places[index].array((size,), np.uint8)


class _Layout(NamedTuple):
    """Position and layout of a tensor. Its axes are those in memory, permuted."""

    start: int  # byte
    shape: tuple[int, ...]  # in the order of memory
    dtype: str  # numpy's
    axes: list[int]  # tensor = memory.permute(axes)


def reduce_batch(batch: Batch, ring: SharedRing) -> tuple[Any, ...]:
    """Pickle a worker's batch: tensors go to a free place of the ring, polygons into one array.

    Without a free place, or without memory for it, the tensors are pickled one by one.
    """
    free = np.flatnonzero(ring.flags() == 0)
    if not len(free):
        return Batch, tuple(batch)
    names = [name for name, value in batch._asdict().items() if isinstance(value, Tensor)]
    arrays, layouts, size = [], [], 0
    for name in names:
        tensor = getattr(batch, name)
        order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
        array = tensor.permute(order).numpy()  # in memory order
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
    """Rebuild the batch in the main process. All its tensors share one storage."""
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
    if os.getpid() == process:  # not in a process that was forked in the meantime
        flags[index] = 0
