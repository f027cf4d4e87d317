"""The index equals a fresh reading, is never stale, and tolerates any damage."""

import contextlib
import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import PIL
import pyclipper
import pytest
import shapely

from dbnet.data import splits
from dbnet.data.annotations import scan as annotations
from dbnet.data.storage import index
from dbnet.settings import DataConfig
from tests.data.test_records import assert_same
from tests.drawing import write_dataset


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(index, "_SETTLED", 0)
    return write_dataset(tmp_path / "set", train=3, val=1)


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the splits that were read from the annotations."""
    asked = []
    load = annotations.load_records
    monkeypatch.setattr(
        annotations, "load_records", lambda r, s, **k: asked.append(s) or load(r, s, **k)
    )
    return asked


def load(root: Path, split: str = "train", format: str = "auto", skip_missing: bool = False):
    options = {"skip_missing": skip_missing, "cache_dir": root.parent / "cache"}
    return index.load_records(root, split, format=format, **options)


def file_of(root: Path) -> Path:
    return root / ".dbnet-index" / "train.bin"


def assert_as_read(root: Path, found) -> None:
    records, report = annotations.load_records(root, "train", format="auto")
    assert_same(found[0], records)
    assert vars(found[1]).keys() == vars(report).keys()
    for name, value in vars(report).items():
        np.testing.assert_array_equal(vars(found[1])[name], value, name)


def change_words(root: Path, change) -> None:
    path = root / "jsons" / "train.json"
    content = json.loads(path.read_text())
    change(content["images"]["page_0.png"]["words"])
    path.write_text(json.dumps(content))


def test_the_second_start_reads_nothing(root, reads):
    change_words(root, lambda words: words["0000"].update(points=[[1, 1], [9, 9]]))
    change_words(root, lambda words: words["0001"].update(illegibility=True))
    (root / "images" / "train" / "more.png").write_bytes(b"")
    first, second = load(root), load(root)
    assert reads == ["train"] and second[0].file is not None
    assert len(second[1].notes + second[1].warnings) == 2 and second[1].ignored == 2
    assert_as_read(root, first)
    assert_as_read(root, second)


def test_an_index_moves_with_its_data(root, reads):
    change_words(root, lambda words: words["0000"].update(points=[[1, 1], [9, 9]]))
    load(root)
    moved = root.rename(root.with_name("moved"))
    found = load(moved)
    assert reads == ["train"]
    assert found[0][0].image_path == str(moved / "images" / "train" / "page_0.png")
    assert_as_read(moved, found)


def test_relative_and_linked_roots_share_it(root, reads, monkeypatch):
    change_words(root, lambda words: words["0000"].update(points=[[1, 1], [9, 9]]))
    load(root)
    (root.parent / "link").symlink_to(root)
    assert_as_read(root.parent / "link", load(root.parent / "link"))
    monkeypatch.chdir(root)
    assert_as_read(Path(), load(Path()))
    assert reads.count("train") == 1 + 2, "once by the index, twice to compare"


def other_pixels(root: Path) -> None:
    """Other content of the same length with the same mtime."""
    path = root / "images" / "train" / "page_0.png"
    times = path.stat()
    time.sleep(0.02)  # the time of the change is all that tells, and some kernels round it to 0.01
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def other_time(root: Path) -> None:
    os.utime(root / "images" / "train" / "page_1.png", ns=(1, 1))


def swapped(root: Path) -> None:
    """Swap the names of two files: neither folder nor files are new."""
    one, other = (root / "images" / "train" / f"page_{i}.png" for i in (0, 1))
    one.rename(root / "aside")
    other.rename(one)
    (root / "aside").rename(other)


def linked(root: Path) -> None:
    path = root / "images" / "train" / "page_1.png"
    path.rename(root / "aside.png")
    path.symlink_to(root / "aside.png")


CHANGES = {
    "text": lambda root: change_words(root, lambda words: words["0000"].update(transcription="é")),
    "pixels": other_pixels,
    "time": other_time,
    "swapped": swapped,
    "linked": linked,
    "more": lambda root: shutil.copy(
        root / "images/train/page_0.png", root / "images/train/new.png"
    ),
    "fewer": lambda root: (root / "images/train/page_2.png").unlink(),
    "folder": lambda root: shutil.copytree(root / "images/val", root / "images/train/below"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_read_anew(root, reads, change):
    load(root)
    CHANGES[change](root)
    with contextlib.suppress(ValueError):  # an image is missing, or is none any more
        load(root)
    assert reads == ["train", "train"]


def test_what_lies_elsewhere_does_not_matter(root, reads):
    load(root)
    (root / "notes.txt").write_text("new")
    load(root, "val")
    load(root)
    load(root, format="ufo")
    assert reads == ["train", "val"]


def test_a_second_annotation_is_still_refused(root):
    load(root)
    (root / "annotations").mkdir()
    shutil.copy(root / "jsons" / "train.json", root / "annotations" / "train.json")
    with pytest.raises(ValueError, match="several annotations of train"):
        load(root)


def test_annotations_in_single_files_are_watched(root, reads):
    folder = root / "gts" / "train"
    folder.mkdir(parents=True)
    for i in range(3):
        (folder / f"page_{i}.txt").write_text("1,1,50,1,50,20,1,20,text\n")
    load(root, format="icdar")
    load(root, format="icdar")
    assert reads == ["train"]
    (folder / "page_1.txt").write_text("1,1,50,1,50,20,1,20,other\n")
    assert load(root, format="icdar")[0][1].texts == ["other"]


LIBRARIES = [(library, "__version__") for library in (cv2, np, PIL, pyclipper, shapely)]


@pytest.mark.parametrize("owner", [(index, "_VERSION"), *LIBRARIES])
def test_another_version_reads_anew(root, reads, monkeypatch, owner):
    load(root)
    monkeypatch.setattr(*owner, 99)
    load(root)
    assert reads == ["train", "train"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "cut": cut,
    "bit": flip_a_bit,
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_bytes(b"x" * 5000),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_made_again(root, reads, damage):
    load(root)
    DAMAGES[damage](file_of(root))
    assert_as_read(root, load(root))
    assert reads[:2] == ["train", "train"]
    load(root)
    assert len(reads) == 3, "of which one to compare"


def test_an_index_of_another_set_is_not_taken(root, reads):
    other = write_dataset(root.with_name("other"), train=2, val=1, seed=9)
    load(other)
    load(root)
    shutil.copy(file_of(other), file_of(root))
    assert_as_read(root, load(root))


@pytest.fixture
def write_protected(monkeypatch):
    """Make folders unwritable, for root too."""
    folders: list[Path] = []
    write = index.write_arrays

    def refuse(path, *args):
        if any(path.is_relative_to(folder) for folder in folders):
            raise PermissionError(13, "Permission denied")
        write(path, *args)

    monkeypatch.setattr(index, "write_arrays", refuse)
    return folders


def test_a_read_only_root_leaves_the_index_in_the_cache(root, reads, write_protected, caplog):
    write_protected.append(root)
    load(root)
    assert_as_read(root, load(root))
    assert reads == ["train", "train"], "the second to compare"
    assert len(list((root.parent / "cache" / "records").iterdir())) == 1 and not caplog.messages


def test_where_nothing_can_be_written_one_line_says_so(root, reads, write_protected, caplog):
    write_protected.append(root.parent)
    load(root)
    (message,) = caplog.messages
    assert message.startswith("No index of train can be stored") and "Permission denied" in message
    assert_as_read(root, load(root))
    assert reads == ["train"] * 3


def test_images_below_linked_folders_are_not_trusted(root, reads, caplog):
    (root / "images" / "more").mkdir()
    (root / "images" / "train" / "page_0.png").rename(root / "images" / "more" / "page_0.png")
    (root / "images" / "train" / "linked").symlink_to(root / "images" / "more")
    path = root / "jsons" / "train.json"
    path.write_text(path.read_text().replace('"page_0.png"', '"linked/page_0.png"'))
    load(root)
    load(root)
    assert reads == ["train", "train"] and not file_of(root).exists()
    assert "images hidden or below linked folders: 1" in caplog.messages[0]


def test_data_that_is_being_written_gets_no_index(root, reads, monkeypatch):
    monkeypatch.setattr(index, "_SETTLED", 60_000_000_000)
    load(root)
    load(root)
    assert reads == ["train", "train"] and not file_of(root).exists()


def test_a_date_in_the_future_keeps_the_index(root, reads, caplog):
    later = time.time_ns() + 10**15
    os.utime(root / "images" / "train" / "page_1.png", ns=(later, later))
    load(root)
    load(root)
    assert reads == ["train"] and not caplog.messages


def test_a_change_in_the_future_is_named(root, reads, monkeypatch, caplog):
    path = root / "images" / "train" / "page_1.png"
    facts = index.file_facts
    later = time.time_ns() + 10**15
    monkeypatch.setattr(
        index,
        "file_facts",
        lambda f: facts(f)._replace(ctime_ns=later) if f.name == path.name else facts(f),
    )
    load(root)
    load(root)
    assert reads == ["train", "train"] and not file_of(root).exists()
    assert caplog.messages[0].startswith(f"No index of train is stored: {path} was changed in the")


def test_a_change_while_reading_leaves_no_index(root, monkeypatch):
    read = annotations.load_records

    def meddle(*args, **options):
        found = read(*args, **options)
        other_time(root)
        return found

    monkeypatch.setattr(annotations, "load_records", meddle)
    load(root)
    assert not file_of(root).exists()


def test_problems_leave_no_index(root):
    (root / "images" / "train" / "page_0.png").unlink()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"annotated images missing \(1\)"):
            load(root)


def test_what_was_skipped_is_not_forgotten(root, reads):
    image = root / "images" / "train" / "page_0.png"
    aside = image.rename(root / "aside.png")
    for _ in range(2):
        found, report = load(root, skip_missing=True)
        assert len(found) == 2 and report.missing == 1
    assert reads == ["train"]
    with pytest.raises(ValueError, match=r"annotated images missing \(1\)"):
        load(root)
    aside.rename(image)
    assert len(load(root, skip_missing=True)[0]) == 3


def test_several_writers_leave_one_whole_index(root):
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(load, [root] * 8):
            assert_as_read(root, found)
    assert [path.name for path in file_of(root).parent.iterdir()] == ["train.bin"]
    assert load(root)[0].file is not None


def test_the_check_looks_for_itself(root, capsys):
    data = DataConfig(root=root, cache_dir=root.parent / "cache", num_workers=0)
    splits.load_records(data, ["train", "val"])
    content = file_of(root).read_bytes()
    looked = []
    scan = annotations.scan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(annotations, "scan", lambda r, s, **k: looked.append(s) or scan(r, s, **k))
        assert splits.check(data, ["train", "val"]) == 0
    assert looked == ["train", "val"] and file_of(root).read_bytes() == content
