"""A file of several arrays with a checksum, made to be mapped into memory.

8 bytes   _MAGIC
8 bytes   length of the header
header    JSON: the key, the info, and where each array begins
arrays    each at a multiple of 64 bytes
4 bytes   CRC-32 of all before it
"""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from dbnet.errors import InputError
from dbnet.runtime.files import replacing

_MAGIC = b"dbnetarr"
_HEAD = struct.Struct("<8sQ")
_CHECKSUM = struct.Struct("<I")
_ALIGN = 64


def write_arrays(path: Path, key: str, info: Any, arrays: dict[str, np.ndarray]) -> None:
    """Write the file whole or not at all.

    Args:
        key: stored in the file; `map_arrays` compares it.
        info: stored with the arrays; anything that JSON holds.

    Raises:
        OSError: the file cannot be written.
    """
    layout, end = {}, 0
    for name, array in arrays.items():
        layout[name] = (array.dtype.str, array.shape, end)
        end += _padded(array.nbytes)
    header = json.dumps({"key": key, "info": info, "arrays": layout}).encode()
    header = header.ljust(_padded(_HEAD.size + len(header)) - _HEAD.size)
    pieces: list[bytes | memoryview] = [_HEAD.pack(_MAGIC, len(header)), header]
    for array in arrays.values():
        pieces += [
            array.reshape(-1).view(np.uint8).data,
            bytes(_padded(array.nbytes) - array.nbytes),
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    checksum = 0
    with replacing(path) as draft, draft.open("wb") as file:
        for piece in pieces:
            checksum = zlib.crc32(piece, checksum)
            file.write(piece)
        file.write(_CHECKSUM.pack(checksum))


def is_whole(path: Path) -> bool:
    """Whether the checksum of the file is correct. Reads the whole file, in pieces."""
    try:
        with path.open("rb") as file:
            left = path.stat().st_size - _CHECKSUM.size
            checksum = 0
            while left > 0 and (piece := file.read(min(left, 1 << 20))):
                checksum = zlib.crc32(piece, checksum)
                left -= len(piece)
            return left == 0 and file.read() == _CHECKSUM.pack(checksum)
    except OSError:
        return False


def map_arrays(path: Path, key: str) -> tuple[Any, dict[str, np.ndarray]]:
    """The info and the arrays, read-only, of a whole file.

    Raises:
        InputError: the file cannot be read, or has another key.
    """
    try:
        with path.open("rb") as file:
            magic, length = _HEAD.unpack(file.read(_HEAD.size))
            header: dict[str, Any] = json.loads(file.read(length)) if magic == _MAGIC else {}
            content = np.asarray(
                np.memmap(file, np.uint8, "r")
            )  # of this file: `path` may be replaced
    except (OSError, ValueError, struct.error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if header.get("key") != key:
        raise InputError(f"{path}: was rewritten by another program; start again")
    arrays = {}
    for name, (dtype, shape, offset) in header["arrays"].items():
        start = _HEAD.size + length + offset
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        arrays[name] = content[start : start + size].view(dtype).reshape(shape)
    return header["info"], arrays


def _padded(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
