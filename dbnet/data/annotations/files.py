"""Files of annotations: folders are walked, texts are read; links must not leave the bounds.

Text files are UTF-8, with or without a byte order mark. All errors are InputErrors that begin with
the file.
"""

import os
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path

from dbnet.errors import InputError

LINKS_HINT = "copy the file instead of linking it, or allow links with --data.follow-links"
LINKED_FOLDER = "a linked folder"  # why a folder is not walked


def printable(line: str) -> str:
    """On one line, and escaped where it cannot be written: names and keys may hold anything."""
    return " ".join(line.splitlines()).encode("utf-8", "backslashreplace").decode()


def listed(names: Collection[str]) -> str:
    """The first few names for a message."""
    return ", ".join(list(names)[:5]) + (", ..." if len(names) > 5 else "")


def number_of(count: int, noun: str) -> str:
    """A count and its noun: "1 image", "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def walk(
    folder: Path | str,
    *,
    links: bool = False,
    skipped: list[str] | None = None,
    below: str = "",
    above: tuple[str, ...] = (),
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Posix names of the files in `folder`, any depth, in no order.

    Hidden files and folders and those that cannot be read are left out.

    Args:
        links: linked folders are walked too, apart from those that lead back to one above them.
        skipped: gets the names of folders that are not walked and of links that lead nowhere, each
            with the reason.
        below, above: the name and the real paths of the folders so far.
    """
    skipped = [] if skipped is None else skipped
    folders = []
    if links:
        if (real := os.path.realpath(folder)) in above:
            return
        above = (*above, real)
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                if entry.name[0] == ".":
                    continue
                if entry.is_dir(follow_symlinks=links):
                    folders.append(entry)
                elif entry.is_file():
                    yield f"{below}{entry.name}", entry
                elif entry.is_symlink():
                    what = LINKED_FOLDER if entry.is_dir() else "a link that leads nowhere"
                    skipped.append(f"{below}{entry.name} ({what})")
    except OSError as error:
        skipped.append(f"{below.rstrip('/') or '.'} ({error.strerror})")
    for entry in folders:
        yield from walk(
            entry.path, links=links, skipped=skipped, below=f"{below}{entry.name}/", above=above
        )


def list_files(folder: Path, suffixes: Collection[str], *, links: bool = False) -> list[str]:
    """Sorted posix names of the files that `walk` finds with one of these suffixes."""
    files = walk(folder, links=links)
    return sorted(name for name, _ in files if Path(name).suffix.lower() in suffixes)


def not_walked(folder: Path, *, links: bool = False) -> list[str]:
    """Sorted: folders below `folder` that `walk` leaves out, and links that lead nowhere."""
    skipped: list[str] = []
    deque(walk(folder, links=links, skipped=skipped), maxlen=0)
    return sorted(skipped)


def inside(path: Path, bounds: tuple[Path, ...]) -> bool:
    """Whether a path stays in one of the bounds, which are resolved, once links are followed."""
    return not bounds or any(map(path.resolve().is_relative_to, bounds))


def read_text(bounds: tuple[Path, ...], path: Path) -> str:
    """Contents of a UTF-8 file that must not lie outside the bounds."""
    if not inside(path, bounds):
        raise InputError(f"{path}: leads out of {bounds[0]}; {LINKS_HINT}")
    try:
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
