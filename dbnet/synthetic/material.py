"""What hard receipts are made of: installed fonts, and a user's photos of paper and of places."""

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
    """Ready to draw with. All may be empty."""

    fonts: tuple[FontFile, ...] = ()
    textures: Sequence[str] = ()  # paths of photographed paper
    backgrounds: Sequence[Record] = ()  # photos to lie on; their texts become ignored ones

    def pick(self, rng: np.random.Generator) -> "Material":
        """The same fonts, one texture and one background."""
        texture = int(rng.random() * len(self.textures))
        background = int(rng.random() * len(self.backgrounds))
        return Material(
            self.fonts,
            self.textures[texture : texture + 1],
            [self.backgrounds[background]] if len(self.backgrounds) else [],
        )


class Folders(NamedTuple):
    """Where a user has photos. None: there are none."""

    textures: Path | None = None  # images of paper
    backgrounds: Path | None = None  # images, or a data set with images/train and annotations


NO_FOLDERS = Folders()


def fingerprint(folders: Folders) -> str:
    """Eight characters that change with the names and sizes of installed fonts and of photos."""
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
    """Installed fonts and the photos below the folders.

    Backgrounds that are a data set bring their texts along, to be ignored; texts in plain folders
    of images count as background.

    Raises:
        InputError: a folder is not there, holds no image, or its annotations cannot be read.
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
