"""Summary of a split, and reasons to refuse it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dbnet.data.annotations.files import number_of
from dbnet.data.targets import MIN_SIDE

# Warn where more than a tenth of the texts are too small to be learned. Refuse where most of the
# images have mostly such texts.
_MANY, _MOST = 0.1, 0.5

# A text line is thin. Shorter side over the image's longest side of what is rather a whole receipt.
_THICK = 0.25

_LARGEST_SIZE = 8192  # --data.image-size that a message proposes

_LISTED_MARKS = 20


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found in one split."""

    format: str  # of the annotations, "" where none were found
    images: int  # that are used
    texts: int  # legible ones in them
    ignored: int  # regions in them that are neither learned nor counted
    textless: int  # images without a legible text
    unannotated: int  # images that are not used for want of a readable annotation
    missing: int  # annotated images that are not there
    marks_ignored: dict[str, int]  # mark that ignores its text -> number of texts
    marks_learned: dict[str, int]  # any other mark -> number of texts
    repaired: dict[str, int]  # kind of repair -> number of texts
    damaged: dict[str, int]  # reason -> number of texts of which only the region is known: ignored
    dropped: dict[str, int]  # reason -> number of texts
    text_heights: np.ndarray  # float32 (texts,), shorter side over the image's longest side
    image_heights: np.ndarray  # float32 (images with legible text,), median of those of its texts
    problems: list[str]  # reasons to refuse the data set, one line each
    warnings: list[str]  # what every start should say, one line each
    notes: list[str]  # what else is worth knowing, one line each


def summary_table(reports: dict[str, Report], *, image_size: int) -> str:
    """Plain text, a line per split; under it, what else was counted, a column per split.

    `image_size` is the longest side in training, in pixels.
    """
    lines = [_split_line(split, report, image_size) for split, report in reports.items()]
    chosen = list(reports.values())
    counted = {
        "images without legible text": [report.textless for report in chosen],
        "images without annotation, not used": [report.unannotated for report in chosen],
        "annotated images missing": [report.missing for report in chosen],
        **_counted("marked {}, learned", [report.marks_learned for report in chosen]),
        **_counted("marked {}, ignored", [report.marks_ignored for report in chosen]),
        **_counted("damaged, ignored: {}", [report.damaged for report in chosen]),
        **_counted("repaired: {}", [report.repaired for report in chosen]),
        **_counted("dropped: {}", [report.dropped for report in chosen]),
    }
    others = [(name, *map(str, counts)) for name, counts in counted.items() if any(counts)]
    if others:
        lines += _aligned([("also counted", *reports), *others])
    return "\n".join(lines)


def _split_line(split: str, report: Report, image_size: int) -> str:
    """Counts of zero are left out, but for images and texts."""
    parts = [f"{split}: {report.format or 'no annotations'}", number_of(report.images, "image")]
    parts.append(number_of(report.texts, "text"))
    if report.ignored:
        share = report.ignored / (report.texts + report.ignored)
        parts.append(f"{report.ignored} ignored ({share:.1%})")
    for kind, counts in (("repaired", report.repaired), ("dropped", report.dropped)):
        if counts:
            parts.append(f"{sum(counts.values())} {kind}")
    if report.texts:
        height = np.median(report.text_heights) * image_size
        parts.append(f"median height {height:.1f} px at {image_size}")
    return ", ".join(parts)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of one width, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])])
        for cells in rows
    ]


def _counted(title: str, counts: list[dict[str, int]]) -> dict[str, list[int]]:
    """A row for each name in any column, the most frequent names where there are many."""
    totals: dict[str, int] = {}
    for column in counts:
        for name, count in column.items():
            totals[name] = totals.get(name, 0) + count
    names = sorted(totals, key=lambda name: (-totals[name], name))
    rows = {
        title.format(name): [column.get(name, 0) for column in counts]
        for name in names[:_LISTED_MARKS]
    }
    if rest := names[_LISTED_MARKS:]:
        rows[title.format(f"{len(rest)} other ways")] = [
            sum(column.get(name, 0) for name in rest) for column in counts
        ]
    return rows


def unlearnable(split: str, report: Report, *, image_size: int) -> tuple[str, bool] | None:
    """What of a split cannot be learned at this size, and whether that is a reason to refuse it.

    None where nothing speaks against it.
    """
    if not report.texts:
        return None
    typical = float(np.median(report.text_heights))
    small = report.text_heights * image_size < MIN_SIDE
    if small.mean() > _MANY:
        is_most = bool((report.image_heights * image_size < MIN_SIDE).mean() > _MOST)
        line = (
            f"{split}: texts with a shorter side below {MIN_SIDE:g} pixels at --data.image-size "
            f"{image_size}, not learned: {small.sum()} of {report.texts}"
        )
        needed = 32 * int(np.ceil(MIN_SIDE / max(typical, 1e-9) / 32))
        if image_size < needed <= _LARGEST_SIZE:
            line += f"; half of all texts would be learned at --data.image-size {needed}"
        return line, is_most
    if typical > _THICK and report.texts <= 2 * report.images:
        return (
            f"{split}: the median text is {typical:.0%} of its image high, with "
            f"{report.texts / report.images:.1f} texts an image: these look like outlines of "
            "receipts, not of words or lines"
        ), False
    return None
