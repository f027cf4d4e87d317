"""Disk caches of target maps and of images resized to the network's size.

Both are the same in every epoch. The key of an entry is a digest of everything that the entry
depends on, so a stale entry is never read. Results are identical bit by bit on a hit, on a miss,
and with a cache that cannot be written.
"""

import hashlib
import os
import struct
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from dbnet.data.samples import load_sample
from dbnet.data.storage.facts import file_facts, library_versions
from dbnet.data.storage.store import KEY_BYTES, CacheCounts, Store
from dbnet.data.targets import MIN_SIDE, make_targets
from dbnet.data.transforms import Geometry, letterbox, warp
from dbnet.geometry import transform
from dbnet.settings import TargetsConfig
from dbnet.structures import Record, Sample, TargetMaps

# Raise a version when the cached values or the layout of an entry change.
_TARGETS_VERSION = 3
_IMAGES_VERSION = 4

_RECTANGLE = struct.Struct("<4I")  # top, left, height, width of the stored part
_SIZES = struct.Struct("<4I")  # height, width of the original; of the stored part
_LEVELS = 255  # steps of the threshold map


class TargetCache:
    """The maps of `make_targets`, read from disk where they are cached.

    The binary maps are those of `make_targets`. The threshold map is rounded to 255 steps, an error
    of at most (thresh_max - thresh_min) / 510.

    A map is constant outside its texts. An entry therefore holds only the rectangle around them:
    the threshold map as bytes, the three binary maps as bits. Entries are not compressed: zlib
    makes them 4 to 13 times smaller, but reading takes 1.5 to 2 times as long.

    Args:
        folder: holds the entries; created when the first one is stored.
        targets: parameters of `make_targets`.
    """

    def __init__(self, *, folder: Path, targets: TargetsConfig) -> None:
        self.store = Store(folder=folder)
        self.targets = targets
        self._thresholds = np.linspace(
            targets.thresh_min, targets.thresh_max, _LEVELS + 1, dtype=np.float32
        )

    def get(
        self,
        polygons: list[np.ndarray],
        ignored: np.ndarray,
        height: int,
        width: int,
        *,
        flipped: bool = False,
    ) -> TargetMaps:
        """Maps, (height, width), of `polygons`: n x float32 (P, 2); `ignored` is bool (n,).

        With `flipped` the maps are mirrored left to right. Pass the polygons from before the
        mirroring: both orientations share one entry. The result equals the maps of the mirrored
        polygons (x -> width - 1 - x), except for single pixels on the edges of the binary maps.

        Raises:
            ValueError: as in `make_targets`.
        """
        key = self._key(polygons, ignored, height, width)
        entry: bytes | memoryview | None = self.store.read(key)
        if entry is None:
            maps = make_targets(polygons, ignored, height, width, **vars(self.targets))
            entry = encoded = self._encode(maps)
            self.store.write(key, encoded)
        return self._decode(entry, height, width, flipped)

    __call__ = get

    def counts(self) -> CacheCounts:
        return self.store.counts()

    def _key(
        self, polygons: list[np.ndarray], ignored: np.ndarray, height: int, width: int
    ) -> bytes:
        t = self.targets
        parameters = (t.shrink_ratio, t.thresh_min, t.thresh_max, MIN_SIDE)
        digest = hashlib.blake2b(digest_size=KEY_BYTES)
        digest.update(struct.pack("<I4d2I", _TARGETS_VERSION, *parameters, height, width))
        digest.update(repr(library_versions()).encode())
        digest.update(np.array([len(polygons), *map(len, polygons)]).data)
        digest.update(np.ascontiguousarray(ignored, bool).data)
        if polygons:
            digest.update(np.concatenate(polygons).data)
        return digest.digest()

    def _encode(self, maps: TargetMaps) -> bytes:
        planes = (maps.shrink_map, maps.shrink_mask, maps.thresh_mask)
        binary = np.stack([plane > 0 for plane in planes])
        varies = binary[0] | ~binary[1] | binary[2]
        rows, columns = np.flatnonzero(varies.any(axis=1)), np.flatnonzero(varies.any(axis=0))
        top, bottom = (rows[0], rows[-1] + 1) if len(rows) else (0, 1)
        left, right = (columns[0], columns[-1] + 1) if len(columns) else (0, 1)
        steps = _LEVELS / (self.targets.thresh_max - self.targets.thresh_min)
        above = maps.thresh_map[top:bottom, left:right] - self.targets.thresh_min
        levels = np.rint(above * steps)
        return b"".join(
            [
                _RECTANGLE.pack(top, left, bottom - top, right - left),
                levels.astype(np.uint8).tobytes(),
                np.packbits(binary[:, top:bottom, left:right]).tobytes(),
            ]
        )

    def _decode(
        self, entry: bytes | memoryview, height: int, width: int, flipped: bool
    ) -> TargetMaps:
        top, left, rows, columns = _RECTANGLE.unpack_from(entry)
        data = np.frombuffer(entry, np.uint8, offset=_RECTANGLE.size)
        size = rows * columns
        levels: np.ndarray = data[:size].reshape(rows, columns)
        binary: list[np.ndarray] = [
            *np.unpackbits(data[size:], count=3 * size).reshape(3, rows, columns)
        ]
        if flipped:
            left = width - left - columns
            levels = cv2.flip(levels, 1)
            binary = [cv2.flip(plane, 1) for plane in binary]

        maps = TargetMaps(
            shrink_map=np.zeros((height, width), np.uint8),
            shrink_mask=np.ones((height, width), np.uint8),
            thresh_map=np.full((height, width), self._thresholds[0]),
            thresh_mask=np.zeros((height, width), np.uint8),
        )
        inside = np.s_[top : top + rows, left : left + columns]
        maps.shrink_map[inside], maps.shrink_mask[inside], maps.thresh_mask[inside] = binary
        maps.thresh_map[inside] = cv2.LUT(levels, self._thresholds)
        return maps


class ImageCache:
    """Decoded and letterboxed images, read from disk where they are cached.

    An entry holds the pixels without the padding, uncompressed.

    Args:
        folder: holds the entries; created when the first one is stored.
    """

    def __init__(self, *, folder: Path) -> None:
        self.store = Store(folder=folder)

    def load(self, record: Record, geometry: Geometry, *, image_size: int) -> Sample:
        """The record's sample, resized so that the longest side of the image is `image_size`.

        `geometry` must be the letterbox to `image_size`. The transform then has nothing left to
        resize, and its result has the same bits as after `load_sample`. The image is read-only.

        Raises:
            InputError: as in `load_sample`; names the file.
        """
        key = self._key(record.image_path, image_size)
        entry: bytes | memoryview | None = self.store.read(key)
        if entry is None:
            sample = load_sample(record, geometry)
            sample = warp(sample, letterbox(sample.orig_size, image_size), image_size)
            entry = encoded = _encode_image(sample)
            self.store.write(key, encoded)
        image, orig_size = _decode_image(entry)
        matrix = letterbox(orig_size, image_size)
        return Sample(
            image=image,
            polygons=transform(record.polygons, matrix),
            ignored=record.ignored,
            texts=record.texts,
            image_id=record.image_id,
            matrix=matrix,
            orig_polygons=record.polygons,
            orig_size=orig_size,
        )

    def counts(self) -> CacheCounts:
        return self.store.counts()

    def _key(self, path: str, image_size: int) -> bytes:
        facts = (_IMAGES_VERSION, image_size, file_facts(Path(path)), library_versions())
        digest = hashlib.blake2b(digest_size=KEY_BYTES)
        digest.update(repr((*facts, os.path.realpath(path))).encode())
        return digest.digest()


def _encode_image(sample: Sample) -> bytes:
    """The entry of a sample that is letterboxed to a square."""
    canvas = sample.image  # (S, S, 3)
    height, width = sample.orig_size
    rows, columns = round(height * sample.matrix[1, 1]), round(width * sample.matrix[0, 0])
    if canvas[rows:].any() or canvas[:, columns:].any():  # interpolation of an enlarged image
        rows, columns = canvas.shape[:2]
    return _SIZES.pack(height, width, rows, columns) + canvas[:rows, :columns].tobytes()


def _decode_image(entry: bytes | memoryview) -> tuple[np.ndarray, tuple[int, int]]:
    """Pixels, uint8 (H, W, 3), and the height and width of the original."""
    height, width, rows, columns = _SIZES.unpack_from(entry)
    pixels = np.frombuffer(entry, np.uint8, offset=_SIZES.size)
    return pixels.reshape(rows, columns, 3), (height, width)


class Caches(NamedTuple):
    """The caches in use; None for one that is not."""

    targets: TargetCache | None
    images: ImageCache | None

    def counts(self) -> dict[str, CacheCounts]:
        return {name: cache.counts() for name, cache in self._asdict().items() if cache}

    def figures(self, *, since: dict[str, CacheCounts]) -> dict[str, float]:
        """{"cache/targets_hit_rate": 0..1, "cache/targets_bytes": on disk, ...}.

        Rates count the requests after `since`, an earlier `counts()`. A cache without requests has
        no rate. Bytes are those of the whole folder, with entries of other runs and settings.
        """
        figures: dict[str, float] = {}
        for name, counts in self.counts().items():
            hits = counts.hits - since[name].hits
            asked = hits + counts.misses - since[name].misses
            if asked:
                figures[f"cache/{name}_hit_rate"] = hits / asked
            figures[f"cache/{name}_bytes"] = getattr(self, name).store.bytes_on_disk()
        return figures
