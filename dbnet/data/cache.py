"""Target maps kept on disk, so that an image whose geometry never changes is drawn once.

One file per entry, named by a digest of all that determines the maps. Any number of processes may
read and write the same folder: entries appear whole or not at all, and are checked when read. A
killed process loses the entry it was writing and may leave its .tmp file.

Outside its texts a map is constant, so an entry holds only the rectangle around them: the threshold
map as bytes, the three binary maps as bits. It is not compressed: zlib would make it 4 to 13 times
smaller and reading it 1.5 to 2 times slower.
"""

import contextlib
import hashlib
import logging
import multiprocessing
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from dbnet.data.targets import MIN_SIDE, make_targets
from dbnet.structures import TargetMaps

_VERSION = 1  # raise it when the maps drawn or the layout of an entry change
_HEADER = struct.Struct("<16s4I")  # key; top, left, height, width of the rectangle
_CHECKSUM = struct.Struct("<I")  # CRC-32 of all before it
_LEVELS = 255  # steps of the threshold map
_SLOTS = 4096  # counters; a process takes the one of its id modulo this

logger = logging.getLogger(__name__)


class CacheCounts(NamedTuple):
    """Sums over this process and all that were started with the cache (forked or spawned)."""

    hits: int
    misses: int
    bytes_stored: int


class TargetCache:
    """Answers like `make_targets`, from disk where it can.

    The binary maps are those of `make_targets`. The threshold map is rounded to 255 steps, an error
    of at most (thresh_max - thresh_min) / 510. A hit, a miss and a cache that is off give the same
    bits. A miss stores its maps; where that fails (disk full, folder read-only), one warning is
    logged and nothing more is stored.

    Args:
        folder: where the entries live; made when the first one is stored.
        shrink_ratio, thresh_min, thresh_max: as for `make_targets`, thresh_min < thresh_max.
    """

    def __init__(
        self, *, folder: Path, shrink_ratio: float, thresh_min: float, thresh_max: float
    ) -> None:
        if not thresh_min < thresh_max:
            raise ValueError(f"thresh_min {thresh_min} must be below thresh_max {thresh_max}")
        self.folder = folder
        self.shrink_ratio = shrink_ratio
        self.thresh_min = thresh_min
        self.thresh_max = thresh_max
        # Shared with the workers. Each process adds to three numbers of its own: a lock would stay
        # locked if its worker were killed. The last number says that nothing is stored any more.
        self._shared = multiprocessing.RawArray("q", 3 * _SLOTS + 1)

    def get(
        self,
        polygons: list[np.ndarray],
        ignored: np.ndarray,
        height: int,
        width: int,
        *,
        flipped: bool = False,
    ) -> TargetMaps:
        """Maps, float32 (height, width), of `polygons`: n x float32 (P, 2); `ignored` is bool (n,).

        With `flipped` they are mirrored left to right, which gives the maps of the mirrored
        polygons (x -> width - 1 - x) but for single pixels on the edges of the binary maps: give
        the polygons before the mirroring, so that both share one entry.
        Raises ValueError as `make_targets` does.
        """
        key = self._key(polygons, ignored, height, width)
        path = self.folder / key[:1].hex() / key.hex()
        entry = _read(path, key)
        self._count(hits=entry is not None, misses=entry is None)
        if entry is None:
            maps = make_targets(
                polygons,
                ignored,
                height,
                width,
                shrink_ratio=self.shrink_ratio,
                thresh_min=self.thresh_min,
                thresh_max=self.thresh_max,
            )
            entry = self._encode(key, maps)
            self._store(path, entry)
        return self._decode(entry, height, width, flipped)

    __call__ = get

    def counts(self) -> CacheCounts:
        """Hits, misses and bytes written so far."""
        table = np.frombuffer(self._shared, np.int64)[:-1].reshape(_SLOTS, 3)
        return CacheCounts(*table.sum(axis=0).tolist())

    def _count(self, *, hits: int = 0, misses: int = 0, bytes_stored: int = 0) -> None:
        slot = 3 * (os.getpid() % _SLOTS)
        for offset, number in enumerate((hits, misses, bytes_stored)):
            self._shared[slot + offset] += number

    def _key(
        self, polygons: list[np.ndarray], ignored: np.ndarray, height: int, width: int
    ) -> bytes:
        """16 bytes that stand for everything the maps depend on."""
        parameters = (self.shrink_ratio, self.thresh_min, self.thresh_max, MIN_SIDE)
        digest = hashlib.blake2b(digest_size=16)
        digest.update(struct.pack("<I4d2I", _VERSION, *parameters, height, width))
        digest.update(np.array([len(polygons), *map(len, polygons)]))
        digest.update(np.ascontiguousarray(ignored, bool))
        if polygons:
            digest.update(np.concatenate(polygons))
        return digest.digest()

    def _store(self, path: Path, entry: bytes) -> None:
        if self._shared[-1]:
            return
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(entry)
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            self._shared[-1] = 1
            logger.warning("Target cache %s is off, nothing more is stored: %s", self.folder, error)
        else:
            self._count(bytes_stored=len(entry))

    def _encode(self, key: bytes, maps: TargetMaps) -> bytes:
        planes = (maps.shrink_map, maps.shrink_mask, maps.thresh_mask)
        binary = np.stack([plane > 0 for plane in planes])
        varies = binary[0] | ~binary[1] | binary[2]
        rows, columns = np.flatnonzero(varies.any(axis=1)), np.flatnonzero(varies.any(axis=0))
        top, bottom = (rows[0], rows[-1] + 1) if len(rows) else (0, 1)
        left, right = (columns[0], columns[-1] + 1) if len(columns) else (0, 1)
        steps = _LEVELS / (self.thresh_max - self.thresh_min)
        levels = np.rint((maps.thresh_map[top:bottom, left:right] - self.thresh_min) * steps)
        entry = b"".join(
            [
                _HEADER.pack(key, top, left, bottom - top, right - left),
                levels.astype(np.uint8).tobytes(),
                np.packbits(binary[:, top:bottom, left:right]).tobytes(),
            ]
        )
        return entry + _CHECKSUM.pack(zlib.crc32(entry))

    def _decode(self, entry: bytes, height: int, width: int, flipped: bool) -> TargetMaps:
        _, top, left, rows, columns = _HEADER.unpack_from(entry)
        data = np.frombuffer(entry, np.uint8, offset=_HEADER.size)
        size = rows * columns
        levels = data[:size].reshape(rows, columns)
        binary = np.unpackbits(data[size:], count=3 * size).reshape(3, rows, columns)
        if flipped:
            left = width - left - columns
            levels = cv2.flip(levels, 1)
            binary = [cv2.flip(plane, 1) for plane in binary]
        thresholds = np.linspace(self.thresh_min, self.thresh_max, _LEVELS + 1, dtype=np.float32)

        # One block of memory: obtaining four takes longer than filling them.
        maps = TargetMaps(*np.empty((4, height, width), np.float32))
        for plane, outside in zip(maps, (0, 1, thresholds[0], 0), strict=True):
            plane.fill(outside)
        inside = np.s_[top : top + rows, left : left + columns]
        maps.shrink_map[inside], maps.shrink_mask[inside], maps.thresh_mask[inside] = binary
        maps.thresh_map[inside] = cv2.LUT(levels, thresholds)
        return maps


def _read(path: Path, key: bytes) -> bytes | None:
    """The entry, or None if it is missing, damaged or another's."""
    try:
        entry = path.read_bytes()
    except OSError:
        return None
    if not entry.startswith(key):
        return None
    (checksum,) = _CHECKSUM.unpack(entry[-_CHECKSUM.size :])
    body = memoryview(entry)[: -_CHECKSUM.size]
    return entry if zlib.crc32(body) == checksum else None
