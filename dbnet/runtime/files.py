"""Atomic writes of files and folders, and checks of output folders."""

import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dbnet.errors import InputError

_STALE = 60.0  # seconds since a temporary file was last written to


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file beside `path`, and rename it to `path` after the block.

    The block writes the file, or makes it a folder. After an error the temporary file is removed
    and `path` is unchanged. Processes on several hosts may write the same `path`: the names of
    temporary files never collide.

    Raises:
        OSError: from the block or from the renaming; it names `path`, not the temporary file.
    """
    draft = path.with_name(f".{uuid.uuid4().hex}.tmp")  # `path` may have the longest name allowed
    try:
        yield draft
        draft.replace(path)
    except OSError as error:
        if error.filename in (draft, str(draft)):
            error.filename = str(path)
        raise
    finally:  # also after KeyboardInterrupt
        with suppress(OSError):  # it was renamed, or not made
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_bytes(content)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that killed programs have left in a folder and its sub-folders.

    Files younger than a minute are not removed: another program may be writing them.
    """
    for draft in folder.rglob("*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > _STALE:
                draft.unlink()


def new_folder(parent: Path, kind: str) -> Path:
    """Make the folder KIND-DATE-TIME in `parent`; if it exists, KIND-DATE-TIME-2, -3 and so on.

    Raises:
        OSError: the folder cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    name = time.strftime(f"{kind}-%Y%m%d-%H%M%S")
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def check_output(folder: Path, names: Iterable[str]) -> None:
    """Check that a program can write its results to --out; call it before any slow work.

    Args:
        folder: may not exist yet.
        names: files and folders that the program writes there.

    Raises:
        InputError: one of them exists already, or the folder cannot be written.
    """
    for name in names:
        if (folder / name).exists():
            raise InputError(f"{folder / name}: exists; choose another --out")
    check_writable(folder, "choose another --out")


def check_writable(folder: Path, advice: str) -> None:
    """Check that `folder` can be written, or made in the nearest folder above it that exists.

    Args:
        advice: what the user can do; the end of the error message.

    Raises:
        InputError: it cannot be written.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    probe = there / f".{uuid.uuid4().hex}.tmp"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{there}: cannot be written ({error.strerror}); {advice}") from None
