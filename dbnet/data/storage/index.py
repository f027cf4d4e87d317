"""The index of a split: its records in one file, so that later starts take seconds.

    ROOT/.dbnet-index/SPLIT.bin, or, where ROOT cannot be written, CACHE_DIR/records/...-SPLIT.bin

An index is used only while the data is unchanged: its key is a digest of the name, length and times
of every image and annotation file. It may be deleted at any time.
"""

import hashlib
import logging
import os
import time
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from dbnet.data.annotations import scan as annotations
from dbnet.data.annotations.entries import Source
from dbnet.data.annotations.files import printable, walk
from dbnet.data.annotations.find import USUAL_PLACES, Where, find_source
from dbnet.data.annotations.report import Report
from dbnet.data.storage.array_file import is_whole, map_arrays, write_arrays
from dbnet.data.storage.facts import file_facts, library_versions
from dbnet.data.storage.records import Records, map_records
from dbnet.settings import EvalDataConfig

# Raise the version when the reading, the checks or the stored values change.
_VERSION = 11

# Of a report: lines, which begin with a path below the root, and arrays.
_LINES = ("warnings", "notes")
_ARRAYS = ("text_heights", "image_heights")

# Nanoseconds. Some file systems keep times to 2 s: a file may change twice within one of them.
_SETTLED = 2_000_000_000

logger = logging.getLogger(__name__)


def load_records(
    root: Path,
    split: str,
    *,
    format: str,
    skip_missing: bool,
    cache_dir: Path,
    where: Where = USUAL_PLACES,
    ignore_marks: Collection[str] = EvalDataConfig.ignore_marks,
) -> tuple[Records, Report]:
    """The result of `annotations.load_records`, read from an index where there is a valid one.

    Several processes may call it at once.

    Args:
        cache_dir: where the index goes if `root` cannot be written.

    If neither place can be written, or if the key would not show a change of an image, the split is
    read again at each start, and a warning is printed.
    """
    root = Path(root)
    started = time.time_ns()
    source = find_source(root, split, format, where)
    side = (where.side,) if where.side else ()
    settings = (skip_missing, *side, *sorted(ignore_marks))
    state = _state_of(source, settings)
    places = _places(root, split, cache_dir)
    for path in places:
        if (found := _read(path, source, state.key)) is not None:
            return found
    records, report = annotations.load_records(
        root,
        split,
        format=format,
        skip_missing=skip_missing,
        where=where,
        ignore_marks=ignore_marks,
    )
    if reason := _unsafe(source, state, records, started):
        logger.warning("No index of %s is stored: %s", split, reason)
        return records, report
    if started - state.changed < _SETTLED or _state_of(source, settings).key != state.key:
        return records, report  # another program is still writing the data
    reasons = []
    for path in places:
        try:
            _write(path, source, state.key, records, report)
        except OSError as error:
            reasons.append(f"{path}: {error.strerror}")
        else:
            return _read(path, source, state.key) or (records, report)
    logger.warning("No index of %s can be stored (%s)", split, "; ".join(reasons))
    return records, report


class _State(NamedTuple):
    key: str  # hexadecimal digest of everything that reading the split depends on
    changed: int  # when a file last changed, in ns since 1970, by the kernel's clock
    latest: str  # that file; "" where there is none


def _state_of(source: Source, chosen: tuple) -> _State:
    """The state of the files of a split, without opening them; a few microseconds per file.

    Files are listed in any order, so the digests of a folder are summed. Sorting a million names
    would fragment the heap, and every forked worker would get copies of the fragments.
    """
    settings = (source.format, *_named(source), not source.bounds, *chosen)
    changed, latest, places = 0, "", []
    for place in dict.fromkeys((source.images, source.annotations)):
        files = walk(place, links=not source.bounds) if place.is_dir() else [(place.name, place)]
        count = total = 0
        for name, file in files:
            facts = file_facts(file)
            # Not mtime_ns: programs can set it, often to a time in the future.
            if facts.ctime_ns > changed:
                changed, latest = facts.ctime_ns, os.fspath(file)
            # A link may be changed to another file of the same size and age.
            target = () if source.bounds else (file.stat().st_ino,)
            count, total = count + 1, total + int(_digest((name, *facts, *target)), 16)
        places.append((count, total))
    return _State(_digest((_VERSION, library_versions(), *settings, *places)), changed, latest)


def _unsafe(source: Source, state: _State, records: Records, started: int) -> str:
    """Why a later change of the data might not change the index's key; "" if it would.

    Args:
        started: time before the files were listed, in nanoseconds since 1970.
    """
    seen = {name for name, _ in walk(source.images, links=not source.bounds)}
    if unseen := len(set(records.image_ids()) - seen):
        return f"images hidden or below linked folders: {unseen}"
    if state.changed >= started:
        changed = datetime.fromtimestamp(state.changed / 1e9).isoformat(" ", "seconds")
        return (
            f"{state.latest} was changed in the future ({changed}), so that a later change "
            "might not show; correct the clock, then `touch` the file"
        )
    return ""


def _digest(facts: tuple) -> str:
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()


def _places(root: Path, split: str, cache_dir: Path) -> list[Path]:
    name = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=8).hexdigest()
    return [root / ".dbnet-index" / f"{split}.bin", cache_dir / "records" / f"{name}-{split}.bin"]


def _named(source: Source) -> tuple[str, ...]:
    """The folders as the index stores them: relative if they lie below the root, which may move."""
    places = (source.images, source.annotations)
    if all(place.is_relative_to(source.root) for place in places):
        return tuple(str(place.relative_to(source.root)) for place in places)
    return tuple(str(place) for place in (source.root, *places))


def _write(path: Path, source: Source, key: str, records: Records, report: Report) -> None:
    """May raise OSError."""
    info = dict(vars(report))
    info |= {name: _moved(info[name], _prefix(source), "") for name in _LINES}
    arrays = records.arrays._asdict() | {name: info.pop(name) for name in _ARRAYS}
    write_arrays(path, key, info, arrays)


def _read(path: Path, source: Source, key: str) -> tuple[Records, Report] | None:
    if not is_whole(path):
        return None
    try:
        info, arrays = map_arrays(path, key)
        records = map_records(str(source.images), path.absolute(), key)
    except ValueError:  # of another state of the data
        return None
    info |= {name: _moved(info[name], "", _prefix(source)) for name in _LINES}
    info |= {name: arrays[name] for name in _ARRAYS}
    return records, Report(**info)


def _prefix(source: Source) -> str:
    """The beginning of each note: the root as given; "" if not all folders lie below it."""
    moves = len(_named(source)) == 2
    return printable(str(source.root / "x")).removesuffix("x") if moves else ""


def _moved(notes: list[str], before: str, after: str) -> list[str]:
    return [after + note.removeprefix(before) for note in notes]
