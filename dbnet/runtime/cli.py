"""Command lines: flags from dataclasses of settings, one clear line for what cannot work.

PyTorch is not imported: scripts parse first, and import it after.
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
    """What the user can mend becomes one line on stderr, and exit status 1.

    A signal gives 128 and its number.
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
    """Tell Ctrl-C and missing libraries of OpenCV in one line."""
    if issubclass(kind, KeyboardInterrupt):
        print(f"\n{program()}: stopped", file=sys.stderr)
    elif isinstance(error, ImportError) and (line := one_line(error)):
        print(f"{program()}: {line}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def program() -> str:
    """As the user has called it: "train.py" or "python -m dbnet.release"."""
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
    """Flags over defaults.

    Args:
        cls: dataclass whose fields become flags.
        description: for `--help`; the script's own docstring: a line, then examples, indented.
        default: gives what the flags are laid over; None: the defaults of `cls`. Where it fails,
            `--help` shows those too.
        folder_flag: what a folder without a flag was probably meant for.
        config: of tyro.

    Raises:
        InputError: by `default`, for a folder without its flag, for a value out of its range or
            for settings that contradict each other. What is no flag or no value of its type, tyro
            explains itself, and exits with status 2.
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
    """`tyro.cli`, but settings that are refused raise their InputError, one line."""
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            return tyro.cli(cls, **options)
    except SystemExit as stop:
        error: BaseException | None = stop
        while error is not None and not isinstance(error, InputError):
            error = error.__context__
        if error is not None:
            raise error from None
        sys.stderr.write(told.getvalue())
        raise


def _suggest_folder_flag(unknown: list[str], flag: str) -> None:
    """`train.py DIR` and `train.py --data DIR` are told of --data.root."""
    section = flag.split(".")[0]
    for word, following in pairwise([*unknown, ""]):
        folder = following if word == section else word.removeprefix(f"{section}=")
        if word.startswith((section + "=",)) or word == section or Path(word).is_dir():
            raise InputError(f"{word}: is not a flag; did you mean {flag} {folder or 'DIR'}?")


def value_of(flag: str) -> str | None:
    """The last value of one flag, for what the defaults of the others depend on."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(
        flag, flag.replace("-", "_").replace("__", "--", 1), dest="value", nargs="?"
    )
    value = parser.parse_known_args()[0].value
    return None if value == "None" else value


def rename_flag(old: str, new: str) -> None:
    """Let a flag of an earlier version stand for its present one, and say so."""
    for index, word in enumerate(sys.argv):
        if word == old:
            print(f"{old} is now {new}; the old name will go", file=sys.stderr)
            sys.argv[index] = new


def asks_for_help() -> bool:
    return "--help" in sys.argv or "-h" in sys.argv


def refuse_torchrun(why: str) -> None:
    """Raise InputError where torchrun has started this process."""
    if is_started_by_torchrun():
        raise InputError(f"{why}: start it with python, not with torchrun")
