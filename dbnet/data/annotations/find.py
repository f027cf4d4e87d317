"""Where the images and the annotations of a split lie, and in which format."""

from dataclasses import dataclass
from pathlib import Path

from dbnet.data.annotations.files import LINKS_HINT, Source, inside, list_files
from dbnet.data.annotations.formats import FORMATS
from dbnet.errors import InputError


@dataclass(frozen=True)
class Where:
    """What is said about a split's places beside its root."""

    images: Path | None = None
    """Folder of images, below the root or absolute; None: images/{split}."""
    annotations: Path | None = None
    """File or folder of annotations, below the root or absolute; None: looked for."""
    follow_links: bool = False
    """Links may lead to files outside the root, and linked folders are read."""


USUAL_PLACES = Where()


def find_source(root: Path, split: str, format: str, where: Where = USUAL_PLACES) -> Source:
    """The split's images and annotations.

    Args:
        format: a name in FORMATS, or "auto" for the one that is there.

    Raises:
        InputError: there are no annotations, or several.
    """
    if format != "auto" and format not in FORMATS:
        raise InputError(f"annotation format {format!r}: must be auto, {', '.join(FORMATS)}")
    explicit = [root / place for place in (where.images, where.annotations) if place]
    bounds = () if where.follow_links else tuple(p.resolve() for p in (root, *explicit))
    folder = root / (where.images or f"images/{split}")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it should hold the images")
    if not inside(folder, bounds):
        raise InputError(f"{folder}: leads out of {root}; {LINKS_HINT}")
    places = [
        (name, place.path.format(split), place.suffixes)
        for name, reader in FORMATS.items()
        if format in ("auto", name)
        for place in reader.PLACES
    ]
    found = [
        (name, path)
        for name, path, suffixes in places
        if (list_files(root / path, suffixes) if suffixes else (root / path).is_file())
    ]
    if len(found) == 1:
        name, path = found[0]
        return Source(root, folder, name, root / path, bounds)
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
