import json
import sys

import pytest

from recipes import receipt_mix
from tests.drawing import contents, write_dataset

FLAGS = ["--held-out", "0.25", "--scene-count", "2"]


@pytest.fixture
def mix(tmp_path, monkeypatch):
    """Runs the recipe on eight receipts and three photos; gives the folder it writes."""
    receipts = write_dataset(tmp_path / "receipts", train=8, val=1)
    photos = write_dataset(tmp_path / "photos", train=3, val=1, seed=1)
    rename(photos)

    def run(*flags: str):
        out = tmp_path / "mix"
        words = [str(out), "--receipts", str(receipts), "--scenes", str(photos), *FLAGS, *flags]
        monkeypatch.setattr(sys, "argv", ["receipt_mix.py", *words])
        receipt_mix.main()
        return out

    return run


def rename(root):
    """Prefix the training images: names of two data sets must differ."""
    path = root / "jsons" / "train.json"
    images = json.loads(path.read_text())["images"]
    for name in images:
        (root / "images/train" / name).rename(root / "images/train" / f"photo_{name}")
    path.write_text(json.dumps({"images": {f"photo_{name}": images[name] for name in images}}))


def test_receipts_are_divided_and_texts_of_photos_ignored(mix):
    out = mix()
    splits = {
        split: json.loads((out / "jsons" / f"{split}.json").read_text())["images"]
        for split in ("train", "val")
    }
    for split, images in splits.items():
        assert set(images) == {path.name for path in (out / "images" / split).iterdir()}
    photos = {name for name in splits["train"] if name.startswith("photo_")}
    assert (len(splits["train"]), len(splits["val"]), len(photos)) == (8, 2, 2)
    assert not set(splits["train"]) & set(splits["val"])
    for name, image in splits["train"].items():
        ignored = [bool(word.get("illegibility")) for word in image["words"].values()]
        assert all(ignored) if name in photos else not any(ignored)


def test_an_existing_folder_is_refused_and_kept(mix, tmp_path):
    before = contents(mix())
    with pytest.raises(SystemExit, match="mix: is there already; choose another OUT"):
        mix("--seed", "5")
    assert contents(tmp_path / "mix") == before


def test_a_missing_teacher_is_told_before_any_copy(mix, monkeypatch, tmp_path):
    monkeypatch.setattr(receipt_mix, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install"):
        mix("--ignore-unlabelled")
    assert not (tmp_path / "mix").exists()
