"""Inputs of a Detector (paths, bytes, PIL images, arrays) as items that decode to RGB pixels."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from dbnet.data.images import Decoded, decode_bytes, decode_reduced, eight_bits
from dbnet.errors import InputError
from dbnet.inference import pdf
from dbnet.inference.inputs import Source
from dbnet.inference.pipeline import Item

# A path, a file's bytes, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) RGB, (H, W, 4) RGBA.
ImageLike = str | os.PathLike[str] | bytes | Image.Image | np.ndarray | Source


def as_item(image: ImageLike, name: str) -> Item:
    """The image as an `Item`. Files are read, and arrays are converted, when it is decoded.

    For a path or the bytes of a file with several pages, the first page is used.

    Args:
        name: for error lines, of an image that is no file.

    Raises:
        InputError: `image` is of another type.
    """
    if isinstance(image, Source):
        return _file(image.path, str(image.path), image.page)
    if isinstance(image, (str, os.PathLike)):
        return _file(Path(image), os.fspath(image))
    if isinstance(image, bytes):
        if pdf.is_pdf(image):
            return Item(name, _decoder(pdf.page_pixels, image, name))
        return Item(name, partial(decode_bytes, image, name))
    if isinstance(image, Image.Image):
        return Item(name, _decoder(_pil_pixels, image, name))
    if isinstance(image, np.ndarray):
        return Item(name, _decoder(rgb_pixels, image, name))
    raise InputError(
        f"{name}: is a {type(image).__name__}; give a path, bytes, a PIL image or a numpy array"
    )


def _file(path: Path, name: str, page: int = 0) -> Item:
    if page:
        name = f"{name}#{page + 1}"
    if path.suffix.lower() == ".pdf":
        return Item(name, _decoder(partial(pdf.page_pixels, page=page), path, name))
    return Item(name, partial(decode_reduced, path, page=page))


def _decoder(pixels_of: Callable, image: Any, name: str) -> Callable:
    """A decoder that ignores the needed scale, for pixels in memory and pages of PDFs."""

    def decode(scale_of: Callable[[tuple[int, int]], float]) -> Decoded:
        pixels = pixels_of(image, name)
        return Decoded(pixels, pixels.shape[:2], np.eye(3))

    return decode


def rgb_pixels(array: np.ndarray, name: str) -> np.ndarray:
    """uint8 (H, W, 3) RGB, C-contiguous, of any array that has a natural reading as an image.

    Grey is repeated, alpha is composited on white, true is white. Of 16-bit channels the highest 8
    bits in use are kept, as of 16-bit files.

    Args:
        array: bool, uint8 or uint16 of shape (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA.

    Raises:
        InputError: another shape or type, or no pixel.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        hint = " (channels come last)" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise InputError(
            f"{name}: an array of shape {array.shape}; give (H, W), (H, W, 3) or (H, W, 4){hint}"
        )
    if array.size == 0:
        raise InputError(f"{name}: an array of shape {array.shape} has no pixels")
    if array.dtype == np.uint16:
        array = eight_bits(array)
    elif array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype != np.uint8:
        raise InputError(
            f"{name}: {array.dtype} pixels have no fixed range; give uint8 (0..255) or uint16"
        )
    if array.shape[2] == 4:
        alpha = array[:, :, 3:].astype(np.uint16)
        array = ((array[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _pil_pixels(image: Image.Image, name: str) -> np.ndarray:
    """`rgb_pixels` of a PIL image, with its EXIF orientation applied."""
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            return rgb_pixels(np.asarray(image), name)
        if image.has_transparency_data:
            return rgb_pixels(np.asarray(image.convert("RGBA")), name)
        return rgb_pixels(np.asarray(image.convert("RGB")), name)
    except InputError:
        raise
    except Exception as error:  # a lazily opened file is read only here; damaged bytes raise any
        raise InputError(f"{name}: cannot be read ({error})") from None
