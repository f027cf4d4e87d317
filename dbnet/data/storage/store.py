"""A key-value store on disk with checksums, used by the caches.

Each entry is a file. Several processes may read and write the same folder: an entry is written
atomically, and its checksum is verified when it is read. A killed process loses the entry that it
was writing, and may leave a .tmp file.
"""

import contextlib
import logging
import multiprocessing
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dbnet.runtime.files import replacing

KEY_BYTES = 16

_CHECKSUM = struct.Struct("<I")  # CRC-32 of all bytes before it; 0.15 ms per MB
_SLOTS = 4096  # counters; a process uses the one at its process id modulo this

logger = logging.getLogger(__name__)


class CacheCounts(NamedTuple):
    """Sums over this process and all forked or spawned processes that received the store."""

    hits: int
    misses: int
    bytes_stored: int


class Store:
    """Maps keys to bytes.

    If writing fails (disk full, folder read-only), one warning is logged, and no process writes any
    more. Existing entries are still read.

    Args:
        folder: holds the entries; created when the first one is written.
    """

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder
        # Shared with the workers. Each process adds to three numbers of its own. There is no lock,
        # because a killed worker would not release it. The last number is 1 when writing is off.
        self._shared = multiprocessing.RawArray("q", 3 * _SLOTS + 1)

    def read(self, key: bytes) -> memoryview | None:
        """The content of the entry; None (a miss) if it is missing or damaged."""
        content = _checked(self._path(key), key)
        self._count(hits=content is not None, misses=content is None)
        return content

    def write(self, key: bytes, content: bytes) -> None:
        """Store `content` under `key`, a digest of KEY_BYTES of everything that it depends on."""
        if self.is_off:
            return
        path = self._path(key)
        checksum = _CHECKSUM.pack(zlib.crc32(content, zlib.crc32(key)))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as draft:
                draft.write_bytes(b"".join([key, content, checksum]))
        except OSError as error:
            self._shared[-1] = 1
            logger.warning("Cache %s is off, nothing more is stored: %s", self.folder, error)
        else:
            self._count(bytes_stored=KEY_BYTES + len(content) + _CHECKSUM.size)

    @property
    def is_off(self) -> bool:
        """Whether writing has failed; no process then writes any more."""
        return bool(self._shared[-1])

    def counts(self) -> CacheCounts:
        """Hits, misses and bytes written so far."""
        table = np.frombuffer(self._shared, np.int64)[:-1].reshape(_SLOTS, 3)
        return CacheCounts(*table.sum(axis=0).tolist())

    def bytes_on_disk(self) -> int:
        """Size of all files in the folder, also those of other runs; about 10 ms per 1000 files."""
        total = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # a temporary file that was renamed
                    total += Path(folder, name).stat().st_size
        return total

    def _path(self, key: bytes) -> Path:
        return self.folder / key[:1].hex() / key.hex()

    def _count(self, *, hits: int = 0, misses: int = 0, bytes_stored: int = 0) -> None:
        slot = 3 * (os.getpid() % _SLOTS)
        for offset, number in enumerate((hits, misses, bytes_stored)):
            self._shared[slot + offset] += number


def _checked(path: Path, key: bytes) -> memoryview | None:
    try:
        entry = memoryview(path.read_bytes())
    except OSError:
        return None
    if len(entry) < KEY_BYTES + _CHECKSUM.size or entry[:KEY_BYTES] != key:
        return None
    body, checksum = entry[: -_CHECKSUM.size], entry[-_CHECKSUM.size :]
    return body[KEY_BYTES:] if zlib.crc32(body) == _CHECKSUM.unpack(checksum)[0] else None
