"""Annotated data sets: found, read and checked, so that training meets no surprise.

    images/{split}/        the images
    jsons/{split}.json     their annotations, or one of the other places in `formats`

A text is dropped, counted and noted where its polygon is none: not finite, fewer than 3 points,
zero area, self-crossing, or completely outside the image. Points equal to the one before are
removed. Whatever else is wrong is a problem, and problems refuse the data set.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dbnet.data.annotations.checks import check_entries
from dbnet.data.annotations.files import Findings, Source, list_files, listed, printable
from dbnet.data.annotations.find import USUAL_PLACES, Where, find_source
from dbnet.data.annotations.formats import FORMATS
from dbnet.data.image_files import IMAGE_SUFFIXES
from dbnet.data.storage.records import Records
from dbnet.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found in one split."""

    images: int  # that are used
    texts: int  # legible ones in them
    ignored: int  # illegible ones in them
    textless: int  # images without a legible one
    unannotated: int  # images that are not used for want of a readable annotation
    missing: int  # annotated images that are not there
    dropped: dict[str, int]  # reason -> number of texts
    text_heights: np.ndarray  # float32 (texts,), shorter side over the image's longest side
    problems: list[str]  # reasons to refuse the data set, one line each
    notes: list[str]  # what else is worth knowing, one line each


def load_records(
    root: Path,
    split: str,
    *,
    format: str,
    skip_missing: bool = False,
    where: Where = USUAL_PLACES,
) -> tuple[Records, Report]:
    """Read and check one split.

    Args:
        root: folder with images/{split}/ and annotations.
        format: a name in FORMATS, or "auto" for the one that is there.
        skip_missing: annotated images that are not there are counted and noted, no problem.
        where: places that are not the usual ones.

    Returns:
        Records sorted by image_id, the file's name below images/{split}/, and the report.

    Raises:
        ValueError: anything in `Report.problems`: the first one, and how many more there are.
    """
    records, report = scan(root, split, format=format, skip_missing=skip_missing, where=where)
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
) -> tuple[Records, Report]:
    """Like `load_records`, but leaves all problems to the caller, in the report."""
    root = Path(root)
    found = Findings([], [], [])
    source = Source(root, root / "images" / split, format, root, bounds=())  # while none is found
    try:
        source = find_source(root, split, format, where)
        checked = check_entries(source, FORMATS[source.format].read(source, found))
    except ValueError as error:
        found = Findings([], [str(error)], [])
        checked = check_entries(source, iter(()))
    folder = source.images
    dropped = found.dropped + checked.dropped
    problems = found.problems + checked.problems
    unused = [
        name
        for name in list_files(folder, IMAGE_SUFFIXES, links=not source.bounds)
        if name not in checked.annotated
    ]
    notes = found.notes + [f"{place}: text dropped: {reason}" for place, reason in dropped]
    if missing := checked.missing:
        line = f"{folder}: {len(missing)} annotated images missing: {listed(missing)}"
        if skip_missing:
            notes.insert(0, f"{line}; they are skipped")
        else:
            problems.append(f"{line}; add them, or leave them out with --data.skip-missing")
    if unused:
        notes.append(
            f"{folder}: {len(unused)} images without a readable annotation are not used: "
            f"{listed(unused)}"
        )
    records = Records(folder=folder, arrays=checked.arrays, file=None)
    texts = len(checked.text_heights)
    return records, Report(
        images=len(records),
        texts=texts,
        ignored=len(checked.arrays.outlines) - texts,
        textless=checked.textless,
        unannotated=len(unused),
        missing=len(checked.missing),
        dropped=dict(Counter(reason for _, reason in dropped)),
        text_heights=checked.text_heights,
        problems=[*map(printable, problems)],
        notes=[*map(printable, notes)],
    )


def summary_table(reports: dict[str, Report], *, image_size: int) -> str:
    """Plain text, one column per split; `image_size` is the longest side in training, in pixels."""
    chosen = reports.values()
    rows = {
        "images": [report.images for report in chosen],
        "images without legible text": [report.textless for report in chosen],
        "images without annotation, not used": [report.unannotated for report in chosen],
        "texts": [report.texts for report in chosen],
        "ignored texts": [
            f"{report.ignored} ({report.ignored / max(report.texts + report.ignored, 1):.1%})"
            for report in chosen
        ],
        "dropped texts": [sum(report.dropped.values()) for report in chosen],
    }
    if any(report.missing for report in chosen):
        rows["annotated images missing"] = [report.missing for report in chosen]
    for reason in sorted({reason for report in chosen for reason in report.dropped}):
        rows[f"  {reason}"] = [report.dropped.get(reason, 0) for report in chosen]
    rows[f"median text height at {image_size} px"] = [
        f"{np.median(report.text_heights) * image_size:.1f} px" if report.texts else "-"
        for report in chosen
    ]
    lines = [("", *reports), *((name, *map(str, cells)) for name, cells in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])])
        for cells in lines
    )
