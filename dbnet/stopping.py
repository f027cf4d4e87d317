"""Ctrl-C and SIGTERM as a request that is granted where nothing is lost."""

import os
import signal
from types import FrameType

from dbnet.distributed import is_main
from dbnet.errors import Stopped

_NOTE = b"\nstopping as soon as the step in hand is done; Ctrl-C again leaves at once\n"


class StopSignals:
    """Within `with StopSignals() as stop:`, the first SIGINT or SIGTERM only sets `stop.received`.

    A second one raises Stopped wherever the program is. Signals that are ignored stay so, as in
    jobs that a shell runs in the background; the earlier handlers come back at the end.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> "StopSignals":
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._earlier = {n: signal.getsignal(n) for n in numbers}
        for number, handler in self._earlier.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            raise Stopped(number, "stopped at once")
        self.received = number
        if number == signal.SIGINT and is_main():
            os.write(2, _NOTE)  # print() must not be entered twice
