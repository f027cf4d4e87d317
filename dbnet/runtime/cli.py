"""Command lines: flags from dataclasses of settings, one clear line for what cannot work."""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from dbnet.errors import InputError, Stopped, one_line

T = TypeVar("T")


def run(main: Callable[[T], Any], parse: Callable[[], T]) -> None:
    """Parse, run, and turn what the user can mend into one line and exit status 1."""
    name = Path(sys.argv[0]).name
    try:
        cfg = parse()
        with _ranks():
            main(cfg)
    except Stopped as stop:
        print(f"\n{name}: {stop}", file=sys.stderr)
        sys.exit(128 + stop.number)
    except KeyboardInterrupt:
        print(f"\n{name}: stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        sys.exit(f"{name}: {line}")


def _ranks() -> AbstractContextManager[None]:
    """The process group, where torchrun has started this process."""
    if not _has_ranks():
        return nullcontext()
    from dbnet.runtime.distributed import process_group  # torch is slow to import: not for --help

    return process_group()


def _has_ranks() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def refuse_ranks(why: str) -> None:
    """Raise InputError where torchrun has started this process."""
    if _has_ranks():
        raise InputError(f"{why}: start it with python, not with torchrun")


def asks_for_help() -> bool:
    return "--help" in sys.argv or "-h" in sys.argv


def value_of(flag: str) -> str | None:
    """The last value behind `flag` on the command line, before the rest is parsed."""
    value = None
    for word, following in zip(sys.argv, [*sys.argv[1:], None], strict=True):
        if word == flag:
            value = following
        elif word.startswith(f"{flag}="):
            value = word.removeprefix(f"{flag}=")
    return value
