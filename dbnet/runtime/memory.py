"""How the process allocates memory."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> None:
    """Tell glibc to reuse the memory of freed arrays instead of handing it back to the kernel.

    By default every large array is mapped afresh, and its pages are faulted in one by one: on a
    CPU that doubles the time of a forward pass. Resident memory then stays at its peak. Loader
    workers inherit the setting. Does nothing where there is no glibc.

    Handing back is turned off altogether: the largest threshold that can be named, 2 GB, is less
    than what a batch frees at once.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
