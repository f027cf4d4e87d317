"""Worker processes, and how they handle signals that are sent to the whole run."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

import cv2

# Forked workers start at once and share the main process' memory. Not on macOS, where libraries
# do not survive a fork.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"

_POLL_SECONDS = 2.0


def usable_cores() -> int:
    """Processor cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def sigterm_blocked() -> Iterator[None]:
    """Processes started within the block have SIGTERM blocked from their first instruction."""
    resource_tracker.ensure_running()  # of spawned processes; if started later, it unblocks SIGTERM
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def start_worker() -> None:
    """Call first in a worker process.

    Ctrl-C in a terminal, `timeout` and service managers signal all processes of a run at once.
    Only the main process reacts; a worker ignores both signals and ends with the main process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)  # the workers are the parallelism
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if not hasattr(signal, "sigtimedwait"):  # macOS
        threading.Thread(target=_end_at_second_sigterm, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when the main process has ended, or has sent SIGTERM to this worker alone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    while parent.is_alive():
        if not hasattr(signal, "sigtimedwait"):
            time.sleep(_POLL_SECONDS)
            continue
        received = signal.sigtimedwait({signal.SIGTERM}, _POLL_SECONDS)
        if received and received.si_pid == parent.pid:
            break
    os._exit(0)


def _end_at_second_sigterm() -> None:
    """For systems that do not name the sender: the first SIGTERM may be for the whole run."""
    signal.sigwait({signal.SIGTERM})
    signal.sigwait({signal.SIGTERM})
    os._exit(0)
