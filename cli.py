"""Command lines: flags from the config dataclasses, one clear line for what cannot work."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import tyro

from configs import Config, EvaluateConfig, ProfileConfig, from_dict
from dbnet.errors import InputError, Stopped, one_line

T = TypeVar("T")


def run(main: Callable[[T], Any], parse: Callable[[], T]) -> None:
    """Parse, run, and turn what the user can mend into one line and exit status 1."""
    name = Path(sys.argv[0]).name
    try:
        main(parse())
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


def parse_train() -> Config:
    """Flags over defaults; with --train.resume RUN, over that run's own settings."""
    run_folder = _value_of("--train.resume")
    return tyro.cli(Config, default=read_run_config(Path(run_folder)) if run_folder else Config())


def parse_evaluate() -> EvaluateConfig:
    """Flags over the settings of the checkpoint to evaluate."""
    return _parse_over_checkpoint(EvaluateConfig, required=True)


def parse_profile() -> ProfileConfig:
    """Flags over the settings of the checkpoint to profile, or the defaults where is none."""
    return _parse_over_checkpoint(ProfileConfig, required=False)


def _parse_over_checkpoint(cls: type[T], *, required: bool) -> T:
    if "--help" in sys.argv or "-h" in sys.argv:
        return tyro.cli(cls)
    named = _value_of("--checkpoint")
    try:
        checkpoint = Path(named) if named else newest_checkpoint()
    except InputError:
        if required:
            raise
        return tyro.cli(cls)
    from dbnet.checkpoint import load_checkpoint  # torch is slow to import: not for --help

    trained = _settings(load_checkpoint(checkpoint)["config"], checkpoint)
    shared = {f.name for f in dataclasses.fields(cls)} & {
        f.name for f in dataclasses.fields(Config)
    }
    sections = {name: getattr(trained, name) for name in shared}
    return tyro.cli(cls, default=cls(checkpoint=checkpoint, **sections))


def read_run_config(folder: Path) -> Config:
    """Settings of an earlier run.

    Raises:
        ValueError: the folder holds no run, or its config.json cannot be read.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not there; give a run folder made by train.py") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if isinstance(values, dict):
        values.pop("built", None)
    return _settings(values, path)


def _settings(values: Any, path: Path) -> Config:
    try:
        return from_dict(Config, values)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: its settings do not fit this version ({error})") from None


def newest_checkpoint(folder: Path = Path("runs")) -> Path:
    """The best.pt that was written last.

    Raises:
        ValueError: there is none.
    """
    found = sorted(folder.glob("*/best.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(f"no best.pt under {folder}/: train first, or name one: --checkpoint FILE")
    return found[-1]


def _value_of(flag: str) -> str | None:
    """The value behind `flag` on the command line, before the rest is parsed."""
    for index, word in enumerate(sys.argv):
        if word == flag and index + 1 < len(sys.argv):
            return sys.argv[index + 1]
        if word.startswith(f"{flag}="):
            return word.removeprefix(f"{flag}=")
    return None
