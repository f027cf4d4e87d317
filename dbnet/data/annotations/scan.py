"""Finds, reads and checks annotated data sets.

    images/{split}/        the images
    jsons/{split}.json     their annotations, or one of the other places in `formats`

A text whose outline is no simple polygon is repaired, ignored or dropped, counted and noted (see
`outlines`). Points equal to the one before are removed. Whatever else is wrong is a problem, and
problems refuse the data set.
"""

from collections import Counter
from collections.abc import Collection
from functools import partial
from itertools import starmap
from pathlib import Path

from dbnet.data.annotations.checks import Checked, check_entries
from dbnet.data.annotations.entries import Findings, Source
from dbnet.data.annotations.files import LINKED_FOLDER, list_files, listed, not_walked, printable
from dbnet.data.annotations.find import USUAL_PLACES, Where, find_source
from dbnet.data.annotations.formats import FORMATS
from dbnet.data.annotations.outlines import OutlineStatus
from dbnet.data.annotations.report import Report
from dbnet.data.annotations.sides import Side
from dbnet.data.image_files import IMAGE_SUFFIXES
from dbnet.data.storage.records import Records
from dbnet.errors import InputError
from dbnet.settings import EvalDataConfig


def load_records(
    root: Path,
    split: str,
    *,
    format: str,
    skip_missing: bool = False,
    where: Where = USUAL_PLACES,
    ignore_marks: Collection[str] = EvalDataConfig.ignore_marks,
) -> tuple[Records, Report]:
    """Read and check one split.

    Args:
        root: folder with images/{split}/ and annotations.
        format: a name in FORMATS, or "auto" for the one that is there.
        skip_missing: annotated images that are not there are counted and noted, no problem.
        where: places that are not the usual ones.
        ignore_marks: marks and labels that ignore a text, in any spelling.

    Returns:
        Records sorted by image_id, the file's name below images/{split}/, and the report.

    Raises:
        InputError: anything in `Report.problems`: the first one, and how many more there are.
    """
    records, report = scan(
        root,
        split,
        format=format,
        skip_missing=skip_missing,
        where=where,
        ignore_marks=ignore_marks,
    )
    if report.problems:
        more = len(report.problems) - 1
        raise InputError(report.problems[0] + (f" (problems besides: {more})" if more else ""))
    return records, report


def scan(
    root: Path,
    split: str,
    *,
    format: str,
    skip_missing: bool = False,
    where: Where = USUAL_PLACES,
    ignore_marks: Collection[str] = EvalDataConfig.ignore_marks,
) -> tuple[Records, Report]:
    """Like `load_records`, but leaves all problems to the caller, in the report."""
    ignoring = {mark.strip().lower() for mark in ignore_marks}
    source, found, checked = _read(Path(root), split, format, where, ignoring)
    is_val_side = where.side is not None and where.side.is_val
    problems = found.problems + checked.problems
    warnings = found.warnings + checked.warnings
    if missing := checked.missing:
        line = f"{source.images}: annotated images missing ({len(missing)}): {listed(missing)}"
        if skip_missing:
            warnings.append(f"{line}; skipped")
        else:
            problems.append(f"{line}; add what is missing, or skip it with --data.skip-missing")
    records = Records(folder=source.images, arrays=checked.arrays, file=None)
    if where.side and checked.annotated and not (len(records) or problems):
        problems.append(_empty_side(source, where.side, len(checked.annotated)))
    warnings += [] if is_val_side else _unread_folders(source)
    unused = [] if is_val_side else _unused_images(source, checked.annotated)
    if unused:
        warnings.append(_unused_line(source, unused))
    texts = len(checked.text_heights)
    dropped = [(place, OutlineStatus("dropped", why)) for place, why in found.dropped]
    statuses = dropped + checked.statuses
    return records, Report(
        format=source.format,
        images=len(records),
        texts=texts,
        ignored=len(checked.arrays.outlines) - texts,
        textless=checked.textless,
        unannotated=len(unused),
        missing=len(checked.missing),
        marks_ignored={m: n for m, n in checked.marks.items() if m in ignoring},
        marks_learned={m: n for m, n in checked.marks.items() if m not in ignoring},
        repaired=_reasons(statuses, "repaired"),
        damaged=_reasons(statuses, "ignored"),
        dropped=_reasons(statuses, "dropped"),
        text_heights=checked.text_heights,
        image_heights=checked.image_heights,
        problems=[*map(printable, problems)],
        warnings=[*map(printable, warnings)],
        notes=[*map(printable, [*found.notes, *starmap(_status_line, statuses)])],
    )


def _unread_folders(source: Source) -> list[str]:
    """A line for the images and one for the annotations, where they hold folders not walked."""
    lines = []
    for folder in dict.fromkeys((source.images, source.annotations)):
        links = not source.bounds
        if folder.is_dir() and (names := not_walked(folder, links=links)):
            is_linked = any(LINKED_FOLDER in name for name in names)
            hint = "; --data.follow-links reads linked folders" if is_linked else ""
            lines.append(f"{folder}: names that are not read ({len(names)}): {listed(names)}{hint}")
    return lines


def _unused_images(source: Source, annotated: Collection[str]) -> list[str]:
    names = list_files(source.images, IMAGE_SUFFIXES, links=not source.bounds)
    return [name for name in names if name not in annotated]


def _unused_line(source: Source, unused: list[str]) -> str:
    return (
        f"{source.images}: images without a readable annotation, not used ({len(unused)}): "
        f"{listed(unused)}"
    )


def _empty_side(source: Source, side: Side, images: int) -> str:
    return (
        f"{source.images}: --data.val-fraction {side.fraction:g} leaves no image to "
        f"{'val' if side.is_val else 'train'} (images: {images}); give another one, or another "
        "--data.val-seed"
    )


def _read(
    root: Path, split: str, format: str, where: Where, ignoring: Collection[str]
) -> tuple[Source, Findings, Checked]:
    """Find, read and check the annotations. An error that ends the reading is the only problem."""
    found = Findings([], [], [], [])
    source = Source(root, root / "images" / split, "", root, bounds=())  # while none is found
    check = partial(check_entries, ignore_marks=ignoring, side=where.side)
    try:
        source = find_source(root, split, format, where)
        checked = check(source, FORMATS[source.format].read(source, found))
    except ValueError as error:
        return source, Findings([], [str(error)], [], []), check(source, iter(()))
    if where.side is not None and where.side.is_val:  # the folder's notes count for train
        found = Findings([], found.problems, [], [])
    return source, found, checked


def _reasons(statuses: list[tuple[str, OutlineStatus]], verdict: str) -> dict[str, int]:
    return dict(Counter(status.reason for _, status in statuses if status.verdict == verdict))


def _status_line(place: str, status: OutlineStatus) -> str:
    return f"{place}: text {status.verdict}: {status.reason}"
