"""Ctrl-C and SIGTERM as a request that is granted where nothing is lost."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from dbnet.runtime.distributed import is_main, world

_NOTE = b"\nstopping as soon as the step in hand is done; Ctrl-C again leaves at once\n"


class StopSignals:
    """Within `with StopSignals() as stop:`, the first SIGINT or SIGTERM only sets `stop.received`.

    A second one ends the program on the spot, as a kill would, with exit status 128 + its number.
    Signals that are ignored stay so, as in jobs that a shell runs in the background; the earlier
    handlers come back at the end. But where an error ends one of several ranks, SIGTERM is ignored
    from then on: torchrun sends it as soon as one has ended, and this one has to say why yet.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> "StopSignals":
        self._process = os.getpid()
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._earlier = {n: signal.getsignal(n) for n in numbers}
        for number, handler in self._earlier.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and world() > 1:
            self._earlier[signal.SIGTERM] = signal.SIG_IGN
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def is_asked(self) -> bool:
        """Whether a signal has been received."""
        return self.received is not None

    def _receive(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a loader's worker, forked a moment ago: it ends with its parent
        if self.received is not None:
            if is_main():
                os.write(2, f"\n{Path(sys.argv[0]).name}: stopped at once\n".encode())
            os._exit(128 + number)  # an exception might meet what is half made, or be swallowed
        self.received = number
        if number == signal.SIGINT and is_main():
            os.write(2, _NOTE)  # print() must not be entered twice
