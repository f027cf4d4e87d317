"""Images and the annotation file of each, by name."""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import Any

from dbnet.data.annotations.entries import Findings, Source
from dbnet.data.annotations.files import list_files, listed
from dbnet.data.annotations.heads import read_head
from dbnet.data.image_files import IMAGE_SUFFIXES

_RESULTS = "res_"  # what the names of detections begin with in ICDAR's evaluation


def pair(
    source: Source,
    patterns: tuple[str, ...],
    found: Findings,
    recognises: Callable[[Any], bool],
    own: Collection[str] = (),
) -> list[tuple[str, Path]]:
    """Images and the one file each that annotates them, as (image name, file).

    Images without a file are left out. A name is compared exactly, else without regard to case and
    Unicode form. Problems: several files for an image, several images for a file, and annotations
    without an image. A file without an image is left aside, with a warning, where its content is
    of another kind or its name is one of results.

    Args:
        patterns: file names for an image, whose name with and without ending stands for "{}".
        recognises: of the format, for what a file begins with.
        own: names of other files that the format has in the folder.
    """
    folder = source.annotations
    links = not source.bounds
    files = set(list_files(folder, {Path(pattern).suffix for pattern in patterns}, links=links))
    alike = defaultdict(list)
    for file in sorted(files):
        alike[_comparable(file)].append(file)
    pairs = []
    owners = defaultdict(list)
    for name in list_files(source.images, IMAGE_SUFFIXES, links=links):
        path = PurePosixPath(name)
        names = [
            (path.parent / pattern.format(part)).as_posix()
            for part in (path.stem, path.name)
            for pattern in patterns
        ]
        exact = [name for name in names if name in files]
        its = exact or [file for name in names for file in alike.get(_comparable(name), ())]
        if len(its) > 1:
            found.problems.append(f"{folder}: {name} has several annotations: {listed(its)}")
        for file in its:
            owners[file].append(name)
    for file, images in owners.items():
        pairs.append((images[0], folder / file))
        if len(images) > 1:
            found.problems.append(f"{folder / file}: stands for several images: {listed(images)}")
    _tell_orphans(sorted(files - owners.keys() - set(own)), source, found, recognises)
    return pairs


def is_result(name: str) -> bool:
    """Whether a file has the name of a detector's result."""
    return PurePosixPath(name).name.lower().startswith(_RESULTS)


def _comparable(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _tell_orphans(
    orphans: list[str], source: Source, found: Findings, recognises: Callable[[Any], bool]
) -> None:
    """Files without an image: annotations, or something else that lies beside them."""
    folder = source.annotations
    annotations = [
        name for name in orphans if not is_result(name) and recognises(read_head(folder / name))
    ]
    if annotations:
        found.problems.append(
            f"{folder}: annotation files without an image in {source.images} ({len(annotations)}): "
            f"{listed(annotations)}; name each like its image, or move it away"
        )
    if others := [name for name in orphans if name not in set(annotations)]:
        found.warnings.append(
            f"{folder}: files that are no annotations of an image, not read ({len(others)}): "
            f"{listed(others)}"
        )
