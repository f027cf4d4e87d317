"""Image files to upright RGB arrays, and their size without decoding.

The EXIF orientation is read and applied here only, by the same rule for every file type.
Annotations, sizes and pixels are all in the upright frame.
"""

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from dbnet.data.image_files import (
    MAX_PIXELS,
    check_size,
    is_reducible,
    naming,
    opened,
    tiff_pages,
    too_large,
)
from dbnet.errors import InputError

# EXIF orientation: whether the order of rows and of columns is reversed. From 5 on, the axes are
# swapped afterwards.
_FLIPS = {
    1: (False, False),
    2: (False, True),
    3: (True, True),
    4: (True, False),
    5: (False, False),
    6: (True, False),
    7: (True, True),
    8: (False, True),
}
_FLIP_CODES = {(True, False): 0, (False, True): 1, (True, True): -1}  # of cv2.flip


# Factors by which a JPEG may be reduced while it is decoded, largest first.
_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}


class Header(NamedTuple):
    """Values from the header of an image file."""

    size: tuple[int, int]  # height, width of the upright image, pixels
    orientation: int  # EXIF, 1..8; 1 where there is none
    pages: int  # pages of a TIFF, without its thumbnails and masks; 1 for all other types


class Decoded(NamedTuple):
    """A decoded image, possibly at a reduced size."""

    pixels: np.ndarray  # uint8 (H, W, 3), RGB, upright, C-contiguous
    size: tuple[int, int]  # height, width of the upright original
    matrix: np.ndarray  # float64 (3, 3), pixels of the original -> those of `pixels`


# From the function that tells the scale which is needed to the decoded image; see decode_reduced.
Decode = Callable[[Callable[[tuple[int, int]], float]], Decoded]


def read_header(path: Path | str) -> Header:
    """Size, orientation and pages, without decoding.

    Raises:
        InputError: the file is missing, empty, of an unknown type, or has more pixels than
            MAX_PIXELS (a JPEG: MAX_JPEG_PIXELS).
    """
    with naming(path), Path(path).open("rb") as file, opened(file) as image:
        check_size(image)
        width, height = image.size
        turn = _orientation(image, file)
        size = (width, height) if turn >= 5 else (height, width)
        if not isinstance(image, TiffImagePlugin.TiffImageFile):
            return Header(size, turn, 1)
        return Header(size, image.tag_v2.get(ExifTags.Base.Orientation, 1), len(tiff_pages(image)))


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width in pixels of the upright image; raises InputError as `read_header` does."""
    return read_header(path).size


def decode_image(path: Path | str) -> np.ndarray:
    """Decode to uint8 (H, W, 3) RGB, upright, C-contiguous; the shape agrees with `image_size`.

    Alpha is composited on white. Animations give their first frame, TIFFs their first page. 16-bit
    channels are reduced to 8 bits, see `eight_bits`.

    Raises:
        InputError: as `read_header`; also for truncated or damaged pixels, 32-bit pixels, and a
            JPEG of more than MAX_PIXELS.
    """
    decoded = decode_reduced(path, lambda size: 1.0)
    if decoded.pixels.shape[:2] != decoded.size:
        height, width = decoded.size
        raise InputError(f"{path}: {width} x {height} is {too_large(MAX_PIXELS)}")
    return decoded.pixels


def decode_reduced(
    path: Path | str, scale_of: Callable[[tuple[int, int]], float], *, page: int = 0
) -> Decoded:
    """Like `decode_image`, but a JPEG that will be scaled down is decoded at a reduced size.

    The factor is 1/2, 1/4 or 1/8: the smallest that is not below the needed scale. Other types are
    decoded in full. A JPEG of more than MAX_PIXELS is always decoded at half its sides or less.

    Args:
        scale_of: from the upright height and width to the needed scale; 1.0 is the original size.
        page: of a TIFF with several, counted from 0.
    """
    with naming(path):
        data = Path(path).read_bytes()
    return decode_bytes(data, path, scale_of, page=page)


def decode_bytes(
    data: bytes,
    path: Path | str,
    scale_of: Callable[[tuple[int, int]], float],
    *,
    page: int = 0,
) -> Decoded:
    """`decode_reduced` for the contents of a file; `path` is its name in error messages."""
    with naming(path), opened(BytesIO(data)) as image:
        if page:
            image.seek(tiff_pages(image)[page])
        check_size(image)
        orientation = _orientation(image, BytesIO(data))
        stored = image.size[::-1]  # height, width
        size = stored[::-1] if orientation >= 5 else stored
        factor, pixels = 1, None
        if is_reducible(image):
            factor = _factor(stored, _FLIPS[orientation], scale_of(size))
            pixels = _decode_jpeg(data, factor)
        if pixels is None:
            factor, pixels = 1, _to_rgb(image, data, page)
    matrix = _reduction(stored, pixels.shape[:2], factor, orientation)
    return Decoded(_upright(pixels, orientation), size, matrix)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply the EXIF orientation. OpenCV is four times as fast as numpy slices."""
    if (flips := _FLIPS[orientation]) in _FLIP_CODES:
        pixels = cv2.flip(pixels, _FLIP_CODES[flips])
    return np.ascontiguousarray(cv2.transpose(pixels) if orientation >= 5 else pixels)


def _reduction(
    stored: tuple[int, int], made: tuple[int, int], factor: int, orientation: int
) -> np.ndarray:
    """Matrix (3, 3) from upright original pixels to upright reduced ones.

    A stored pixel x lies at (x + 1/2) / factor - 1/2, because pixel centres have whole coordinates.
    A reduced side is rounded up, so its last pixel may extend beyond the image. If the order of the
    pixels is reversed, this pixel comes first, and all others are shifted.
    """
    shift_y, shift_x = (
        (1 / factor - 1) / 2 + (reduced - side / factor if flipped else 0.0)
        for side, reduced, flipped in zip(stored, made, _FLIPS[orientation], strict=True)
    )
    if orientation >= 5:
        shift_x, shift_y = shift_y, shift_x
    return np.array([[1 / factor, 0, shift_x], [0, 1 / factor, shift_y], [0, 0, 1]])


def _factor(stored: tuple[int, int], flips: tuple[bool, bool], scale: float) -> int:
    """The factor by which a JPEG, (height, width) as stored, is reduced for a needed scale.

    Blocks of 8 x 8 pixels become blocks of 8 / factor pixels, which is exact for sides of any
    length. The last row and column are rounded up and may extend beyond the image. They must not
    become the first ones: a side whose order is reversed must be a multiple of the factor, unless
    the JPEG has more than MAX_PIXELS.
    """
    for factor in _REDUCED:
        whole = all(
            not flip or side % factor == 0 for side, flip in zip(stored, flips, strict=True)
        )
        if factor * scale <= 1 and whole:
            return factor
    return 2 if stored[0] * stored[1] > MAX_PIXELS else 1


def _orientation(image: Image.Image, file: BinaryIO) -> int:
    """EXIF orientation 1..8 that must still be applied; 1 if it is missing or invalid."""
    if image.format == "TIFF":
        return 1  # Pillow applies it
    if image.format == "PNG" and (exif := _png_exif(file)):
        image.info["exif"] = exif
    try:
        # The base class's method: that of PNG images decodes all pixels to find the EXIF block.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except (SyntaxError, ValueError, OSError, struct.error):
        return 1  # a damaged EXIF block; the pixels may be valid
    return orientation if orientation in _FLIPS else 1


def _png_exif(file: BinaryIO) -> bytes:
    """Contents of the eXIf chunk, which may lie before or after the pixels; b"" without one."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"eXIf":
            return file.read(length)
        file.seek(length + 4, 1)  # data and checksum
    return b""


def _decode_jpeg(data: bytes, factor: int) -> np.ndarray | None:
    """Decode with OpenCV, which is 1.3 to 2.2 times as fast as Pillow on receipts.

    Returns None if OpenCV fails. Pillow then raises an error with the reason.
    """
    stored = np.frombuffer(data, np.uint8)
    if factor == 1:
        return cv2.imdecode(stored, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    pixels = cv2.imdecode(stored, _REDUCED[factor] | cv2.IMREAD_IGNORE_ORIENTATION)
    return pixels if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _to_rgb(image: Image.Image, data: bytes, page: int) -> np.ndarray:
    """Decode with Pillow, or with OpenCV where Pillow would return only the empty high bits."""
    if image.mode.startswith("I;16"):
        gray = eight_bits(np.asarray(image))
        if isinstance(image, TiffImagePlugin.TiffImageFile) and not image.tag_v2.get(
            TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 1
        ):
            gray = 255 - gray  # in this file, 0 is white
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise InputError("32-bit pixels have no fixed range: save the image with 8 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    pixels = np.asarray(image.convert("RGB"))
    if image.format in ("PNG", "TIFF") and pixels.max() < 16:
        return _deep_colours(data, image.format, page, pixels)
    return pixels


def eight_bits(values: np.ndarray) -> np.ndarray:
    """The highest 8 of the used bits of 16-bit channels, uint8, any shape.

    Scanners and cameras of 8 or 12 bits leave the high bits of a 16-bit channel empty. The file
    does not state this: an image without values from 256 on has 8 bits, without values from 4096
    on 12 bits.
    """
    peak = values.max(initial=0)
    shift = 0 if peak < 1 << 8 else 4 if peak < 1 << 12 else 8
    return (values >> shift).astype(np.uint8)


def _deep_colours(data: bytes, format: str, page: int, pixels: np.ndarray) -> np.ndarray:
    """Pixels of a nearly black image: from OpenCV if its channels have 16 bits, else `pixels`.

    Pillow returns only the high byte of a 16-bit colour channel.
    """
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR  # OpenCV 5.0 garbles a deep IMREAD_COLOR_RGB
    if format == "PNG":
        flags |= cv2.IMREAD_IGNORE_ORIENTATION  # of a TIFF, Pillow applies it too
    stored = np.frombuffer(data, np.uint8)
    _, pages = cv2.imdecodemulti(stored, flags, range=(page, page + 1))
    if pages and pages[0].dtype == np.uint16 and pages[0].shape == pixels.shape:
        return cv2.cvtColor(eight_bits(pages[0]), cv2.COLOR_BGR2RGB)
    return pixels
