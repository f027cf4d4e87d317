"""Roots that hold no data set: one line describes the root and suggests another."""

import subprocess
import sys
from pathlib import Path

import pytest

from dbnet.data.annotations.find import Where, find_source
from dbnet.data.annotations.roots import is_named_for
from dbnet.data.places import check_places
from dbnet.errors import InputError
from dbnet.settings import DataConfig
from tests.drawing import write, write_image

SCRIPTS = Path(__file__).parents[2]
UFO = '{"images": {"a.png": {"words": {}}}}'


def images(folder):
    write_image(folder / "a.png")


def texts(path):
    write(path, UFO)


def data_set(root):
    for split in ("train", "val"):
        images(root / "images" / split)
        texts(root / f"jsons/{split}.json")
    return root


def refused(root, base, *splits):
    with pytest.raises(InputError) as error:
        check_places(DataConfig(root=root), [*(splits or ("train", "val"))])
    return str(error.value).replace(f"{base}/", "")


def test_a_good_root_is_taken(tmp_path):
    check_places(DataConfig(root=data_set(tmp_path)), ["train", "val"])


def test_a_root_that_is_not_there_names_one_like_it(tmp_path):
    data_set(tmp_path / "receipts")
    assert refused(tmp_path / "receipt", tmp_path) == (
        "receipt: no such folder; did you mean receipts?"
    )
    assert refused(tmp_path / "xyz", tmp_path) == "xyz: no such folder; did you mean receipts?"
    assert refused(tmp_path / "gone/xyz", tmp_path) == (
        "gone/xyz: no such folder; gone is not there either; check the path"
    )


def test_a_file_for_a_root_is_told_of_the_folder(tmp_path):
    data_set(tmp_path / "receipts")
    for file in ("jsons/train.json", "images/train/a.png"):
        assert refused(tmp_path / "receipts" / file, tmp_path) == (
            f"receipts/{file}: is a file; did you mean receipts?"
        )
    (tmp_path / "data.zip").write_text("")
    assert "is an archive; unpack it" in refused(tmp_path / "data.zip", tmp_path)


def test_an_empty_folder_is_told(tmp_path):
    (tmp_path / "new").mkdir()
    assert refused(tmp_path / "new", tmp_path).startswith("new: is an empty folder; give")


def test_a_folder_two_levels_above_the_data_set(tmp_path):
    data_set(tmp_path / "all/of/mine")
    assert refused(tmp_path / "all", tmp_path) == (
        "all/images/train: no such folder; it should hold the images; did you mean all/of/mine?"
    )


@pytest.mark.parametrize("name", ["Train.JSON", "train.JSON"])
def test_annotations_with_an_ending_in_upper_case_are_named(tmp_path, name):
    images(tmp_path / "images/train")
    texts(tmp_path / "jsons" / name)
    assert refused(tmp_path, tmp_path, "train").endswith(
        f"found instead: jsons/{name} (UFO); name it with --data.annotations.train jsons/{name}"
    )


def test_a_folder_above_the_data_set_is_told_of_it(tmp_path):
    data_set(tmp_path / "all/mine")
    assert refused(tmp_path / "all", tmp_path).endswith("did you mean all/mine?")
    data_set(tmp_path / "all/theirs")
    assert refused(tmp_path / "all", tmp_path).endswith(
        "all holds several data sets, give one: all/mine, all/theirs"
    )


@pytest.mark.parametrize("inner", ["images", "images/train", "jsons"])
def test_a_folder_inside_the_data_set_is_told_of_it(tmp_path, inner):
    data_set(tmp_path / "mine")
    told = refused(tmp_path / "mine" / inner, tmp_path)
    assert told.endswith("did you mean mine?") and len(told) < 150, "two rows of a terminal"


def test_a_link_to_a_folder_inside_has_no_hint(tmp_path):
    data_set(tmp_path / "mine")
    (tmp_path / "linked").symlink_to(tmp_path / "mine/images")
    assert "did you mean" not in refused(tmp_path / "linked", tmp_path)


def test_folders_of_images_under_other_names_are_told(tmp_path):
    for split in ("Train", "Val"):
        images(tmp_path / "img" / split)
    assert refused(tmp_path, tmp_path).endswith(
        "images lie in img/Train: name it with --data.images.train img/Train"
    )


def test_images_that_are_not_split_are_told_of_the_fraction(tmp_path):
    images(tmp_path / "one/images")
    line = refused(tmp_path / "one", tmp_path)
    assert "all images lie in one/images, without train and val" in line
    assert line.endswith("--data.val-fraction 0.1")


def test_a_missing_val_split_is_told_of_the_fraction(tmp_path):
    images(tmp_path / "images/train")
    images(tmp_path / "images/test")
    texts(tmp_path / "jsons/train.json")
    assert refused(tmp_path, tmp_path).endswith(
        "hold a part of train back with --data.val-fraction 0.1, or name a folder with "
        "--data.images.val, such as images/test"
    )


def test_a_folder_for_images_without_any_is_told(tmp_path):
    (tmp_path / "images/train").mkdir(parents=True)
    assert refused(tmp_path, tmp_path) == (
        "images/train: holds no images; put those of train there"
    )


def test_train_and_val_folders_alone_are_a_layout(tmp_path):
    for split in ("train", "val"):
        images(tmp_path / split)
        texts(tmp_path / f"annotations/{split}.json")
    assert find_source(tmp_path, "train", "auto", Where()).images == tmp_path / "train"


def test_only_annotations_of_the_split_are_proposed(tmp_path):
    images(tmp_path / "images/train")
    texts(tmp_path / "Label_train.json")
    texts(tmp_path / "Label_val.json")
    assert refused(tmp_path, tmp_path, "train").endswith(
        "found instead: Label_train.json (UFO); "
        "name it with --data.annotations.train Label_train.json"
    )
    (tmp_path / "Label_train.json").unlink()
    assert refused(tmp_path, tmp_path, "train").endswith("found instead: Label_val.json (UFO)")


def test_formats_that_are_not_read_are_not_to_be_named(tmp_path):
    images(tmp_path / "images/train")
    (tmp_path / "mmocr.json").write_text('{"data_list": []}')
    assert "mmocr.json (MMOCR 1.x), which is not read; convert it" in refused(tmp_path, tmp_path)


@pytest.mark.parametrize(
    "path, split, named",
    [("Train/a", "train", True), ("train2017", "train", True), ("my_val", "val", True),
     ("valuable", "val", False), ("strain", "train", False)],
)  # fmt: skip
def test_names_of_a_split_are_whole_words(path, split, named):
    assert is_named_for(path, split) == named


@pytest.mark.parametrize("script", ["train.py", "evaluate.py", "profile_val.py"])
def test_the_scripts_tell_it_before_they_import_pytorch(tmp_path, script):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, "--data.root", tmp_path / "nowhere"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{SCRIPTS}", "PATH": ""},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{script}: {tmp_path}/nowhere: no such folder")
    assert len(done.stderr.splitlines()) == 1


def test_a_named_place_with_a_typing_error_is_told(tmp_path):
    images(tmp_path / "images_canonical")
    texts(tmp_path / "texts/train.json")
    with pytest.raises(InputError, match=r"hold the images; did you mean .*/images_canonical\?$"):
        find_source(tmp_path, "train", "auto", Where(images=Path("images_canonicl")))
    where = Where(images=Path("images_canonical"), annotations=Path("texts/trian.json"))
    with pytest.raises(InputError, match=r"annotations; did you mean .*/texts/train\.json\?$"):
        find_source(tmp_path, "train", "auto", where)
