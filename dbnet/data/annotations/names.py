"""Names of images as annotations write them, and the files that they mean."""

import unicodedata
from collections import defaultdict
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from dbnet.data.annotations.files import list_files
from dbnet.data.image_files import IMAGE_SUFFIXES

_Files = dict[str, list[tuple[tuple[str, ...], str]]]


class ImageNames:
    """Finds the image for an annotated name that matches no file exactly, if only one fits.

    Names are compared without regard to case, Unicode form (NFC, NFD), kind of slash and blanks
    around, and with %20 and the like read where that helps. One of the two may have folders in
    front that the other lacks: `images/train/a.jpg`, `../train/a.jpg`, a URL or an absolute path of
    another computer mean `a.jpg`, and `a.jpg` means `sub/a.jpg`. A name may lack its ending.

    Args:
        folder: that holds the images; it is listed when the first name is asked for.
        links: linked folders are listed too.
    """

    def __init__(self, folder: Path, *, links: bool) -> None:
        self._folder = folder
        self._links = links

    @cached_property
    def _files(self) -> _Files:
        """Last part of a file's name -> all of its parts, and the name as it is."""
        files = defaultdict(list)
        for name in list_files(self._folder, IMAGE_SUFFIXES, links=self._links):
            parts = _parts(name)
            files[parts[-1]].append((parts, name))
        return files

    @cached_property
    def _stems(self) -> _Files:
        """The same without the endings of the files."""
        stems = defaultdict(list)
        for files in self._files.values():
            for parts, name in files:
                stem = PurePosixPath(parts[-1]).stem
                stems[stem].append(((*parts[:-1], stem), name))
        return stems

    def find(self, name: str) -> str | None:
        """The name of the only file that is meant, else None."""
        parts = _parts(name)
        best = _closest(parts, self._files)
        if not best and parts and PurePosixPath(parts[-1]).suffix not in IMAGE_SUFFIXES:
            best = _closest(parts, self._stems)  # a name without its ending
        return best[0] if len(best) == 1 else None

    def hint(self, name: str) -> str:
        """Files that may be meant, for a message; "" where there are none."""
        parts = _parts(name)
        stem = PurePosixPath(parts[-1]).stem if parts else ""
        files = _closest(parts, self._files) or [name for _, name in self._stems.get(stem, [])]
        return f" (there is {' and '.join(files[:2])})" if files else ""


def _closest(parts: tuple[str, ...], files: _Files) -> list[str]:
    """Files that share the most trailing path parts with the name. One must end with the other."""
    if parts and parts[-1] not in files:
        parts = tuple(map(unquote, parts))
    if not parts:
        return []
    shared = {
        name: min(len(own), len(parts))
        for own, name in files.get(parts[-1], [])
        if own[-len(parts) :] == parts[-len(own) :]
    }
    return [name for name, count in shared.items() if count == max(shared.values())]


def _parts(name: str) -> tuple[str, ...]:
    """Folders and file, comparable."""
    if "://" in name:
        name = unquote(urlsplit(name).path)
    parts = unicodedata.normalize("NFC", name.replace("\\", "/")).strip().casefold().split("/")
    return tuple(part for part in parts if part not in ("", ".", ".."))
