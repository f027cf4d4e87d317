"""Error messages for a --data.root without a data set, with a suggestion."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from dbnet.data.annotations.files import listed, walk
from dbnet.data.image_files import IMAGE_SUFFIXES

# Names that folders and files of a split have in other people's data sets.
_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
_IMAGE_FOLDERS = ("images/{split}", "{split}/images", "{split}")

_LISTED = 10_000  # files that are looked at, to name what is there
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


def names_of(split: str) -> tuple[str, ...]:
    """What the split is called in folders and files, the usual name first."""
    return _NAMES.get(split, (split,))


def usual_image_folder(root: Path, split: str) -> Path | None:
    """The folder of a split's images in one of the usual places; None where there is none."""
    for name in names_of(split):
        for place in _IMAGE_FOLDERS:
            folder = root / place.format(split=name)
            if folder.is_dir() and (place != "{split}" or has_images(folder)):
                return folder
    return None


def unsplit_images(root: Path) -> Path | None:
    """The folder of a data set without splits: images/, else the root if it holds images itself."""
    if has_images(root / "images"):
        return root / "images"
    return root if any(path.is_file() and _is_image(path.name) for path in root.iterdir()) else None


def has_images(folder: Path, *, links: bool = False) -> bool:
    return any(map(_is_image, (name for name, _ in walk(folder, links=links))))


def unfit_root(root: Path) -> str | None:
    """A line about a root that is no folder or an empty one; None where it has something in it."""
    if root.is_file():
        if root.suffix.lower() in _ARCHIVES:
            return f"{root}: is an archive; unpack it and give the folder"
        hint = _did_you_mean(above) if (above := _set_above(root)) else f"give {_LAYOUT}"
        return f"{root}: is a file; {hint}"
    if not root.is_dir():
        return f"{root}: no such folder{_named_alike(root)}"
    try:
        is_empty = not any(True for _ in root.iterdir())
    except OSError as error:
        return f"{root}: cannot be read ({error.strerror})"
    return f"{root}: is an empty folder; give {_LAYOUT}" if is_empty else None


_LAYOUT = "the folder that holds images/train, images/val and the annotations"


def without_images(root: Path, split: str) -> str:
    """A line about a root that has no images of the split in a usual place."""
    line = f"{root / 'images' / split}: no such folder; it should hold the images"
    others = [s for s in _NAMES if s != split and usual_image_folder(root, s)]
    if other := _other_root(root, is_set=bool(others)):
        return f"{line}; {other}"
    folders = _image_folders(root)
    if split not in _NAMES:
        return f"{line}; images lie in {listed(folders)}"
    if alike := [folder for folder in folders if is_named_for(folder, split)]:
        return f"{line}; images lie in {alike[0]}: name it with --data.images.{split} {alike[0]}"
    if split == "val" and "train" in others:
        rest = [f for f in folders if not is_named_for(f, "train")]
        name = f", or name a folder with --data.images.val, such as {rest[0]}" if rest else ""
        return f"{line}; hold a part of train back with --data.val-fraction 0.1{name}"
    if len(folders) == 1 and folders[0] in (".", "images"):
        where = root if folders[0] == "." else root / folders[0]
        return (
            f"{line}; all images lie in {where}, without train and val: hold a part of them back "
            "with --data.val-fraction 0.1"
        )
    return f"{line}; images lie in {listed(folders)}: name one with --data.images.{split}"


def not_to_convert(root: Path, splits: Iterable[str]) -> str:
    """The same for dbnet.convert, of a root that has images of none of the splits."""
    names = [f"images/{split}" for split in splits]
    line = f"{root}: has no {' or '.join(names)}"
    is_set = any(usual_image_folder(root, split) for split in _NAMES)
    if other := _other_root(root, is_set=is_set):
        return f"{line}; {other}"
    return (
        f"{line}; images lie in {listed(_image_folders(root))}: give --splits NAME --images FOLDER "
        "--annotations FILE"
    )


def _other_root(root: Path, *, is_set: bool) -> str | None:
    """What was probably meant where the root has no images of a split; None: images lie elsewhere
    below it.

    Args:
        is_set: the root has images of another split.
    """
    if above := _set_above(root):
        return f"{root} lies inside a data set: {_did_you_mean(above)}"
    below = [] if is_set else _sets_below(root)
    if len(below) == 1:
        return _did_you_mean(below[0])
    if below:
        return f"{root} holds several data sets, give one: {listed([*map(str, below)])}"
    return None if _image_folders(root) else f"{root} holds no images"


def inside_a_set(root: Path) -> str:
    """The end of a message where the root lies inside a data set; "" where it does not."""
    above = _set_above(root)
    return f"; {_did_you_mean(above)}" if above else ""


def beside(path: Path) -> str:
    """The end of a message about a place that is not there: what is called nearly the same."""
    names = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(path.name, names, 1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _did_you_mean(root: Path) -> str:
    return f"did you mean {root}?"


def _named_alike(root: Path) -> str:
    """Of a root that is not there: the folder beside it that is called nearly the same."""
    parent = root.parent
    if not parent.is_dir():
        missing = next(p for p in (*reversed(root.parents), root) if not p.is_dir())
        return f"; {missing} is not there either; check the path"
    folders = _sub_folders(parent)
    close = get_close_matches(root.name, [path.name for path in folders], 1)
    if close:
        return f"; {_did_you_mean(parent / close[0])}"
    sets = [path for path in folders if _is_set(path)]
    if len(sets) == 1:
        return f"; {_did_you_mean(sets[0])}"
    return f"; check the path, {parent} holds {listed([p.name for p in folders]) or 'no folders'}"


def _set_above(root: Path) -> Path | None:
    """The data set of which `root` is a file, or the folder of images or annotations."""
    for up in ("../../..", "../..", ".."):
        folder = Path(os.path.normpath(root / up))
        for split in _NAMES:
            images = usual_image_folder(folder, split)
            at, above = root.resolve(), folder.resolve()
            if images is None or above not in at.parents:
                continue
            own, part = images.resolve(), at.relative_to(above).parts[0]
            if own.is_relative_to(at) or at.is_relative_to(own) or part in _ANNOTATIONS:
                return folder
    return None


_ANNOTATIONS = ("jsons", "annotations", "Annotations", "gts", "labels", "xmls")


def _sets_below(root: Path) -> list[Path]:
    """Data sets in the folders of `root`; where there are none, those one level below."""
    folders = _sub_folders(root)
    found = [folder for folder in folders if _is_set(folder)]
    return found or [
        below for folder in folders for below in _sub_folders(folder) if _is_set(below)
    ]


def _is_set(folder: Path) -> bool:
    """Whether it has images of a split, and something beside: train/ and val/ alone may be images
    whose annotations lie elsewhere."""
    found = [images for split in _NAMES if (images := usual_image_folder(folder, split))]
    return bool(found) and any(path not in found for path in folder.iterdir())


def _sub_folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    except OSError:
        return []


def _image_folders(root: Path) -> list[str]:
    """Folders below the root that hold images themselves, those with most images first."""
    counts = Counter(str(Path(name).parent) for name in _first_images(root))
    return [folder for folder, _ in counts.most_common()]


def _first_images(root: Path) -> Iterator[str]:
    return filter(_is_image, (name for name, _ in islice(walk(root), _LISTED)))


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def is_named_for(path: str, split: str) -> bool:
    """Whether a word of the path is a name of the split: Train/a, train2017.json, val_images."""
    return not {*names_of(split)}.isdisjoint(re.findall("[a-z]+", path.lower()))
