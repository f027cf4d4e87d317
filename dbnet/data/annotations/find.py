"""Where the images and the annotations of a split lie, and in which format."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from dbnet.data.annotations.entries import KINDS, Place, Source
from dbnet.data.annotations.files import LINKS_HINT, inside, listed, not_walked, walk
from dbnet.data.annotations.foreign import foreign_title
from dbnet.data.annotations.formats import FORMATS
from dbnet.data.annotations.heads import read_head
from dbnet.data.annotations.pairs import is_result
from dbnet.data.annotations.roots import (
    beside,
    has_images,
    inside_a_set,
    is_named_for,
    names_of,
    unfit_root,
    unsplit_images,
    usual_image_folder,
    without_images,
)
from dbnet.data.annotations.sides import Side
from dbnet.data.image_files import IMAGE_SUFFIXES
from dbnet.errors import InputError

_LISTED, _LOOKED_AT = 10_000, 200  # files, where no annotations are found, to name what is there


@dataclass(frozen=True)
class Where:
    """What is said about a split's places beside its root."""

    images: Path | None = None
    """Folder of images, below the root or absolute; None: images/{split}, or a usual place."""
    annotations: Path | None = None
    """File or folder of annotations, below the root or absolute; None: looked for."""
    follow_links: bool = False
    """Links may lead to files outside the root, and linked folders are read."""
    side: Side | None = None
    """Part of the training split that is meant, where train and val share one folder."""


USUAL_PLACES = Where()


class _Candidate(NamedTuple):
    """A file or folder that may hold a split's annotations."""

    place: Place  # its path is below the root, or absolute
    usual: tuple[str, ...]  # formats that usually lie there
    seen: "_Seen | None"  # what its content shows
    are_results: bool = False  # a folder of nothing but results of a detector, by their names

    @property
    def format(self) -> str | None:
        """The format of the content, if that format uses such a place (file or folder)."""
        if self.seen and self.seen.format and _is_folder(self.seen.format) == bool(self.place.kind):
            return self.seen.format
        return None


class _Seen(NamedTuple):
    """The first file whose content shows a format."""

    path: Path
    format: str | None  # a name in FORMATS; None: it is not read
    title: str


def find_source(root: Path, split: str, format: str, where: Where = USUAL_PLACES) -> Source:
    """The split's images and annotations. The content of files tells their format, not their name.

    Args:
        format: a name in FORMATS, or "auto" for the one that is there.

    Raises:
        InputError: there are no annotations, several, or some of another format.
    """
    if format != "auto" and format not in FORMATS:
        raise InputError(f"annotation format {format!r}: must be auto, {', '.join(FORMATS)}")
    if where.side:
        split = "train"
        _refuse_val_split(root)
    explicit = [root / place for place in (where.images, where.annotations) if place]
    bounds = () if where.follow_links else tuple(p.resolve() for p in (root, *explicit))
    images = image_folder(root, split, where)
    if not inside(images, bounds):
        raise InputError(f"{images}: leads out of {root}; {LINKS_HINT}")
    asked: tuple[str, ...] = () if format == "auto" else (format,)
    places = {place: asked for place in _explicit_places(root, where)}
    if not places:
        below = images.relative_to(root) if images.is_relative_to(root) else images
        places = _usual_places(names_of(split), below)
        if where.side and usual_image_folder(root, split) is None:
            places = _unsplit_places(root) | places
    candidates = list(_candidates(root, images, places, links=where.follow_links))
    if not candidates and not has_images(images, links=where.follow_links):
        left = not_walked(images, links=where.follow_links)
        hint = f" (not read: {listed(left)}; see --data.follow-links)" if left else ""
        raise InputError(f"{images}: holds no images; put those of {split} there{hint}")
    chosen = _choose(root, split, format, candidates)
    name = chosen.format or (chosen.usual[0] if format == "auto" else format)
    return Source(root, images, name, root / chosen.place.path, bounds)


def image_folder(root: Path, split: str, where: Where) -> Path:
    """The folder of a split's images. Raises InputError where there is none."""
    if where.images:
        folder = root / where.images
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; it should hold the images{beside(folder)}")
        return folder
    if unfit := unfit_root(root):
        raise InputError(unfit)
    found = usual_image_folder(root, split)
    if found is None and where.side:
        found = unsplit_images(root)
    if found is None:
        raise InputError(without_images(root, split))
    return found


def _is_folder(format: str) -> bool:
    """Whether it has a file for each image."""
    return bool(FORMATS[format].PLACES[0].kind)


def _explicit_places(root: Path, where: Where) -> list[Place]:
    """The file that was named, or the folder for each kind of file."""
    if not where.annotations:
        return []
    path = root / where.annotations
    if path.is_file():
        return [Place(str(where.annotations))]
    if not path.is_dir():
        raise InputError(
            f"{path}: no such file or folder; it should hold the annotations{beside(path)}"
        )
    return [Place(str(where.annotations), kind) for kind in KINDS]


def _usual_places(names: tuple[str, ...], images: Path) -> dict[Place, tuple[str, ...]]:
    """Each place where annotations of a split may lie, with the formats that usually do."""
    places: dict[Place, tuple[str, ...]] = {}
    for name in names:
        for format, reader in FORMATS.items():
            for path, kind in reader.PLACES:
                place = Place(path.format(split=name, images=images), kind)
                usual = places.get(place, ())
                places[place] = usual if format in usual else (*usual, format)
    return places


def _unsplit_places(root: Path) -> dict[Place, tuple[str, ...]]:
    """Where annotations may lie if there are no splits: single files in the root that show their
    format, and folders such as gts/."""
    suffixes = {suffix for kind in KINDS.values() for suffix in kind}
    names = sorted(path.name for path in root.iterdir() if path.suffix.lower() in suffixes)
    seen = {name: _seen([root / name]) for name in names[:_LOOKED_AT]}
    files = {
        Place(name): (found.format,)
        for name, found in seen.items()
        if found and found.format and not _is_folder(found.format)
    }
    folders = {
        Place(place.path.removesuffix("/{split}"), place.kind): (format,)
        for format, reader in FORMATS.items()
        for place in reader.PLACES
        if place.path.endswith("/{split}")
    }
    return {**files, **folders}


def _refuse_val_split(root: Path) -> None:
    if folder := usual_image_folder(root, "val"):
        raise InputError(
            f"{folder}: is a val split, and --data.val-fraction would make another one of train; "
            "give --data.val-fraction 0, or move the folder away"
        )


def _candidates(
    root: Path, images: Path, places: dict[Place, tuple[str, ...]], *, links: bool
) -> Iterator[_Candidate]:
    """Of the places, those that hold files of annotations, or files named like the images."""
    files = {root / place.path for place in places if not place.kind}
    names: dict[str, list[str]] = {}  # of the files in a folder
    for place, usual in places.items():
        path = root / place.path
        if not place.kind:
            if path.is_file():
                yield _Candidate(place, usual, _seen([path]))
            continue
        if place.path not in names:
            names[place.path] = [name for name, _ in walk(path, links=links)]
        suffixes = KINDS[place.kind]
        own = sorted(name for name in names[place.path] if name.lower().endswith(suffixes))
        own = [name for name in own if path / name not in files]
        seen = _seen(path / name for name in own)
        if seen or (own and _named_like(own, images, links=links)):
            yield _Candidate(place, usual, seen, are_results=all(map(is_result, own)))


def _named_like(names: list[str], images: Path, *, links: bool) -> bool:
    """Whether one of the files has the name of an image, with another ending or `gt_` before it."""
    stems = {Path(name).stem.removeprefix("gt_") for name in names}
    return any(
        Path(name).stem in stems and Path(name).suffix.lower() in IMAGE_SUFFIXES
        for name, _ in walk(images, links=links)
    )


def _seen(paths: Iterable[Path]) -> _Seen | None:
    for path in paths:
        head = read_head(path)
        for name, reader in FORMATS.items():
            if reader.recognises(head):
                return _Seen(path, name, reader.TITLE)
        if title := foreign_title(head):
            return _Seen(path, None, title)
    return None


def _choose(root: Path, split: str, format: str, candidates: list[_Candidate]) -> _Candidate:
    """The only matching candidate; InputError if there is none or several."""
    sure = [c for c in candidates if c.format and format in ("auto", c.format)]
    unclear = [c for c in candidates if not c.seen and c.usual and format in ("auto", *c.usual)]
    if sure:
        unclear = [c for c in unclear if not c.place.kind]
    meant = [c for c in candidates if c in sure or c in unclear]
    meant = [c for c in meant if not c.are_results] or meant
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise InputError(
            f"{root}: several annotations of {split}, name the format or move the others away: "
            + ", ".join(f"{c.place.path} ({c.format or c.usual[0]})" for c in meant)
        )
    others = [c.seen for c in candidates if c.seen]
    if others and others[0].format and format != "auto":
        raise InputError(
            f"{others[0].path}: is in the format of {others[0].title}, not {format}; "
            f"give --data.format {others[0].format} or auto"
        )
    if others and not others[0].format:
        raise InputError(
            f"{others[0].path}: is in the format of {others[0].title}, which is not read; convert "
            f"it to one of {', '.join(FORMATS)}"
        )
    if candidates and not (candidates[0].seen or candidates[0].usual):  # it was named
        raise InputError(
            f"{root / candidates[0].place.path}: in no format that is known by its content; "
            "name one with --data.format"
        )
    instead = _found_instead(root, split)
    hint = "" if instead else inside_a_set(root)
    places = "" if hint else f"; looked for {_looked_for(split, format)}{instead}"
    raise InputError(f"{root}: no annotations of {split}{hint}{places}")


def _looked_for(split: str, format: str) -> str:
    if format == "auto":
        return (
            f"jsons/{split}.json, annotations/{split}.json, gts/{split}/, labels/{split}/ and the "
            "other places in docs/data-formats.md"
        )
    places = _usual_places((split,), Path("images") / split)
    return ", ".join(
        f"{file} ({format})"
        for place, usual in places.items()
        if format in usual
        for file in (
            [f"{place.path}/*{s}" for s in KINDS[place.kind]] if place.kind else [place.path]
        )
    )


def _found_instead(root: Path, split: str) -> str:
    """Annotations in unusual places, for a message; "" where there are none."""
    suffixes = {suffix for kind in KINDS.values() for suffix in kind}
    names = [name for name, _ in islice(walk(root), _LISTED)]
    names = [name for name in names if Path(name).suffix.lower() in suffixes]
    names.sort(key=lambda name: (name.count("/"), name))
    others = [other for other in ("train", "val", "test") if other != split]
    own = [name for name in names if not any(is_named_for(name, other) for other in others)]
    found: dict[str, _Seen] = {}
    for name in (own or names)[:_LOOKED_AT]:
        if seen := _seen([root / name]):
            is_folder = seen.format and _is_folder(seen.format)
            found[Path(name).parent.as_posix() if is_folder else name] = seen
    if not found:
        return ""
    hint = f"; found instead: {listed([f'{name} ({seen.title})' for name, seen in found.items()])}"
    if not own:
        return hint
    if readable := [name for name, seen in found.items() if seen.format]:
        place = f" {readable[0]}" if len(readable) == 1 else ""
        return f"{hint}; name it with --data.annotations.{split}{place}"
    return f"{hint}, which is not read; convert it to one of {', '.join(FORMATS)}"
