"""Files that appear whole or not at all, and folders that nobody else writes to."""

import itertools
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_STALE = 60.0  # seconds since a draft was last written to


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft beside `path` to write to, which takes its place at the end of the block.

    After an error the draft is removed, and `path` is as it was. Any number of processes on any
    number of hosts may write the same file: no two drafts have the same name.

    Raises:
        OSError: of the block, or of the renaming; a draft is told by the name of `path`.
    """
    draft = path.with_name(f".{uuid.uuid4().hex}.tmp")  # as short for the longest of names
    try:
        yield draft
        draft.replace(path)
    except OSError as error:
        if error.filename in (draft, str(draft)):
            error.filename = str(path)
        raise
    finally:  # also where somebody stops the program
        with suppress(OSError):  # renamed, or told already
            draft.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove the drafts that killed programs have left anywhere in a folder of ours.

    Others may still write the younger ones.
    """
    for draft in folder.rglob("*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > _STALE:
                draft.unlink()


def new_folder(parent: Path, kind: str) -> Path:
    """Make KIND-DATE-TIME in `parent`; where it is taken, KIND-DATE-TIME-2, -3 and so on.

    Raises:
        OSError: it cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    name = time.strftime(f"{kind}-%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
