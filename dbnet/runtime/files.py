"""Files and folders that appear whole or not at all, and folders of one program alone."""

import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dbnet.errors import InputError

_STALE = 60.0  # seconds since a draft was last written to


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft beside `path`: write it as a file, or make it a folder. At the end of the block it is
    renamed to `path`.

    After an error the draft is removed, and `path` is as it was. Any number of processes on any
    number of hosts may write the same file: no two drafts have the same name.

    Raises:
        OSError: of the block, or of the renaming; it names `path` and not the draft.
    """
    draft = path.with_name(f".{uuid.uuid4().hex}.tmp")  # short: `path` may have the longest name
    try:
        yield draft
        draft.replace(path)
    except OSError as error:
        if error.filename in (draft, str(draft)):
            error.filename = str(path)
        raise
    finally:  # also after KeyboardInterrupt
        with suppress(OSError):  # it was renamed, or never made
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove the drafts that killed programs have left in a folder and its sub-folders.

    Drafts younger than a minute stay: another program may be writing them.
    """
    for draft in folder.rglob("*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > _STALE:
                draft.unlink()


def new_folder(parent: Path, kind: str) -> Path:
    """Make KIND-DATE-TIME in `parent`; where that exists, KIND-DATE-TIME-2, -3 and so on.

    Raises:
        OSError: it cannot be made.
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
    """See that a program can write its results to --out; call it before any slow work.

    Args:
        folder: made or not.
        names: of the files and folders that the program writes there.

    Raises:
        InputError: one of them exists already, or the folder cannot be written.
    """
    for name in names:
        if (folder / name).exists():
            raise InputError(f"{folder / name}: exists; choose another --out")
    check_writable(folder, "choose another --out")


def check_writable(folder: Path, advice: str) -> None:
    """See that `folder` can be written, or be made in the nearest folder above it that exists.

    Args:
        advice: what the user can do; it ends the error's line.

    Raises:
        InputError: it cannot.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    probe = there / f".{uuid.uuid4().hex}.tmp"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{there}: cannot be written ({error.strerror}); {advice}") from None
