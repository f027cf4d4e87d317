"""Where the annotations of a split lie, and in which format."""

from pathlib import Path

from dbnet.data.annotations.files import Source, inside, list_files
from dbnet.data.annotations.formats import FORMATS
from dbnet.errors import InputError


def find_source(root: Path, split: str, format: str) -> Source:
    """The split's images and annotations below the root.

    Args:
        format: a name in FORMATS, or "auto" for the one that is there.

    Raises:
        InputError: there are no annotations, or several.
    """
    folder = root / "images" / split
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it should hold the images")
    if not inside(folder, root):
        raise InputError(f"{folder}: leads out of {root}; give the root that holds the images")
    places = [
        (name, place.path.format(split), place.suffixes)
        for name, reader in FORMATS.items()
        if format in ("auto", name)
        for place in reader.PLACES
    ]
    if not places:
        raise InputError(f"annotation format {format!r}: must be auto, {', '.join(FORMATS)}")
    found = [
        (name, path)
        for name, path, suffixes in places
        if (list_files(root / path, suffixes) if suffixes else (root / path).is_file())
    ]
    if len(found) == 1:
        name, path = found[0]
        return Source(root, folder, name, root / path)
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
