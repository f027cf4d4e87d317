"""Unusual data: reported before the training, all at once, or trained without a crash."""

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import train
from dbnet.data import splits
from dbnet.data.annotations.scan import scan
from dbnet.data.images import decode_image, image_size
from dbnet.errors import InputError
from tests.drawing import write_dataset
from tests.faults.runs import small

NAN = float("nan")
CIRCLE = [[64 + 40 * np.cos(t), 80 + 40 * np.sin(t)] for t in np.linspace(0, 6.28, 1000)]


def words(*polygons, **more) -> dict:
    return {"words": {f"{n}": {"points": p, **more} for n, p in enumerate(polygons)}}


def quad(x: float, y: float, w: float, h: float) -> list:
    return [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]


ODD = {
    "page_0.png": words(),
    "page_1.png": words(quad(5, 5, 50, 12), illegibility=True),
    "page_2.png": words([[1, 1], [9, 9]], quad(5, 5, 0, 0), [[1, 1], [NAN, 2], [9, 9]]),
    "page_3.png": words([[5, 5], [60, 40], [60, 5], [5, 40]], quad(-900, 5, 20, 10)),
    "page_4.png": words(CIRCLE, quad(-50, -50, 500, 500), quad(100, 140, 60, 60)),
    "page_5.png": words(
        *(quad(x, y, 1.2, 1.4) for x in range(0, 125, 2) for y in range(0, 159, 2))
    ),
    "page_6.png": words(quad(5, 5, 80, 16), quad(5, 40, 80, 16)),
}


COUNTS = {
    "images without legible text": 3,
    "damaged, ignored: fewer than 3 points": 1,
    "repaired: corners reordered": 1,
    "dropped: zero area": 1,
    "dropped: not finite": 1,
    "dropped: outside the image": 1,
}


def write_odd(root: Path) -> Path:
    write_dataset(root, train=len(ODD), val=2)
    (root / "jsons" / "train.json").write_text(json.dumps({"images": ODD}))
    return root


@pytest.mark.faults(
    "no text, ignored only, 4,977 texts, impossible polygons", "counted, trained on, no crash"
)
def test_odd_polygons_are_trained_on(tmp_path, capsys):
    root = write_odd(tmp_path / "odd")
    folder = train.main(small(root, tmp_path, epochs=1))
    table = capsys.readouterr().out
    for name, count in COUNTS.items():
        assert re.search(rf"^ *{name} +{count} +0$", table, re.MULTILINE), (name, table)
    (record,) = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    assert np.isfinite(record["train/loss_total"])


@pytest.mark.faults("images that are missing", "refused, or skipped and counted with a flag")
def test_missing_images_are_skipped_when_asked(tmp_path, capsys):
    root = write_dataset(tmp_path / "pages", train=7, val=2)
    (root / "images" / "train" / "page_3.png").unlink()
    cfg = small(root, tmp_path, epochs=1)
    with pytest.raises(
        InputError, match=r"annotated images missing \(1\): page_3\.png; .*skip-miss"
    ):
        train.main(cfg)
    assert splits.check(cfg.data, ["train", "val"]) == 1
    cfg = replace(cfg, data=replace(cfg.data, skip_missing=True))
    assert splits.check(cfg.data, ["train", "val"]) == 0
    capsys.readouterr()
    folder = train.main(cfg)
    told = capsys.readouterr().out.splitlines()
    assert "annotated images missing      1    0" in told
    assert json.loads((folder / "config.json").read_text())["built"]["images"]["train"] == 6


@pytest.mark.faults("names beyond ASCII, with blanks, very long", "used like any other")
def test_images_of_odd_names_are_read(tmp_path):
    root = write_dataset(tmp_path / "pages", train=3, val=2)
    path = root / "jsons" / "train.json"
    images = json.loads(path.read_text())["images"]
    names = ["영수증 №1 (é).png", "x" * 251 + ".png", " - .png"]
    for old, new in zip(list(images), names, strict=True):
        images[new] = images.pop(old)
        (root / "images" / "train" / old).rename(root / "images" / "train" / new)
    path.write_text(json.dumps({"images": images}, ensure_ascii=False), encoding="utf-8")
    folder = train.main(small(root, tmp_path, epochs=1))
    assert json.loads((folder / "config.json").read_text())["built"]["images"]["train"] == 3


SETTINGS = settings(
    max_examples=300, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# Values as a careless tool writes them: near the right shape, with the known keys.
KEYS = [
    "images",
    "words",
    "points",
    "transcription",
    "illegibility",
    "id",
    "file_name",
    "width",
    "height",
    "annotations",
    "image_id",
    "segmentation",
    "bbox",
    "attributes",
    "iscrowd",
    "shapes",
    "shape_type",
    "imageWidth",
    "imageHeight",
    "img_w",
    "img_h",
    "a.png",
    "b.png",
    "../a.png",
    "0",
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 90),
    st.sampled_from([10**400, -1, 0, 1e308]),
    st.floats(-50, 200),
    st.just(NAN),
    st.sampled_from([*KEYS, "polygon", "rectangle", "###", "", "\0"]),
)
POINTS = st.lists(st.lists(st.floats(-20, 120) | st.just(NAN), min_size=2, max_size=2), max_size=6)
VALUES = st.recursive(
    SCALARS | POINTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=12,
)
WORD = st.fixed_dictionaries({"points": POINTS | VALUES}, optional={"transcription": SCALARS})
UFO = st.fixed_dictionaries(
    {
        "images": st.dictionaries(
            st.sampled_from(["a.png", "b.png", "../a.png", ""]),
            st.fixed_dictionaries({"words": st.dictionaries(st.text(max_size=2), WORD | VALUES)}),
        )
    }
)
COCO = st.fixed_dictionaries(
    {
        "images": st.lists(
            st.fixed_dictionaries({"id": SCALARS, "file_name": st.just("a.png") | SCALARS}),
            max_size=3,
        ),
        "annotations": st.lists(
            st.fixed_dictionaries({"image_id": SCALARS, "segmentation": VALUES, "bbox": VALUES}),
            max_size=3,
        ),
    }
)
LABELME = st.fixed_dictionaries(
    {
        "shapes": st.lists(
            st.fixed_dictionaries(
                {"points": POINTS | VALUES, "shape_type": st.sampled_from(["polygon", "rectangle"])}
            )
            | VALUES
        )
    }
)
PLACES = {
    "ufo": ("jsons/train.json", UFO),
    "coco": ("annotations/train.json", COCO),
    "labelme": ("jsons/train/a.json", LABELME),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("fuzz")
    (root / "images" / "train").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(root / "images" / "train" / name), np.zeros((50, 100, 3), np.uint8))
    return root


@pytest.mark.faults("annotations fuzzed, 1,200 files", "problems and counts, never a crash")
@pytest.mark.parametrize("format", PLACES)
def test_fuzzed_annotations_are_reported_without_a_crash(root, format):
    place, documents = PLACES[format]
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)

    @SETTINGS
    @given(documents | VALUES)
    def check(document):
        path.write_text(json.dumps(document), encoding="utf-8")
        records, report = scan(root, "train", format=format)
        for record in records:
            assert record.image_id in ("a.png", "b.png")
            assert len(record.polygons) == len(record.texts) == len(record.ignored)
            for polygon in record.polygons:
                assert polygon.dtype == np.float32 and len(polygon) >= 3
                assert np.isfinite(polygon).all()
        assert all("\n" not in problem for problem in report.problems)

    check()


@pytest.mark.faults("ICDAR files of any bytes", "problems and counts, never a crash")
def test_fuzzed_bytes_as_icdar_are_told_not_crashed_on(root):
    path = root / "gts" / "train" / "a.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    line = st.lists(st.sampled_from(["1", "90", "-3.5", "nan", "1e999", "", "####", "a", "가"]))
    lines = st.lists(line.map(",".join), max_size=6).map("\n".join).map(str.encode)

    @SETTINGS
    @given(lines | st.binary(max_size=60))
    def check(content):
        path.write_bytes(content)
        records, report = scan(root, "train", format="icdar")
        assert len(records) == 1 or report.problems
        assert all("\n" not in problem for problem in report.problems)

    check()


@pytest.mark.faults("image files with bytes changed or cut", "read, or refused with their name")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "bmp"])
def test_damaged_image_files_are_read_or_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    cv2.imwrite(str(path), pixels)
    whole = path.read_bytes()

    @SETTINGS
    @given(st.integers(0, len(whole) - 1), st.integers(0, 255), st.booleans())
    def check(place, value, cut):
        damaged = bytearray(whole)
        damaged[place] = value
        path.write_bytes(damaged[:place] if cut else damaged)
        for read in (image_size, decode_image):
            try:
                read(path)
            except InputError as error:
                assert str(error).startswith(f"{path}: ")

    check()


@pytest.mark.faults("a first image cut off", "one line with its name and what to do")
def test_a_damaged_first_image_is_one_line(tmp_path):
    root = write_dataset(tmp_path / "pages", train=4, val=1)
    for path in (root / "images" / "train").iterdir():
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(
        InputError, match=r"images/train/.*; no checkpoint was saved yet: delete .*/run"
    ):
        train.main(small(root, tmp_path))
