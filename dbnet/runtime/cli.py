"""Command lines: flags from dataclasses of settings, and one-line error messages.

This module does not import PyTorch: programs parse their flags first and import it afterwards.
"""

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import tyro

from dbnet.errors import InputError, Stopped, one_line
from dbnet.runtime.torchrun import is_started_by_torchrun

T = TypeVar("T")


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """Errors that the user can fix become one line on stderr and exit status 1.

    After a signal, the exit status is 128 plus its number.
    """
    name = program()
    sys.excepthook = _while_importing
    try:
        yield
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


def _while_importing(kind: type[BaseException], error: BaseException, trace: TracebackType | None):
    """Print one line for Ctrl-C and for missing libraries of OpenCV."""
    if issubclass(kind, KeyboardInterrupt):
        print(f"\n{program()}: stopped", file=sys.stderr)
    elif isinstance(error, ImportError) and (line := one_line(error)):
        print(f"{program()}: {line}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def program() -> str:
    """The program as the user called it: "train.py" or "python -m dbnet.release"."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name}" if spec else Path(sys.argv[0]).name


def parse(
    cls: type[T],
    *,
    description: str,
    default: Callable[[], T] | None = None,
    folder_flag: str | None = None,
    config: tuple[Any, ...] = (),
) -> T:
    """Parse the command line.

    Args:
        cls: dataclass whose fields become flags.
        description: for `--help`; the docstring of the program: a line, then indented examples.
        default: returns the settings that flags override; None: the defaults of `cls`. If it
            fails, `--help` shows the defaults of `cls`.
        folder_flag: the flag to suggest for a folder that was given without one.
        config: passed to tyro.

    Raises:
        InputError: from `default`; a folder was given without its flag; a value is out of its
            range; settings contradict each other. For unknown flags and values of a wrong type,
            tyro prints an explanation and exits with status 2.
    """
    start: Any = tyro.MISSING
    try:
        if default:
            start = default()
    except InputError:
        if not asks_for_help():
            raise
    options: dict[str, Any] = {"prog": program(), "description": description, "config": config}
    if start is not tyro.MISSING:
        options["default"] = start
    if folder_flag:
        _, unknown = _tyro(cls, **options, return_unknown_args=True)
        _suggest_folder_flag(unknown, folder_flag)
    return _tyro(cls, **options)


def _tyro(cls: type, **options: Any) -> Any:
    """`tyro.cli`, except that an InputError of the settings is raised again as it was."""
    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            return tyro.cli(cls, **options)
    except SystemExit as stop:
        error: BaseException | None = stop
        while error is not None and not isinstance(error, InputError):
            error = error.__context__
        if error is not None:
            raise error from None
        sys.stderr.write(printed.getvalue())
        raise


def _suggest_folder_flag(unknown: list[str], flag: str) -> None:
    """Raise InputError that suggests --data.root for `train.py DIR` and `train.py --data DIR`."""
    section = flag.split(".")[0]
    for word, following in pairwise([*unknown, ""]):
        folder = following if word == section else word.removeprefix(f"{section}=")
        if word.startswith((section + "=",)) or word == section or Path(word).is_dir():
            raise InputError(f"{word}: is not a flag; did you mean {flag} {folder or 'DIR'}?")


def value_of(flag: str) -> str | None:
    """The last value of one flag, read before the others because their defaults depend on it."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(
        flag, flag.replace("-", "_").replace("__", "--", 1), dest="value", nargs="?"
    )
    value = parser.parse_known_args()[0].value
    return None if value == "None" else value


def rename_flag(old: str, new: str) -> None:
    """Replace a flag of an earlier version by its present name, and print a line about it."""
    for index, word in enumerate(sys.argv):
        if word == old:
            print(f"{old} is now {new}; a later version will refuse the old name", file=sys.stderr)
            sys.argv[index] = new


def asks_for_help() -> bool:
    return "--help" in sys.argv or "-h" in sys.argv


def refuse_torchrun(why: str) -> None:
    """Raise InputError where torchrun has started this process."""
    if is_started_by_torchrun():
        raise InputError(f"{why}: start it with python, not with torchrun")
