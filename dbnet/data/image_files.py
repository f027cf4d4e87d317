"""Opening image files: which types are read, how large they may be, and clear errors."""

import functools
import importlib.util
import itertools
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from PIL import Image, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from dbnet.errors import InputError

# Just below the size at which Pillow starts to warn; 240 MB decoded.
MAX_PIXELS = 80_000_000

# A JPEG of this many pixels has MAX_PIXELS once it is decoded at half its sides.
MAX_JPEG_PIXELS = 4 * MAX_PIXELS

# Pillow need not warn: the limit is checked after the header is read, with a clearer message.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# HEIC and HEIF are read where pillow-heif is installed, and refused with a hint where it is not.
IMAGE_SUFFIXES = frozenset((
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".png",
    ".tif", ".tiff", ".webp",
))  # fmt: skip

_SUBFILE_TYPE = 254  # a TIFF tag


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Turn any exception of the block into an InputError that begins with the path."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{path}: {too_large(MAX_PIXELS)}") from None
    except Exception as error:  # damaged bytes lead Pillow's readers to exceptions of any type
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: {reason}") from error


def _why_unknown(start: bytes) -> str:
    """Why Pillow cannot read a file that begins with these 12 bytes."""
    if not start:
        return "the file is empty (0 bytes)"
    if _is_heif(start):
        return "a HEIC image; to read it, pip install pillow-heif"
    if start.startswith(b"%PDF"):
        return "a PDF, not an image; save its pages as images"
    return "not an image, or of an unknown type"


def _is_heif(start: bytes) -> bool:
    """Whether a file's first 12 bytes are those of HEIC (HEVC) or another still of ISO 23008-12."""
    return start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"heim", b"heis", b"mif1")


def opened(file: BinaryIO) -> Image.Image:
    """`Image.open`, also for HEIC images (with pillow-heif) and for JPEGs of any size."""
    start = file.read(12)
    file.seek(0)
    if _is_heif(start):
        _register_heif()
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        raise InputError(_why_unknown(start)) from None
    except Image.DecompressionBombError:
        if not start.startswith(b"\xff\xd8"):
            raise
        file.seek(0)
        return JpegImagePlugin.JpegImageFile(file)  # `check_size` checks the limit


@functools.cache
def _register_heif() -> None:
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()


def too_large(limit: int) -> str:
    """The end of an error message."""
    return f"more than {limit:,} pixels: scale the image down"


def is_reducible(image: Image.Image) -> bool:
    """Whether OpenCV decodes the image, possibly at a reduced size."""
    return image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")


def check_size(image: Image.Image) -> None:
    """Raise InputError if the image is too large to be decoded."""
    width, height = image.size
    limit = MAX_JPEG_PIXELS if is_reducible(image) else MAX_PIXELS
    if width * height > limit:
        raise InputError(f"{width} x {height} is {too_large(limit)}")


def tiff_pages(image: Image.Image) -> list[int]:
    """Frames that are pages of a TIFF: neither thumbnails (bit 0) nor masks (bit 2 of tag 254).

    A damaged frame ends the list. Other types have one page.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return [0]
    frames = [0]
    with suppress(EOFError, SyntaxError, LookupError, TypeError, ValueError, OSError, struct.error):
        for frame in itertools.count(1):
            image.seek(frame)
            if not image.tag_v2.get(_SUBFILE_TYPE, 0) & 5:
                frames.append(frame)
    image.seek(0)
    return frames
