"""Settings of the memory allocator."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> None:
    """Make glibc reuse the memory of freed arrays instead of returning it to the kernel.

    By default glibc maps new memory for every large array, and each of its pages causes a page
    fault: this doubles the time of a forward pass on a CPU. With this setting, resident memory
    stays at its peak. Loader workers inherit the setting. Without glibc, nothing is done.

    Memory is never returned: the largest threshold that glibc accepts, 2 GB, is less than what a
    batch frees at once.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
