"""Which weights a program takes, and the settings they were trained with.

PyTorch is not imported, unless a checkpoint of an earlier version is read.
"""

from pathlib import Path
from typing import TypeVar

from dbnet.errors import InputError
from dbnet.header import read_header
from dbnet.runtime.run_files import BEST, RUNS
from dbnet.section import Dataclass, from_stored

S = TypeVar("S", bound=Dataclass)
RELEASED = "dbnet-efficientnet_lite0.pt"
_PACKAGE = Path(__file__).parents[1]
# In an installed package, and in the repository, where the weights lie beside the package.
_FOLDERS = (_PACKAGE / "weights", _PACKAGE.parent / "weights")


def find_weights(named: str | None) -> Path:
    """The rule of all programs: --checkpoint FILE, else the newest best.pt under runs/, else the
    released weights.

    Raises:
        InputError: none of them is there.
    """
    return Path(named) if named else newest_checkpoint() or released_weights()


def newest_checkpoint() -> Path | None:
    """The best.pt below runs/ that was written last."""
    found = RUNS.glob(f"*/{BEST}")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def released_weights() -> Path:
    """The weights that come with the package: dbnet/weights/ where it is installed, weights/ beside
    dbnet/ in the repository. The working directory does not matter.

    Raises:
        InputError: they are not there.
    """
    found = [folder / RELEASED for folder in _FOLDERS if (folder / RELEASED).is_file()]
    if not found:
        raise InputError(
            f"{_FOLDERS[-1] / RELEASED}: the released weights are not there; name others: "
            "--checkpoint FILE"
        )
    return found[0]


def describe(path: Path) -> str:
    """Path of the weights and why they were chosen; programs print it at the start.

    A path below the working directory is relative to it.
    """
    here = Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return f"{shown}, {origin(path)}"


def origin(path: Path) -> str:
    """Why these weights were chosen: the newest, released or as named."""
    if path == newest_checkpoint():
        return f"the newest under {RUNS}/"
    return "released" if path.parent in _FOLDERS else "as named"


def results_folder(path: Path) -> Path:
    """Where figures and drawings of these weights go: beside them, but runs/ for released ones."""
    return RUNS if path.parent in _FOLDERS else path.parent


def trained_with(path: Path, cls: type[S], *, may_import_torch: bool) -> S:
    """The settings inside a checkpoint, as `cls`; those that it lacks have their defaults.

    Raises:
        InputError: the file cannot be read, lacks its settings or has unknown ones, or it is of an
            earlier version and PyTorch may not be imported.
    """
    header = read_header(path)
    if header:
        return from_stored(cls, header.config, path)
    if not may_import_torch:
        raise InputError(f"{path}: has no header")
    from dbnet.checkpoint import load_checkpoint

    payload = load_checkpoint(path)
    if "config" not in payload:
        raise InputError(f"{path}: lacks its settings; use a checkpoint that train.py wrote")
    return from_stored(cls, payload["config"], path)
