"""Annotations of one format as another, images included.

Examples:
    python -m dbnet.convert LABELLED --to ufo --out receipts
    python -m dbnet.convert LABELLED --to coco --out receipts --link
    python -m dbnet.convert LABELLED --to icdar --out receipts --splits train \\
        --images scans --annotations Label.txt

Notes:
    The source is read with the checks of training: damaged outlines are
    repaired or become ignored texts. `python train.py --data.root LABELLED
    --data.check-only` lists them.
"""

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from dbnet.data.annotations.find import Where
from dbnet.data.annotations.report import Report
from dbnet.data.annotations.roots import not_to_convert, unfit_root, usual_image_folder
from dbnet.data.annotations.scan import load_records
from dbnet.data.annotations.writers import WRITERS, Sized
from dbnet.data.images import image_size
from dbnet.data.storage.records import Records
from dbnet.errors import InputError
from dbnet.runtime import cli
from dbnet.runtime.files import replacing

SPLITS = ("train", "val", "test")


def main(
    source: Annotated[Path, tyro.conf.Positional],
    *,
    to: Literal["ufo", "coco", "icdar", "paddle"],
    out: Path,
    format: str = "auto",
    splits: tuple[str, ...] = (),
    images: Path | None = None,
    annotations: Path | None = None,
    link: bool = False,
    follow_links: bool = False,
    skip_missing: bool = False,
) -> None:
    """Write the data set SOURCE in another format to a new folder.

    Args:
        source: Folder with images and annotations, as --data.root of train.py.
        to: Format to write.
        out: Folder to make; it must not be there yet.
        format: Format of the source; auto tells it by the content of the files.
        splits: Splits to convert; those of train, val and test that are there, unless said.
        images: Folder of images of the one split, below SOURCE or absolute.
        annotations: File or folder of annotations of the one split, below SOURCE or absolute.
        link: Make hard links to the images instead of copies; both must be on one disk.
        follow_links: Links in SOURCE may lead out of it.
        skip_missing: Leave out annotated images that are not there.
    """
    if out.exists():
        raise InputError(f"{out}: is there already; delete it or choose another --out")
    if unfit := unfit_root(source):
        raise InputError(unfit)
    if (images or annotations) and len(splits) != 1:
        raise InputError("--images and --annotations are of one split: name it with --splits")
    where = Where(images, annotations, follow_links)
    splits = _splits(source, splits, images)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as draft:
        draft.mkdir()
        for split in splits:
            records, report = load_records(
                source, split, format=format, skip_missing=skip_missing, where=where
            )
            lost = WRITERS[to].write(draft, split, _copied(records, draft, split, link=link))
            print(_line(split, report, to))
            damage = {"repaired": report.repaired, "ignored": report.damaged}
            for fate, reasons in (*damage.items(), ("dropped", report.dropped)):
                lost.update({f"{fate}: {reason}": count for reason, count in reasons.items()})
            for what, count in lost.items():
                print(f"{split}: {what} (texts: {count})")
    print(f"{out}: {_next_command(out, splits)}")


def _next_command(out: Path, splits: tuple[str, ...]) -> str:
    """What can be done with these splits alone."""
    root = shlex.quote(str(out))
    if "train" not in splits:
        return f"python evaluate.py --data.root {root} --split {splits[0]}"
    fraction = "" if "val" in splits else " --data.val-fraction 0.1"
    return f"python train.py --data.root {root}{fraction} --data.check-only"


def _splits(source: Path, asked: tuple[str, ...], images: Path | None) -> tuple[str, ...]:
    """The splits to convert: those asked for, else those that have a folder of images."""
    if images:
        return asked
    there = [split for split in asked or SPLITS if usual_image_folder(source, split)]
    if missing := [split for split in asked if split not in there]:
        raise InputError(not_to_convert(source, missing))
    if not there:
        raise InputError(not_to_convert(source, SPLITS))
    return tuple(there)


def _copied(records: Records, folder: Path, split: str, *, link: bool) -> Iterator[Sized]:
    """The records in order; each image is put below `folder` before it is given."""
    for record in tqdm(records, desc=split, unit="image", leave=False, disable=None):
        target = folder / "images" / split / record.image_id
        target.parent.mkdir(parents=True, exist_ok=True)
        original = Path(record.image_path).resolve()  # of a link, what it leads to
        if link:
            try:
                os.link(original, target)
            except OSError as error:
                raise InputError(
                    f"{original}: cannot be linked to {folder.parent} ({error.strerror}); "
                    "leave out --link"
                ) from None
        else:
            shutil.copyfile(original, target)
        yield Sized(record, *image_size(original))


def _line(split: str, report: Report, to: str) -> str:
    counts = f"{report.images} images, {report.texts} texts, {report.ignored} ignored"
    return f"{split}: {report.format} -> {to}, {counts}"


if __name__ == "__main__":
    with cli.errors_as_lines():
        tyro.cli(main, prog=cli.program(), description=__doc__)
