"""Images named on a command line: files, folders, globs, or a list of them."""

import glob
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from dbnet.data.annotations.files import list_files, listed, not_walked, walk
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

    Raises InputError: a folder without images, a glob without a match, one name for two files.
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
    """What the folders among the words hold beside images that are read, sorted by folder.

    Files of other types, linked folders, folders that cannot be read, and links that lead nowhere.
    """
    found = []
    for folder in (path for word in words for path in _paths(word) if path.is_dir()):
        found += [str(folder / name) for name in _not_read(folder)]
    return found


def _not_read(folder: Path) -> list[str]:
    files = (name for name, _ in walk(folder))
    others = [name for name in files if Path(name).suffix.lower() not in IMAGE_SUFFIXES]
    return sorted([*others, *not_walked(folder)])


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
    paths = _paths(word)
    if not paths:
        raise InputError(f"{word}: matches no file")
    return [source for path in paths for source in _named(path)]


def _paths(word: str) -> list[Path]:
    """The word itself, or what matches where it is a glob; [] where nothing does."""
    if not glob.has_magic(word) or Path(word).exists():
        return [Path(word)]
    return [*map(Path, sorted(glob.glob(word, recursive=True)))]  # noqa: PTH207 - takes absolute ones


def _named(path: Path) -> list[Source]:
    if not path.is_dir():
        return [Source(path, _printable(path.name))]
    names = list_files(path, IMAGE_SUFFIXES)
    if not names:
        others = f"; not read: {listed(_not_read(path))}" if _not_read(path) else ""
        raise InputError(f"{path}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}){others}")
    return [Source(path / name, _printable(name)) for name in names]


def _printable(name: str) -> str:
    """Names are bytes on disk; those that are not UTF-8 cannot be written to a JSON file."""
    return os.fsencode(name).decode("utf-8", "replace")
