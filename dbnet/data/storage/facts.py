"""Values that an index or a cache entry depends on: states of files, versions of libraries."""

import os
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import PIL
import pyclipper
import shapely

from dbnet.errors import InputError


class FileFacts(NamedTuple):
    """Attributes of a file that change with its content.

    A program can set mtime_ns to any value; only the kernel sets ctime_ns, at every change.
    """

    size: int  # bytes
    mtime_ns: int  # last change of the content, in ns since 1970
    ctime_ns: int  # last change of the content, the name or the attributes, in ns since 1970


def file_facts(file: Path | os.DirEntry[str]) -> FileFacts:
    """The attributes of a file, without opening it. Links are followed.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        stat = file.stat()
    except OSError as error:
        raise InputError(f"{os.fspath(file)}: {error.strerror}") from None
    return FileFacts(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def library_versions() -> tuple[str, ...]:
    """Versions of the libraries that decode images, draw targets and check polygons.

    Another version may give other results, so it must not read entries of this one.
    """
    return (
        f"cv2 {cv2.__version__}",
        f"numpy {np.__version__}",
        f"pillow {PIL.__version__}",
        f"pyclipper {pyclipper.__version__}",
        f"shapely {shapely.__version__}",
    )
