"""Pages of PDF files as images, where the optional package pypdfium2 is installed."""

import importlib.util
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dbnet.data.image_files import MAX_PIXELS, naming
from dbnet.errors import InputError

DPI = 300  # of a page as an image, unless it would have more than MAX_PIXELS

NEEDED = "a PDF; to read it, pip install pypdfium2"

_one_at_a_time = threading.Lock()  # PDFium is not safe to use from several threads


def is_installed() -> bool:
    return importlib.util.find_spec("pypdfium2") is not None


def is_pdf(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a PDF."""
    return b"%PDF-" in start[:1024]


def page_count(file: Path | bytes, name: str) -> int:
    """How many pages a PDF has; raises InputError as `page_pixels` does."""
    with _opened(file, name) as document:
        return len(document)


def page_pixels(file: Path | bytes, name: str, page: int = 0) -> np.ndarray:
    """A page as viewers show it, uint8 (H, W, 3) RGB, at `DPI`.

    Args:
        file: the path or the contents.
        name: for error messages.
        page: counted from 0.

    Raises:
        InputError: pypdfium2 is not installed, or PDFium cannot read the file or the page.
    """
    with _opened(file, name) as document:
        document.init_forms()  # else the fields of forms stay empty
        sheet = document[page]
        width, height = sheet.get_size()  # 1/72 inch, turned as the page says
        scale = min(DPI / 72, math.sqrt(MAX_PIXELS / (width * height)))
        bitmap = sheet.render(scale=scale, rev_byteorder=True)
        pixels = bitmap.to_numpy()[:, :, :3].copy()
        bitmap.close()
        return pixels


@contextmanager
def _opened(file: Path | bytes, name: str) -> Iterator[Any]:
    if not is_installed():
        raise InputError(f"{name}: {NEEDED}")
    import pypdfium2

    with _one_at_a_time, naming(name):
        if isinstance(file, Path):
            file.open("rb").close()  # an error that says why, as pypdfium2's does not
        try:
            with pypdfium2.PdfDocument(file) as document:
                yield document
        except pypdfium2.PdfiumError as error:
            raise InputError(f"{str(error).rstrip('.')}; save its pages as images") from None
