"""Material of hard receipts: installed fonts, and a user's photos of paper and backgrounds."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dbnet.data.annotations.files import list_files
from dbnet.data.annotations.scan import load_records
from dbnet.data.image_files import IMAGE_SUFFIXES
from dbnet.errors import InputError
from dbnet.structures import Record
from dbnet.synthetic.installed import FontFile, find_fonts


class Material(NamedTuple):
    """Fonts and photos. Each may be empty."""

    fonts: tuple[FontFile, ...] = ()
    textures: Sequence[str] = ()  # paths of photographed paper
    backgrounds: Sequence[Record] = ()  # photos behind the receipts; their texts are ignored

    def pick(self, rng: np.random.Generator) -> "Material":
        """All fonts, one random texture and one random background."""
        texture = int(rng.random() * len(self.textures))
        background = int(rng.random() * len(self.backgrounds))
        return Material(
            self.fonts,
            self.textures[texture : texture + 1],
            [self.backgrounds[background]] if len(self.backgrounds) else [],
        )


class Folders(NamedTuple):
    """Folders of a user's photos; None: no photos."""

    textures: Path | None = None  # images of paper
    backgrounds: Path | None = None  # images, or a data set with images/train and annotations


NO_FOLDERS = Folders()


def fingerprint(folders: Folders) -> str:
    """Eight hex digits: a hash of the names and sizes of installed fonts and photos."""
    digest = hashlib.sha256()
    for font in find_fonts():
        digest.update(f"{Path(font.path).name} {Path(font.path).stat().st_size}\n".encode())
    for name, folder in zip(folders._fields, folders, strict=True):
        digest.update(f"[{name}]\n".encode())
        if folder is None:
            continue
        files = list_files(_checked(folder, name), {*IMAGE_SUFFIXES, ".json", ".txt", ".xml"})
        for file in files:
            digest.update(f"{file} {(folder / file).stat().st_size}\n".encode())
    return digest.hexdigest()[:8]


def load_material(folders: Folders) -> Material:
    """Find the installed fonts and the photos below the folders.

    If the folder of backgrounds is a data set (with images/train), its texts become ignored texts
    of the drawn images. Texts on other backgrounds are not annotated.

    Raises:
        InputError: a folder is missing, holds no image, or its annotations cannot be read.
    """
    textures: list[str] = []
    if folders.textures is not None:
        textures = [str(path) for path in _images(folders.textures, "textures")]
    backgrounds: Sequence[Record] = ()
    if folders.backgrounds is not None:
        folder = _checked(folders.backgrounds, "backgrounds")
        if (folder / "images" / "train").is_dir():
            backgrounds = load_records(folder, "train", format="auto")[0]
        else:
            nothing = np.zeros(0, bool)
            backgrounds = [
                Record(str(path), path.name, [], nothing, [])
                for path in _images(folder, "backgrounds")
            ]
    return Material(find_fonts(), textures, backgrounds)


def _images(folder: Path, name: str) -> list[Path]:
    found = [folder / file for file in list_files(_checked(folder, name), IMAGE_SUFFIXES)]
    if not found:
        raise InputError(f"{folder}: no image below it; --data.drawn-{name} takes a folder of them")
    return found


def _checked(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; correct --data.drawn-{name}")
    return folder
