"""Cache of values that metrics compute from the ground truth, for the next validation."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Generic, TypeVar

import numpy as np

Value = TypeVar("Value")

_MAX_IMAGES = 2048  # about 20 kB each


class ContentCache(Generic[Value]):
    """Values by a digest of the arrays that they were computed from; an entry is never stale.

    A value belongs to a batch, because every validation has the same batches in the same order. A
    full cache stores nothing more. If it removed the oldest value instead, it would always remove
    the one that is needed next.
    """

    def __init__(self) -> None:
        self._values: dict[bytes, Value] = {}
        self._images = 0

    def get(self, content: Sequence[np.ndarray], make: Callable[[], Value], images: int) -> Value:
        """The value stored for the same content, else the result of `make()`, which is stored.

        Args:
            content: arrays. The first of them must determine the shapes of the others.
            images: number of images in the batch.
        """
        key = blake2b(b"".join(part.tobytes() for part in content)).digest()
        value = self._values.get(key)
        if value is None:
            value = make()
            if self._images + images <= _MAX_IMAGES:
                self._values[key] = value
                self._images += images
        return value
