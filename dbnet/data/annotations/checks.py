"""Checks annotation entries and packs the valid ones as records."""

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import compress, islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from dbnet.data.annotations.entries import Entry, Source, Word
from dbnet.data.annotations.files import LINKS_HINT, inside, listed
from dbnet.data.annotations.marks import spelling
from dbnet.data.annotations.names import ImageNames
from dbnet.data.annotations.outlines import OUTSIDE, OutlineStatus, repair_polygons
from dbnet.data.annotations.sides import Side
from dbnet.data.images import Header, read_header
from dbnet.data.storage.records import RecordArrays, join, pack
from dbnet.errors import InputError
from dbnet.structures import Record

# A transcription that stands for a text which cannot be read, in every format; also its mark.
ILLEGIBLE = "###"

_CHUNK = 250  # images that are checked at once
_THREADS = 16  # that read their headers; on a network each waits for its answer


class Checked(NamedTuple):
    """What is fit for use, sorted by name, and what is not."""

    arrays: RecordArrays
    text_heights: np.ndarray  # as in Report
    image_heights: np.ndarray  # as in Report
    textless: int  # as in Report
    annotated: set[str]  # names of the images of all entries
    missing: list[str]  # names of images that are not there
    marks: Counter[str]  # of the texts that are not dropped
    statuses: list[tuple[str, OutlineStatus]]  # places and statuses of changed texts
    problems: list[str]
    warnings: list[str]


class _Image(NamedTuple):
    """The file that an entry means."""

    name: str  # below the folder of images
    header: Header


class _Usable(NamedTuple):
    """An annotated image that is there."""

    name: str  # below the folder of images
    size: tuple[int, int]  # height, width, upright
    words: list[Word]
    relative: bool  # as in Entry


class _ImageProblems:
    """What is wrong with the images of a split, entry by entry."""

    def __init__(self) -> None:
        self.annotated: set[str] = set()  # names of images, or as they were written
        self.used: set[str] = set()
        self.missing: list[str] = []
        self.problems: list[str] = []
        self.renamed: list[str] = []
        self.paged: list[str] = []
        self.turned: set[str] = set()
        self._texts, self._largest = 0, 0.0  # coordinate, of those in pixels

    def add(self, entry: Entry, image: _Image | InputError | str) -> _Usable | None:
        """The entry with its image, if it can be used. `image`: see `_image_of`."""
        name = image.name if isinstance(image, _Image) else str(PurePosixPath(entry.name))
        self.annotated.add(name)
        if isinstance(image, InputError):
            self.problems.append(str(image))
        elif isinstance(image, str):
            self.missing.append(image)
        elif name in self.used:
            self.problems.append(f"{entry.place}: {entry.name} is annotated twice")
        elif not _has_size(entry, image.header.size):
            self.problems.append(_other_size(entry, image.header))
        else:
            self.used.add(name)
            if name != str(PurePosixPath(entry.name)):
                self.renamed.append(f"{entry.name} is {name}")
            if image.header.pages > 1:
                self.paged.append(name)
            if image.header.orientation >= 5:
                self.turned.add(name)
            self._measure(entry)
            return _Usable(name, image.header.size, entry.words, entry.relative)
        return None

    def _measure(self, entry: Entry) -> None:
        for points in [] if entry.relative else [word.points for word in entry.words]:
            finite = np.abs(points[np.isfinite(points)])
            self._texts += len(finite) > 0
            self._largest = max(self._largest, float(finite.max(initial=0)))

    def finish(self, source: Source, outside: Collection[str]) -> tuple[list[str], list[str]]:
        """Problems and warnings. `outside`: names of images with texts outside."""
        problems, warnings = [*self.problems], []
        if self._texts and self._largest <= _LARGEST_FRACTION:
            problems.append(
                f"{source.annotations}: all coordinates lie in 0..1 (texts: {self._texts}) and "
                "must be pixels: multiply x by the image's width and y by its height"
            )
        if self.renamed:
            warnings.append(
                f"{source.images}: images annotated under another name ({len(self.renamed)}): "
                f"{listed(self.renamed)}"
            )
        if self.paged:
            warnings.append(
                f"{source.images}: TIFF files with several pages, of which only the first is used "
                f"({len(self.paged)}): {listed(self.paged)}"
            )
        if turned := sorted(self.turned.intersection(outside)):
            warnings.append(
                f"{source.images}: annotations must fit the upright image; images with texts "
                f"outside and an EXIF orientation that turns them ({len(turned)}): {listed(turned)}"
            )
        return problems, warnings


_LARGEST_FRACTION = 1.01  # boxes often reach a little over the border


def check_entries(
    source: Source,
    entries: Iterator[Entry],
    *,
    ignore_marks: Collection[str],
    side: Side | None = None,
) -> Checked:
    """Checked and packed in chunks, so that a large split is never in memory as objects.

    Args:
        ignore_marks: marks and labels that ignore a text, lower case.
        side: the images that are meant; None: all. Those that cannot be used count for train.
    """
    parts: list[RecordArrays] = []
    names: list[str] = []
    heights: list[np.ndarray] = []  # of an image's legible texts
    textless = 0
    statuses: list[tuple[str, str, OutlineStatus]] = []  # name, place, status
    marks: Counter[str] = Counter()
    known = {spelling(mark): mark for mark in ignore_marks}
    image_problems = _ImageProblems()
    image_names = ImageNames(source.images, links=not source.bounds)
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(desc=f"reading {source.images.name}", unit="image", leave=False, disable=None) as bar,
    ):
        while chunk := list(islice(entries, _CHUNK)):
            images = [*pool.map(partial(_image_of, source, image_names), chunk)]
            is_meant = [*pool.map(partial(_is_meant, source.images, side), images)]
            image_problems.annotated.update(i.name for i in images if isinstance(i, _Image))
            usable = map(image_problems.add, compress(chunk, is_meant), compress(images, is_meant))
            fit = [entry for entry in usable if entry is not None]
            records, changed = _check_words(source.images, fit, known, marks)
            statuses += changed
            names += [entry.name for entry in fit]
            textless += sum(bool(record.ignored.all()) for record in records)
            heights += map(_text_heights, records, fit)
            parts.append(pack(records))
            bar.update(len(chunk))
    statuses.sort(key=lambda text: text[0])
    problems, warnings = image_problems.finish(
        source, {name for name, _, status in statuses if status.reason == OUTSIDE}
    )
    return Checked(
        arrays=join(parts or [pack([])], sorted(range(len(names)), key=names.__getitem__)),
        text_heights=np.concatenate([np.zeros(0, np.float32), *heights]),
        image_heights=np.array([np.median(own) for own in heights if len(own)], np.float32),
        textless=textless,
        annotated=image_problems.annotated,
        missing=image_problems.missing,
        marks=marks,
        statuses=[(place, status) for _, place, status in statuses],
        problems=problems,
        warnings=warnings,
    )


def _image_of(source: Source, names: ImageNames, entry: Entry) -> _Image | InputError | str:
    """The image's name and header; what is wrong with it; or, where it is missing, a line."""
    try:
        path = Path(os.path.normpath(source.images / entry.name))
        name, is_below = _below(source.images, path, entry.name)
        if not (is_below and path.is_file()):
            climbs = ".." in PurePosixPath(name).parts  # ../a.jpg is not a.jpg if there are both
            name = "" if climbs and path.is_file() else names.find(entry.name) or ""
        if not name and not is_below:
            raise InputError(
                f"{entry.place}: {entry.name} must be a plain path below {source.images}"
            )
        if not name:
            return entry.name + names.hint(entry.name)
        name.encode()  # results go by names, into UTF-8 files
        path = source.images / name
        if not inside(path, source.bounds):
            raise InputError(
                f"{entry.place}: {entry.name} must be a plain path below {source.images}, without "
                f"links out of {source.root}; {LINKS_HINT}"
            )
        return _Image(name, read_header(path))
    except UnicodeEncodeError:
        return InputError(f"{entry.place}: {entry.name} is not UTF-8; rename the file")
    except OSError:  # a name that the file system cannot hold
        return entry.name
    except InputError as error:
        return error
    except ValueError as error:  # a name with a zero byte
        return InputError(f"{entry.place}: {entry.name!r}: {error}")


def _below(folder: Path, path: Path, name: str) -> tuple[str, bool]:
    """The name, without `.` and `..` where its path is below the folder, and whether it is."""
    base = os.path.normpath(folder)
    if path.is_relative_to(base) and not PurePosixPath(name).is_absolute():
        return path.relative_to(base).as_posix(), True
    return name, False


def _is_meant(folder: Path, side: Side | None, image: _Image | InputError | str) -> bool:
    """Whether the image is on the side that is meant; those that cannot be used are on train's."""
    if side is None:
        return True
    return side.holds(folder / image.name) if isinstance(image, _Image) else not side.is_val


def _has_size(entry: Entry, size: tuple[int, int]) -> bool:
    """Whether the annotation states no size, or this height and width."""
    swapped = entry.either_order and entry.size == size[::-1]
    return entry.size is None or entry.size == size or swapped


def _other_size(entry: Entry, header: Header) -> str:
    assert entry.size is not None
    height, width = header.size
    line = (
        f"{entry.place}: annotated at {entry.size[1]:g} x {entry.size[0]:g} pixels, but "
        f"the upright image has {width} x {height}"
    )
    if entry.size == (width, height) and header.orientation >= 5:
        line += f" (its EXIF orientation {header.orientation} turns it): annotate it upright"
    return line


def _check_words(
    folder: Path, entries: list[_Usable], known: Mapping[str, str], marks: Counter[str]
) -> tuple[list[Record], list[tuple[str, str, OutlineStatus]]]:
    """A record of each entry; name, place and status of each text that is not used as it was.

    Adds the marks of texts that are not dropped to `marks`.
    """
    words = [word for entry in entries for word in entry.words]
    owners = [entry for entry in entries for _ in entry.words]
    polygons, statuses = repair_polygons(
        [
            word.points * np.array(entry.size[::-1]) if entry.relative else word.points
            for word, entry in zip(words, owners, strict=True)
        ],
        [entry.size for entry in owners],
    )
    statuses = [*map(_with_reader, words, statuses)]
    records, start = [], 0
    for entry in entries:
        own = range(start, start + len(entry.words))
        not_dropped = [i for i in own if statuses[i].verdict != "dropped"]
        start += len(entry.words)
        own_marks = [marks_of(words[i], known) for i in not_dropped]
        marks.update(mark for marks in own_marks for mark in marks)
        records.append(
            Record(
                image_path=str(folder / entry.name),
                image_id=entry.name,
                polygons=[polygons[i] for i in not_dropped],
                ignored=np.array(
                    [
                        statuses[i].verdict == "ignored" or not found.isdisjoint(known.values())
                        for i, found in zip(not_dropped, own_marks, strict=True)
                    ],
                    bool,
                ),
                texts=[words[i].text for i in not_dropped],
            )
        )
    changed = [
        (entry.name, word.place, status)
        for entry, word, status in zip(owners, words, statuses, strict=True)
        if status.reason
    ]
    return records, changed


def _with_reader(word: Word, status: OutlineStatus) -> OutlineStatus:
    """What the reader did to the outline counts before what the check did."""
    if status.verdict == "dropped":
        return status
    if word.damaged:
        return OutlineStatus("ignored", word.damaged)
    if word.repaired and status.verdict != "ignored":
        return OutlineStatus("repaired", word.repaired)
    return status


def marks_of(word: Word, known: Mapping[str, str]) -> set[str]:
    """Marks of a text, lower case; its labels where they are known, and `###`.

    `###` is a transcription where nothing but quotation marks and blanks stands around it.

    Args:
        known: of marks that ignore a text, spelling to mark.
    """
    marks = {known.get(spelling(mark), mark.strip().lower()) for mark in word.marks}
    marks |= {known[key] for key in map(spelling, word.labels) if key in known}
    if ILLEGIBLE in map(_bare, (*word.labels, word.text)):
        marks.add(ILLEGIBLE)
    return marks - {""}


def _bare(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip(_AROUND)


_AROUND = " \t\"'\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d"


def _text_heights(record: Record, entry: _Usable) -> np.ndarray:
    """float32, shorter sides of the legible texts over the image's longest side."""
    heights = [
        min(cv2.minAreaRect(polygon)[1]) / max(entry.size)
        for polygon, ignored in zip(record.polygons, record.ignored, strict=True)
        if not ignored
    ]
    return np.array(heights, np.float32)
