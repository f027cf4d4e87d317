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
from dbnet.inference import pdf


class Source(NamedTuple):
    """One image to read; the file may be missing or damaged."""

    path: Path
    name: str  # of the file, or relative to the folder it was found in, and of the page; unique
    page: int = 0  # of a TIFF or a PDF, counted from 0


def pages(path: str | os.PathLike[str]) -> list[Source]:
    """The pages of a TIFF or a PDF; any other file is one page.

    The first page has the file's name. Later pages have a number appended: scan.pdf#2.
    """
    return _pages(Path(path), Path(path).name)


def _pages(path: Path, name: str) -> list[Source]:
    numbers = range(1, _page_count(path))
    behind = [Source(path, f"{_printable(name)}#{number + 1}", number) for number in numbers]
    return [Source(path, _printable(name)), *behind]


def _page_count(path: Path) -> int:
    with suppress(InputError):  # of a missing or damaged file: reading it tells what is wrong
        if path.suffix.lower() == ".pdf":
            return pdf.page_count(path, str(path))
        if path.suffix.lower() in (".tif", ".tiff"):
            return read_header(path).pages
    return 1


def _suffixes() -> frozenset[str]:
    """Endings of the files that are read from a folder."""
    return IMAGE_SUFFIXES | {".pdf"} if pdf.is_installed() else IMAGE_SUFFIXES


def find_images(words: Iterable[str]) -> list[Source]:
    """The images that the arguments name, in their order. Names are unique.

    A folder stands for the images below it, sorted; a glob for the files and folders that match
    it, sorted, `**` for folders of any depth. A word that is neither is a file, there or not. A
    file that is named twice is read once, under its first name. A TIFF or a PDF stands for its
    pages.

    Raises InputError: a folder without images, a glob without a match, one name for two files.
    """
    by_path: dict[tuple[str, int], Source] = {}
    for source in (source for word in words for source in _expand(word)):
        # Not resolve(): two links to one file are two names.
        by_path.setdefault((os.path.abspath(source.path), source.page), source)  # noqa: PTH100
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
    suffixes = _suffixes()
    others = [name for name, _ in walk(folder) if Path(name).suffix.lower() not in suffixes]
    hints = {".pdf": f" ({pdf.NEEDED})"}
    hinted = [name + hints.get(Path(name).suffix.lower(), "") for name in others]
    return sorted([*hinted, *not_walked(folder)])


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
        return _pages(path, path.name)
    names = list_files(path, _suffixes())
    if not names:
        others = f"; not read: {listed(_not_read(path))}" if _not_read(path) else ""
        raise InputError(f"{path}: holds no images ({', '.join(sorted(_suffixes()))}){others}")
    return [source for name in names for source in _pages(path / name, name)]


def _printable(name: str) -> str:
    """Names are bytes on disk; those that are not UTF-8 cannot be written to a JSON file."""
    return os.fsencode(name).decode("utf-8", "replace")
