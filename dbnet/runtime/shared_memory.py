"""Memory shared by several processes, for arrays that are too large for pipes."""

import os
import tempfile
from math import prod
from mmap import mmap
from multiprocessing.reduction import DupFd
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor


class SharedMemory:
    """Bytes that several processes map. `shared_memory` creates one.

    The memory is an unnamed file in RAM (memfd), so the size of /dev/shm does not limit it. On
    systems without memfd it is a temporary file. It grows to the largest array and is then reused,
    because the first access to a page takes the kernel ten times as long as a write.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._memory: mmap | None = None
        self._pinned: int | None = None  # address of page-locked memory

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (DupFd(self._file.fileno()),)  # to a spawned process

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """An array at the start of the memory.

        Raises:
            OSError: too little memory or too few file descriptors.
        """
        memory = self._mapped(prod(shape) * np.dtype(dtype).itemsize)
        return np.frombuffer(memory, dtype, prod(shape)).reshape(shape)

    def tensor(self, shape: tuple[int, ...], *, pinned: bool) -> Tensor:
        """A float32 tensor at its start. `pinned`: CUDA copies to it asynchronously."""
        size = 4 * prod(shape)
        if pinned and (self._memory is None or len(self._memory) < size):
            self._unpin()
        memory = self._mapped(size)
        tensor = torch.frombuffer(memory, dtype=torch.float32, count=prod(shape)).reshape(shape)
        if pinned and self._pinned is None:
            # If this fails, copies are only slower: they are then synchronous.
            torch.cuda.cudart().cudaHostRegister(tensor.data_ptr(), len(memory), 0)
            self._pinned = tensor.data_ptr()
        return tensor

    def close(self) -> None:
        """The memory is freed as soon as no array, tensor or other process uses it."""
        self._unpin()
        self._memory = None
        self._file.close()

    def _mapped(self, size: int) -> mmap:
        if self._memory is None or len(self._memory) < size:
            present = os.fstat(self._file.fileno()).st_size
            if present < size:
                os.ftruncate(self._file.fileno(), size)
            self._memory = mmap(self._file.fileno(), max(size, present))
        return self._memory

    def _unpin(self) -> None:
        if self._pinned is not None:
            torch.cuda.cudart().cudaHostUnregister(self._pinned)
            self._pinned = None


def shared_memory() -> SharedMemory:
    """New shared memory, empty. Pass it to other processes when they are started."""
    if hasattr(os, "memfd_create"):
        return SharedMemory(os.fdopen(os.memfd_create("dbnet"), "r+b", buffering=0))
    return SharedMemory(tempfile.TemporaryFile(buffering=0))


def _received(file: Any) -> SharedMemory:
    return SharedMemory(os.fdopen(file.detach(), "r+b", buffering=0))
