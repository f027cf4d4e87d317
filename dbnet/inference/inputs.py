"""Images named on a command line: files, folders, globs, or a list of them."""

import glob
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from dbnet.data.annotations.files import list_files
from dbnet.data.image_files import IMAGE_SUFFIXES
from dbnet.data.images import read_header
from dbnet.errors import InputError


class Source(NamedTuple):
    """One image to read; the file may be missing or damaged."""

    path: Path
    name: str  # of the file, or relative to the folder it was found in; unique


def find_images(words: Iterable[str]) -> list[Source]:
    """What the words name, in their order, each file under a name of its own.

    A folder stands for the images below it, sorted; a glob for the files and folders that match
    it, sorted, `**` for folders of any depth. A word that is neither is a file, there or not. A
    file that is named twice is read once, under its first name.

    Raises ValueError: a folder without images, a glob without a match, one name for two files.
    """
    by_path: dict[str, Source] = {}
    for source in (source for word in words for source in _expand(word)):
        # Not resolve(): two links to one file are two names.
        by_path.setdefault(os.path.abspath(source.path), source)  # noqa: PTH100
    by_name: dict[str, Source] = {}
    for source in by_path.values():
        earlier = by_name.setdefault(source.name, source)
        if earlier is not source:
            raise InputError(
                f"{earlier.path} and {source.path} would both be called {source.name}: "
                "name a folder that holds both instead"
            )
    return list(by_name.values())


def not_read(words: Iterable[str]) -> list[str]:
    """Of the folders among the words: files of other types and linked folders, sorted by folder."""
    found = []
    for folder in (Path(word) for word in words if Path(word).is_dir()):
        for path in sorted(folder.rglob("*")):
            is_other = path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES
            is_linked = path.is_dir() and path.is_symlink()
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if (is_other or is_linked) and not hidden:
                found.append(str(path))
    return found


def with_more_pages(sources: Iterable[Source]) -> list[str]:
    """TIFFs with several pages, of which only the first is read: "NAME (3 pages)".

    A damaged file is left out: reading it tells what is wrong.
    """
    found = []
    for source in sources:
        if source.path.suffix.lower() in (".tif", ".tiff"):
            with suppress(InputError):
                pages = read_header(source.path).pages
                if pages > 1:
                    found.append(f"{source.path} ({pages} pages)")
    return found


def _expand(word: str) -> list[Source]:
    if not glob.has_magic(word) or Path(word).exists():
        return _named(Path(word))
    matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - also takes absolute ones
    if not matches:
        raise InputError(f"{word}: matches no file")
    return [source for match in matches for source in _named(Path(match))]


def _named(path: Path) -> list[Source]:
    if not path.is_dir():
        return [Source(path, _printable(path.name))]
    names = list_files(path, IMAGE_SUFFIXES)
    if not names:
        raise InputError(f"{path}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return [Source(path / name, _printable(name)) for name in names]


def _printable(name: str) -> str:
    """Names are bytes on disk; those that are not UTF-8 cannot be written to a JSON file."""
    return os.fsencode(name).decode("utf-8", "replace")
