"""Annotated data sets: found, read and checked, so that training meets no surprise.

    images/{split}/        the images
    jsons/{split}.json     their annotations, or one of the other places in `annotation_formats`

A text is dropped, counted and noted where its polygon is none: not finite, fewer than 3 points,
zero area, self-crossing, or completely outside the image. Points equal to the one before are
removed. Whatever else is wrong is a problem, and problems refuse the data set.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import shapely

from dbnet.data.annotation_files import Entry, Parsed, inside, list_files, listed
from dbnet.data.annotation_formats import READERS
from dbnet.data.images import IMAGE_SUFFIXES, image_size
from dbnet.errors import InputError
from dbnet.structures import Record

# Format, place below the root for a split, suffixes of the files where that place is a folder.
_PLACES = (
    ("ufo", "jsons/{}.json", ()),
    ("coco", "annotations/{}.json", ()),
    ("coco", "{}.json", ()),
    ("icdar", "gts/{}", (".txt", ".csv")),
    ("icdar", "annotations/{}", (".txt", ".csv")),
    ("icdar", "images/{}", (".txt", ".csv")),
    ("labelme", "jsons/{}", (".json",)),
    ("labelme", "images/{}", (".json",)),
)

# Polygons whose convex hull is smaller, in square pixels, count as zero area.
_MIN_AREA = 1e-3


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found in one split."""

    images: int  # that are used
    texts: int  # legible ones in them
    ignored: int  # illegible ones in them
    unannotated: int  # images that are not used for want of a readable annotation
    missing: int  # annotated images that are not there
    dropped: dict[str, int]  # reason -> number of texts
    text_heights: np.ndarray  # float32 (texts,), shorter side over the image's longest side
    problems: list[str]  # reasons to refuse the data set, one line each
    notes: list[str]  # what else is worth knowing, one line each


def load_records(
    root: Path, split: str, *, format: str, skip_missing: bool = False
) -> tuple[list[Record], Report]:
    """Read and check one split.

    Args:
        root: folder with images/{split}/ and annotations.
        format: "ufo", "icdar", "coco", "labelme", or "auto" for the one that is there.
        skip_missing: annotated images that are not there are counted and noted, no problem.

    Returns:
        Records sorted by image_id, the file's name below images/{split}/, and the report.

    Raises:
        ValueError: anything in `Report.problems`: the first one, and how many more there are.
    """
    records, report = scan(root, split, format=format, skip_missing=skip_missing)
    if report.problems:
        more = len(report.problems) - 1
        raise InputError(report.problems[0] + (f" (problems besides: {more})" if more else ""))
    return records, report


def scan(
    root: Path, split: str, *, format: str, skip_missing: bool = False
) -> tuple[list[Record], Report]:
    """Like `load_records`, but leaves all problems to the caller, in the report."""
    root = Path(root)
    folder = root / "images" / split
    try:
        format, source = _find(root, split, format)
        parsed = READERS[format](root, split, source)
    except ValueError as error:
        parsed = Parsed([], [], [str(error)], [])
    entries, missing, problems = _check_images(root, folder, parsed.entries)
    words = [word for entry in entries for word in entry.words]
    sizes = [entry.size for entry in entries for _ in entry.words]
    polygons, reasons = _check_polygons([word.points for word in words], sizes)

    records, heights, start = [], [], 0
    for entry in entries:
        span = range(start, start + len(entry.words))
        start = span.stop
        kept = [i for i in span if not reasons[i]]
        records.append(
            Record(
                image_path=str(folder / entry.name),
                image_id=entry.name,
                polygons=[polygons[i] for i in kept],
                ignored=np.array([words[i].ignored for i in kept], bool),
                texts=[words[i].text for i in kept],
            )
        )
        legible = [polygons[i] for i in kept if not words[i].ignored]
        heights += [min(cv2.minAreaRect(polygon)[1]) / max(entry.size) for polygon in legible]

    dropped = parsed.dropped + [(w.place, r) for w, r in zip(words, reasons, strict=True) if r]
    if missing:
        line = f"{folder}: {len(missing)} annotated images missing: {listed(missing)}"
        if skip_missing:
            parsed.notes.append(f"{line}; they are skipped")
        else:
            problems.append(f"{line}; add them, or leave them out with --data.skip-missing")
    unused = _unannotated(folder, parsed.entries)
    notes = parsed.notes + [f"{place}: text dropped: {reason}" for place, reason in dropped]
    if unused:
        notes.append(
            f"{folder}: {len(unused)} images without a readable annotation are not used: "
            f"{listed(unused)}"
        )
    return records, Report(
        images=len(records),
        texts=len(heights),
        ignored=sum(int(record.ignored.sum()) for record in records),
        unannotated=len(unused),
        missing=len(missing),
        dropped=dict(Counter(reason for _, reason in dropped)),
        text_heights=np.array(heights, np.float32),
        # Names and keys may hold line ends.
        problems=[" ".join(problem.splitlines()) for problem in parsed.problems + problems],
        notes=[" ".join(note.splitlines()) for note in notes],
    )


def summary_table(
    records_by_split: dict[str, list[Record]], reports: dict[str, Report], *, image_size: int
) -> str:
    """Plain text, one column per split; `image_size` is the longest side in training, in pixels."""
    rows = {
        "images": [len(records) for records in records_by_split.values()],
        "images without legible text": [
            sum(bool(record.ignored.all()) for record in records)
            for records in records_by_split.values()
        ],
    }
    chosen = [reports[split] for split in records_by_split]
    rows["images without annotation, not used"] = [report.unannotated for report in chosen]
    if any(report.missing for report in chosen):
        rows["annotated images missing"] = [report.missing for report in chosen]
    rows["texts"] = [report.texts for report in chosen]
    rows["ignored texts"] = [
        f"{report.ignored} ({report.ignored / max(report.texts + report.ignored, 1):.1%})"
        for report in chosen
    ]
    rows["dropped texts"] = [sum(report.dropped.values()) for report in chosen]
    for reason in sorted({reason for report in chosen for reason in report.dropped}):
        rows[f"  {reason}"] = [report.dropped.get(reason, 0) for report in chosen]
    rows[f"median text height at {image_size} px"] = [
        f"{np.median(report.text_heights) * image_size:.1f} px" if report.texts else "-"
        for report in chosen
    ]
    lines = [("", *records_by_split), *((name, *map(str, cells)) for name, cells in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])])
        for cells in lines
    )


def _find(root: Path, split: str, format: str) -> tuple[str, Path]:
    """The format, and the file or folder that holds the split's annotations."""
    folder = root / "images" / split
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it should hold the images")
    if not inside(folder, root):
        raise InputError(f"{folder}: leads out of {root}; give the root that holds the images")
    places = [
        (name, path.format(split), suffixes)
        for name, path, suffixes in _PLACES
        if format in ("auto", name)
    ]
    if not places:
        raise InputError(f"annotation format {format!r}: must be auto, {', '.join(READERS)}")
    found = [
        (name, path)
        for name, path, suffixes in places
        if (list_files(root / path, suffixes) if suffixes else (root / path).is_file())
    ]
    if len(found) == 1:
        return found[0][0], root / found[0][1]
    if found:
        raise InputError(
            f"{root}: several annotations of {split}, name the format or move the others away: "
            + ", ".join(f"{path} ({name})" for name, path in found)
        )
    looked = [
        f"{file} ({name})"
        for name, path, suffixes in places
        for file in ([f"{path}/*{suffix}" for suffix in suffixes] or [path])
    ]
    raise InputError(f"{root}: no annotations of {split}; looked for {', '.join(looked)}")


def _check_images(
    root: Path, folder: Path, entries: list[Entry]
) -> tuple[list[Entry], list[str], list[str]]:
    """Entries fit for use, sorted by name, with the size from the image's header; names of missing
    images; problems."""
    checked: dict[str, Entry] = {}
    missing, problems = [], []
    for entry in entries:
        name = PurePosixPath(entry.name)
        path = folder / name
        try:
            if (
                name.is_absolute()
                or ".." in name.parts
                or (path.is_file() and not inside(path, root))
            ):
                raise InputError(
                    f"{entry.place}: {entry.name} must be a plain path below {folder}, without "
                    f"links out of {root}"
                )
            if str(name) in checked:
                raise InputError(f"{entry.place}: {entry.name} is annotated twice")
            if not path.is_file():
                missing.append(entry.name)
                continue
            size = image_size(path)
            if entry.size not in (None, size):
                raise InputError(
                    f"{entry.place}: annotated at {entry.size[1]} x {entry.size[0]} pixels, but "
                    f"the upright image has {size[1]} x {size[0]}"
                )
        except ValueError as error:
            problems.append(str(error))
        except OSError:  # a name that the file system cannot hold
            missing.append(entry.name)
        else:
            checked[str(name)] = entry._replace(name=str(name), size=size)
    return [checked[name] for name in sorted(checked)], missing, problems


def _unannotated(folder: Path, entries: list[Entry]) -> list[str]:
    annotated = {str(PurePosixPath(entry.name)) for entry in entries}
    return [name for name in list_files(folder, IMAGE_SUFFIXES) if name not in annotated]


def _check_polygons(
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

    lengths = np.array([len(p) for p in points])
    owner = np.repeat(np.arange(count), lengths)  # polygon of each point
    with np.errstate(over="ignore"):
        flat = np.concatenate(points).astype(np.float32)  # (sum P, 2)
    drop(np.bincount(owner[~np.isfinite(flat).all(axis=1)], minlength=count) > 0, "not finite")
    drop(lengths < 3, "fewer than 3 points")

    ends = np.cumsum(lengths)
    following = np.arange(1, len(flat) + 1)
    following[ends[lengths > 0] - 1] = (ends - lengths)[lengths > 0]
    differs = (flat != flat[following]).any(axis=1)
    flat, owner = flat[differs], owner[differs]
    lengths = np.bincount(owner, minlength=count)
    drop(lengths < 3, "zero area")
    polygons = np.split(flat, np.cumsum(lengths)[:-1])

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
