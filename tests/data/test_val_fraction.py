"""--data.val-fraction: validation images of a data set that has no val split."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dbnet.data import splits
from dbnet.data.annotations.find import Where
from dbnet.data.annotations.scan import load_records
from dbnet.data.annotations.sides import Side
from dbnet.data.places import check_places
from dbnet.data.storage import index
from dbnet.errors import InputError
from dbnet.settings import DataConfig, SplitPaths

QUAD = [[10, 10], [60, 10], [60, 30], [10, 30]]
FLAT = [value for point in QUAD for value in point]
N = 40


def draw(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((50, 80, 3), value, np.uint8)).save(path)


def names(count=N):
    return [f"{i:02}.png" for i in range(count)]


def ufo(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    words = {"words": {"1": {"points": QUAD}}}
    path.write_text(json.dumps({"images": {name: words for name in files}}))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Forty different images in images/train, and no val split."""
    monkeypatch.setattr(index, "_SETTLED", 0)  # files as new as these are kept in an index too
    root = tmp_path / "set"
    for i, name in enumerate(names()):
        draw(root / "images/train" / name, i)
    ufo(root / "jsons/train.json", names())
    return root


def config(root, **settings):
    defaults = {"val_fraction": 0.3, "num_workers": 0, "cache_dir": root.parent / "cache"}
    return DataConfig(root=root, **defaults | settings)


def ids(cfg):
    records = splits.load_records(cfg, ["train", "val"])
    return [{record.image_id for record in records[split]} for split in ("train", "val")]


def test_every_image_is_on_one_side(root):
    train, val = ids(config(root))
    assert train | val == set(names()) and not train & val
    assert 4 <= len(val) <= 20


def test_the_same_images_each_time_and_others_by_another_seed(root):
    first = ids(config(root))
    assert ids(config(root)) == first
    assert ids(config(root, cache_dir=root.parent / "other")) == first
    assert ids(config(root, val_seed=1)) != first
    assert ids(config(root)) == first  # the index of another seed is not taken


def test_copies_are_on_the_side_of_their_original(root):
    copies = []
    for name in names():
        for copy in (f"copy_{name}", f"sub/again_{name}"):
            target = root / "images/train" / copy
            target.parent.mkdir(exist_ok=True)
            target.write_bytes((root / "images/train" / name).read_bytes())
            copies.append(copy)
    ufo(root / "jsons/train.json", [*names(), *copies])
    train, val = ids(config(root))
    for name in names():
        assert len({(each in val) for each in (name, f"copy_{name}", f"sub/again_{name}")}) == 1
    assert len(train) + len(val) == 3 * N


def test_added_images_move_no_other(root):
    before = ids(config(root))
    for i in range(5):
        draw(root / f"images/train/new{i}.png", 100 + i)
    ufo(root / "jsons/train.json", [*names(), *(f"new{i}.png" for i in range(5))])
    after = ids(config(root))
    assert before[0] <= after[0] and before[1] <= after[1]


def test_a_larger_fraction_keeps_what_was_held_back(root):
    assert ids(config(root, val_fraction=0.2))[1] <= ids(config(root, val_fraction=0.5))[1]


def test_the_index_sees_an_image_that_was_replaced(root):
    val = ids(config(root))[1]
    for name in names():
        draw(root / "images/train" / name, 200 - int(name[:2]))
    side = Side(True, 0.3, 0)
    expected = {name for name in names() if side.holds(root / "images/train" / name)}
    assert ids(config(root))[1] == expected != val


def test_the_second_start_reads_no_image(root, monkeypatch):
    first = ids(config(root))
    monkeypatch.setattr(Side, "holds", None)
    assert ids(config(root)) == first


def test_check_only_tells_both_sizes(root, capsys):
    train, val = ids(config(root))
    capsys.readouterr()
    assert splits.check(config(root), ["train", "val"]) == 0
    table = [line.split(", ")[:2] for line in capsys.readouterr().out.splitlines()]
    assert table[0] == ["train: ufo", f"{len(train)} images"]
    assert table[1] == ["val: ufo", f"{len(val)} images"]


def test_problems_of_the_file_are_told_once(root, capsys):
    content = json.loads((root / "jsons/train.json").read_text())
    content["images"]["00.png"]["words"]["1"]["points"] = "none"
    content["images"]["gone.png"] = {"words": {}}
    (root / "jsons/train.json").write_text(json.dumps(content))
    draw(root / "images/train/unused.png", 77)
    assert splits.check(config(root), ["train", "val"]) == 1
    told = capsys.readouterr().out
    assert told.count("problem: ") == 2 and "problems: 2" in told
    assert told.count("images without a readable annotation, not used (1)") == 1


# Formats and layouts


def coco(path, files):
    images = [{"id": i, "file_name": name} for i, name in enumerate(files)]
    texts = [{"id": i, "image_id": i, "segmentation": [FLAT]} for i in range(len(files))]
    path.write_text(json.dumps({"images": images, "annotations": texts}))


def paddle(path, files):
    words = json.dumps([{"transcription": "a", "points": QUAD}])
    path.write_text("".join(f"images/{name}\t{words}\n" for name in files))


def icdar(folder, files):
    folder.mkdir()
    for name in files:
        (folder / name).with_suffix(".txt").write_text(",".join(map(str, FLAT)) + ",a\n")


def yolo(folder, files):
    folder.mkdir()
    for name in files:
        (folder / name).with_suffix(".txt").write_text("0 .1 .1 .5 .1 .5 .5 .1 .5\n")


@pytest.mark.parametrize(
    "write, place, format",
    [
        (ufo, "all.json", "ufo"),
        (coco, "instances_default.json", "coco"),
        (paddle, "Label.txt", "paddle"),
        (icdar, "gts", "icdar"),
        (icdar, "annotations", "icdar"),
        (yolo, "labels", "yolo"),
    ],
)
def test_one_folder_of_images_is_split_in_any_format(tmp_path, write, place, format):
    root = tmp_path / "set"
    for i, name in enumerate(names(12)):
        draw(root / "images" / name, i)
    write(root / place, names(12))
    sides = [
        load_records(root, split, format="auto", where=Where(side=Side(split == "val", 0.4, 0)))
        for split in ("train", "val")
    ]
    assert [report.format for _, report in sides] == [format] * 2
    assert sorted(sides[0][0].image_ids() + sides[1][0].image_ids()) == names(12)
    assert all(report.texts == report.images > 0 for _, report in sides)


def test_images_in_the_root_itself_are_split(tmp_path):
    root = tmp_path / "set"
    for i, name in enumerate(names(12)):
        draw(root / name, i)
    coco(root / "annotations.json", names(12))
    (root / "README.txt").write_text("receipts\n")
    train, val = ids(config(root, val_fraction=0.4))
    assert sorted(train | val) == names(12)


def test_named_places_of_train_are_those_of_both(root):
    (root / "images").rename(root / "scans")
    (root / "jsons/train.json").rename(root / "texts.json")
    places = {
        "images": SplitPaths(train=root / "scans/train"),
        "annotations": SplitPaths(train=root / "texts.json"),
    }
    train, val = ids(config(root, **places))
    assert train | val == set(names()) and not train & val


# Refused


def refused(call):
    with pytest.raises(InputError) as error:
        call()
    return str(error.value)


def test_a_val_split_beside_it_is_refused(root):
    draw(root / "images/val/a.png", 1)
    line = refused(lambda: check_places(config(root), ["train", "val"]))
    assert line.startswith(f"{root}/images/val: is a val split")
    check_places(config(root, val_fraction=0.0), ["train"])


def test_pairs_that_make_no_sense_are_refused(root):
    line = refused(lambda: DataConfig(val_fraction=0.1))
    assert line.startswith("--data.val-fraction: is for your own images")
    line = refused(lambda: config(root, images=SplitPaths(val=root)))
    assert "leave --data.images.val or the fraction out" in line
    assert refused(lambda: DataConfig(root=root, val_seed=1)).startswith("--data.val-seed: is for")
    assert "--data.val-fraction 1" in refused(lambda: config(root, val_fraction=1))


def test_a_side_without_images_is_refused(root):
    cfg = config(root, val_fraction=1e-6)
    line = refused(lambda: splits.load_records(cfg, ["train", "val"]))
    assert "--data.val-fraction 1e-06 leaves no image to val (images: 40)" in line
    cfg = replace(cfg, val_fraction=1 - 1e-9)
    assert "to train" in refused(lambda: splits.load_records(cfg, ["train", "val"]))
