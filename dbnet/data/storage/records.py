"""The records of a split in a few flat arrays: small, and shared by all processes.

A list of records has hundreds of Python objects per image. Reading an object changes its reference
count, which makes the kernel copy its page: every forked worker would end up with a copy of the
list. An array has only one reference count.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from dbnet.data.storage.array_file import map_arrays
from dbnet.ragged import RaggedPolygons
from dbnet.structures import Record

_TEXT_END = b"\xff"  # not a byte of UTF-8


class RecordArrays(NamedTuple):
    """Arrays of n images. An image with 50 quads takes about 1.7 kB, plus its name and texts."""

    points: np.ndarray  # float32 (all points, 2)
    outlines: np.ndarray  # uint8 or wider (all texts,), twice the points, plus 1 where ignored
    texts: np.ndarray  # uint8 (all bytes,), UTF-8, each text ended by _TEXT_END
    names: np.ndarray  # uint8 (all bytes,), UTF-8
    starts: np.ndarray  # int64 (n + 1, 4), index at which each image starts in the arrays above


class Records(Sequence[Record]):
    """Behaves like list[Record]. Indexing creates the record. Its polygons are read-only.

    Args:
        folder: that holds the images.
        arrays: of all images.
        file: the file that the arrays are mapped from, and its key; None for arrays in memory.
            Pickled records refer to the file, so a spawned worker maps the same pages.
    """

    def __init__(self, *, folder: Path, arrays: RecordArrays, file: tuple[Path, str] | None):
        for array in arrays:
            array.flags.writeable = False
        self.folder = str(folder)
        self.arrays = arrays
        self.file = file

    def __len__(self) -> int:
        return len(self.arrays.starts) - 1

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        points, outlines, texts, names, starts = self.arrays
        index %= len(self)
        (point, outline, text, name), (_, *ends) = starts[index : index + 2].tolist()
        facts = outlines[outline : ends[0]]
        offsets = np.append(0, np.cumsum(facts >> 1, dtype=np.int64))
        image_id = _decoded(names[name : ends[2]].tobytes())
        return Record(
            image_path=f"{self.folder}/{image_id}",
            image_id=image_id,
            polygons=RaggedPolygons(points[point:], offsets).split(),
            ignored=(facts & 1).astype(bool),
            texts=[*map(_decoded, texts[text : ends[1]].tobytes().split(_TEXT_END)[:-1])],
        )

    def image_ids(self) -> list[str]:
        """The image ids of all records, without creating the records."""
        names, starts = self.arrays.names.tobytes(), self.arrays.starts[:, 3].tolist()
        return [_decoded(names[start:end]) for start, end in pairwise(starts)]

    def __reduce__(self) -> tuple:
        if self.file is None:
            return _rebuilt, (self.folder, self.arrays)
        return map_records, (self.folder, *self.file)


def _rebuilt(folder: str, arrays: RecordArrays) -> Records:
    return Records(folder=Path(folder), arrays=arrays, file=None)


def map_records(folder: str, path: Path, key: str) -> Records:
    """Records whose arrays are mapped from the file.

    Raises:
        InputError: the file cannot be read, or has another key.
    """
    _, mapped = map_arrays(path, key)
    arrays = RecordArrays(**{name: mapped[name] for name in RecordArrays._fields})
    return Records(folder=Path(folder), arrays=arrays, file=(path, key))


def pack(records: Sequence[Record]) -> RecordArrays:
    """The records as arrays. `image_path` is not stored: it is the folder and `image_id`."""
    polygons = [polygon for record in records for polygon in record.polygons]
    ignored = np.concatenate([np.zeros(0, bool), *(record.ignored for record in records)])
    ragged = RaggedPolygons.pack(polygons)
    outlines = 2 * ragged.counts.astype(np.int64) + ignored
    texts = [b"".join(_encoded(t) + _TEXT_END for t in record.texts) for record in records]
    names = [_encoded(record.image_id) for record in records]
    sizes = [
        (sum(map(len, record.polygons)), len(record.polygons), len(text), len(name))
        for record, text, name in zip(records, texts, names, strict=True)
    ]
    return RecordArrays(
        points=ragged.points,
        outlines=outlines.astype(np.min_scalar_type(outlines.max(initial=0))),
        texts=np.frombuffer(b"".join(texts), np.uint8),
        names=np.frombuffer(b"".join(names), np.uint8),
        starts=np.cumsum([(0, 0, 0, 0), *sizes], axis=0, dtype=np.int64),
    )


def join(parts: list[RecordArrays], order: Sequence[int]) -> RecordArrays:
    """The images of all parts, counted through all parts, in the given order."""
    sizes = np.concatenate([np.diff(part.starts, axis=0) for part in parts])  # (n, 4)
    starts = np.vstack([np.zeros((1, 4), np.int64), np.cumsum(sizes, axis=0)])
    joined: list[np.ndarray] = []
    for column, values in enumerate(zip(*(part[:-1] for part in parts), strict=True)):
        whole = np.concatenate(values)
        spans = list(pairwise(starts[:, column].tolist()))
        joined.append(np.concatenate([whole[:0], *(whole[slice(*spans[i])] for i in order)]))
    moved = np.cumsum(sizes[np.array(order, np.int64)], axis=0)
    return RecordArrays._make([*joined, np.vstack([starts[:1], moved])])


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")
