"""Which weights a program takes, and the settings they were trained with."""

from pathlib import Path
from typing import TypeVar

from dbnet.errors import InputError
from dbnet.section import from_stored

T = TypeVar("T")

_RELEASED = Path(__file__).parents[2] / "weights" / "dbnet-efficientnet_lite0.pt"


def newest_checkpoint(folder: Path = Path("runs")) -> Path:
    """The best.pt below `folder` that was written last.

    Raises:
        InputError: there is none.
    """
    found = sorted(folder.glob("*/best.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(f"no best.pt under {folder}/: train first, or name one: --checkpoint FILE")
    return found[-1]


def released_weights() -> Path:
    """The weights that come with the repository.

    Raises:
        InputError: they are not there.
    """
    if not _RELEASED.is_file():
        raise InputError(
            f"{_RELEASED}: the released weights are not there; name others: --checkpoint FILE"
        )
    return _RELEASED


def trained_with(checkpoint: Path, cls: type[T]) -> T:
    """The settings inside a checkpoint, as `cls`; those that it lacks have their defaults."""
    from dbnet.checkpoint import load_checkpoint  # torch is slow to import: not for --help

    return from_stored(cls, load_checkpoint(checkpoint)["config"], checkpoint)
