"""Entries as they were read to records that are fit for use, and what is wrong with the others."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import numpy as np
import shapely
from tqdm import tqdm

from dbnet.data.annotations.files import LINKS_HINT, Entry, Source, Word, inside
from dbnet.data.images import image_size
from dbnet.data.storage.records import RecordArrays, join, pack
from dbnet.ragged import RaggedPolygons
from dbnet.structures import Record

# Polygons whose convex hull is smaller, in square pixels, count as zero area.
_MIN_AREA = 1e-3

# A transcription, and the marks of all formats, that stand for a text which cannot be read.
_ILLEGIBLE = "###"
_IGNORE_MARKS = frozenset(("difficult", "ignore", "illegible", "iscrowd"))

_CHUNK = 250  # images that are checked at once
_THREADS = 16  # that read their headers; on a network each waits for its answer


class Checked(NamedTuple):
    """What is fit for use, sorted by name, and what is not."""

    arrays: RecordArrays
    text_heights: np.ndarray  # as in Report
    textless: int  # as in Report
    annotated: set[str]  # names of all entries
    missing: list[str]  # names of images that are not there
    dropped: list[tuple[str, str]]  # place, reason
    problems: list[str]


def check_entries(source: Source, entries: Iterator[Entry]) -> Checked:
    """Checked and packed in chunks, so that a large split is never in memory as objects."""
    parts, heights, names, textless = [], [np.zeros(0, np.float32)], [], 0
    used: set[str] = set()
    annotated: set[str] = set()
    dropped: list[tuple[str, str, str]] = []  # name, place, reason
    missing: list[str] = []
    problems: list[str] = []
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(desc=f"reading {source.images.name}", unit="image", leave=False) as bar,
    ):
        while chunk := list(islice(entries, _CHUNK)):
            fit = []
            sizes = pool.map(partial(_upright_size, source), chunk)
            for entry, size in zip(chunk, sizes, strict=True):
                name = str(PurePosixPath(entry.name))
                annotated.add(name)
                if name in used:
                    problems.append(f"{entry.place}: {entry.name} is annotated twice")
                elif size is None:
                    missing.append(entry.name)
                elif isinstance(size, str):
                    problems.append(size)
                else:
                    used.add(name)
                    fit.append(entry._replace(name=name, size=size))
            records, lost = _check_words(source.images, fit)
            dropped += lost
            names += [entry.name for entry in fit]
            textless += sum(bool(record.ignored.all()) for record in records)
            heights.append(_text_heights(records, fit))
            parts.append(pack(records))
            bar.update(len(chunk))
    dropped.sort(key=lambda text: text[0])
    return Checked(
        arrays=join(parts or [pack([])], sorted(range(len(names)), key=names.__getitem__)),
        text_heights=np.concatenate(heights),
        textless=textless,
        annotated=annotated,
        missing=missing,
        dropped=[(place, reason) for _, place, reason in dropped],
        problems=problems,
    )


def _upright_size(source: Source, entry: Entry) -> tuple[int, int] | str | None:
    """Height and width from the image's header; the problem with it; None where it is missing."""
    name = PurePosixPath(entry.name)
    path = source.images / name
    try:
        if name.is_absolute() or ".." in name.parts:
            return f"{entry.place}: {entry.name} must be a plain path below {source.images}"
        if path.is_file() and not inside(path, source.bounds):
            return (
                f"{entry.place}: {entry.name} must be a plain path below {source.images}, without "
                f"links out of {source.root}; {LINKS_HINT}"
            )
        if not path.is_file():
            return None
        entry.name.encode()  # results go by names, into UTF-8 files
        size = image_size(path)
    except UnicodeEncodeError:
        return f"{entry.place}: {entry.name} is not UTF-8; rename the file"
    except OSError:  # a name that the file system cannot hold
        return None
    except ValueError as error:
        return str(error)
    if entry.size not in (None, size):
        return (
            f"{entry.place}: annotated at {entry.size[1]} x {entry.size[0]} pixels, but "
            f"the upright image has {size[1]} x {size[0]}"
        )
    return size


def _check_words(
    folder: Path, entries: list[Entry]
) -> tuple[list[Record], list[tuple[str, str, str]]]:
    """A record of each entry; and the texts that are dropped: name, place, reason."""
    words = [word for entry in entries for word in entry.words]
    owners = [entry for entry in entries for _ in entry.words]
    polygons, reasons = check_polygons(
        [
            word.points * entry.size[::-1] if entry.relative else word.points
            for word, entry in zip(words, owners, strict=True)
        ],
        [entry.size for entry in owners],
    )
    records, start = [], 0
    for entry in entries:
        kept = [i for i in range(start, start + len(entry.words)) if not reasons[i]]
        start += len(entry.words)
        records.append(
            Record(
                image_path=str(folder / entry.name),
                image_id=entry.name,
                polygons=[polygons[i] for i in kept],
                ignored=np.array([is_ignored(words[i]) for i in kept], bool),
                texts=[words[i].text for i in kept],
            )
        )
    lost = zip(owners, words, reasons, strict=True)
    return records, [(entry.name, word.place, reason) for entry, word, reason in lost if reason]


def is_ignored(word: Word) -> bool:
    """Whether a text is neither learned nor counted: by its transcription or one of its marks."""
    return word.text == _ILLEGIBLE or not _IGNORE_MARKS.isdisjoint(word.marks)


def _text_heights(records: list[Record], entries: list[Entry]) -> np.ndarray:
    heights = [
        min(cv2.minAreaRect(polygon)[1]) / max(entry.size)
        for record, entry in zip(records, entries, strict=True)
        for polygon, ignored in zip(record.polygons, record.ignored, strict=True)
        if not ignored
    ]
    return np.array(heights, np.float32)


def check_polygons(
    points: list[np.ndarray], sizes: list[tuple[int, int]]
) -> tuple[list[np.ndarray], np.ndarray]:
    """All outlines of a split at once.

    Args:
        points: n arrays float64 (P, 2).
        sizes: n heights and widths, of each one's image.

    Returns:
        n polygons float32 (P, 2) without repeated points, and n reasons to drop them, "" if none.
    """
    count = len(points)
    reasons = np.full(count, "", object)
    if not count:
        return [], reasons

    def drop(bad: np.ndarray, reason: str) -> None:
        reasons[bad & (reasons == "")] = reason

    with np.errstate(over="ignore"):
        ragged = RaggedPolygons.pack(points)
        ragged = ragged.with_points(ragged.points.astype(np.float32))
    flat, owner = ragged.points, ragged.owner
    drop(np.bincount(owner[~np.isfinite(flat).all(axis=1)], minlength=count) > 0, "not finite")
    drop(ragged.counts < 3, "fewer than 3 points")

    differs = (flat != flat[ragged.next]).any(axis=1)
    flat, owner = flat[differs], owner[differs]
    lengths = np.bincount(owner, minlength=count)
    drop(lengths < 3, "zero area")
    polygons = RaggedPolygons(flat, np.append(0, np.cumsum(lengths))).split()

    good = np.flatnonzero(reasons == "")
    rows = np.isin(owner, good)
    rings = shapely.linearrings(flat[rows], indices=np.searchsorted(good, owner[rows]))
    outlines = np.full(count, None, object)
    outlines[good] = shapely.polygons(rings)
    thin = shapely.area(outlines) < _MIN_AREA  # or a figure of eight, whose halves cancel
    thin[thin] = shapely.area(shapely.convex_hull(outlines[thin])) < _MIN_AREA
    drop(thin, "zero area")
    drop(~shapely.is_valid(outlines), "self-crossing")
    height, width = np.array(sizes, np.float64).T  # (n,) each
    frame = shapely.box(-0.5, -0.5, width - 0.5, height - 0.5)  # pixels reach half a unit around
    drop(~shapely.intersects(outlines, frame), "outside the image")
    return polygons, reasons
