"""Ctrl-C and SIGTERM as a request to stop after the current step."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from dbnet.runtime.distributed import is_main, world

_NOTE = b"\nstopping as soon as the step in hand is done; Ctrl-C again leaves at once\n"


class StopSignals:
    """Within `with StopSignals() as stop:`, the first SIGINT or SIGTERM only sets `stop.received`.

    A second signal ends the program at once, as a kill does, with exit status 128 plus its number.
    Signals that were ignored before, as in background jobs of a shell, are still ignored. At the
    end the earlier handlers are restored. One exception: if an error ends one of several ranks,
    SIGTERM is ignored from then on. torchrun sends it as soon as a rank has ended, and this rank
    must still print its error.
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
            return  # a loader worker that was just forked; it ends with its parent
        if self.received is not None:
            if is_main():
                os.write(2, f"\n{Path(sys.argv[0]).name}: stopped at once\n".encode())
            os._exit(128 + number)  # an exception could leave half-made objects, or be caught
        self.received = number
        if number == signal.SIGINT and is_main():
            os.write(2, _NOTE)  # print() is not reentrant
