"""python -m dbnet.convert: reading back the result gives the source."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dbnet.convert import main
from dbnet.data.annotations.formats import FORMATS
from dbnet.data.annotations.scan import load_records
from dbnet.data.annotations.writers import WRITERS
from dbnet.errors import InputError
from tests.programs import run_program, said_before_torch

QUAD = [[10.1, 5.0], [40.25, 6.0], [40.0, 15.7], [10.0, 14.0]]
PENTAGON = [[50, 5], [70, 3], [90, 5], [90, 15], [50, 15]]
TRIANGLE = [[5.5, 60.25], [45, 60], [25, 75]]
HEPTAGON = [[50, 40], [60, 37], [75, 36], [90, 40], [90, 50], [70, 46], [50, 50]]
WORDS = [
    (QUAD, "TOTAL 1,50", False),
    (QUAD, "1,234,567,890", False),
    (PENTAGON, "12,50", False),
    (TRIANGLE, "", False),
    (HEPTAGON, 'größer "quoted"', False),
    (HEPTAGON, "###", True),
]


@pytest.fixture
def source(tmp_path):
    """Two splits of two images each, one in a sub-folder, one without text."""
    root = tmp_path / "source"
    for split in ("train", "val"):
        content = {}
        for name, words in (("a.png", WORDS), ("b/a.jpg", [])):
            path = root / "images" / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (100, 80), "white").save(path)
            content[name] = {
                "words": {
                    str(i): {"points": points, "transcription": text, "illegibility": ignored}
                    for i, (points, text, ignored) in enumerate(words)
                }
            }
        (root / "jsons").mkdir(exist_ok=True)
        (root / "jsons" / f"{split}.json").write_text(json.dumps({"images": content}))
    return root


def contents(root, split, format="auto"):
    records = load_records(root, split, format=format)[0]
    return [
        (
            record.image_id,
            [polygon.tolist() for polygon in record.polygons],
            record.texts,
            record.ignored.tolist(),
            Path(record.image_path).read_bytes(),
        )
        for record in records
    ]


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("to", WRITERS)
def test_a_round_trip_keeps_polygons_texts_and_images(source, tmp_path, to, link):
    main(source, to=to, out=tmp_path / "there", link=link)
    main(tmp_path / "there", to="ufo", out=tmp_path / "back")
    for split in ("train", "val"):
        assert contents(tmp_path / "there", split, to) == contents(source, split)
        assert contents(tmp_path / "back", split) == contents(source, split)


BOX = [[50, 20], [90, 20], [90, 30], [50, 30]]
FLAT = [50, 20, 90, 20, 90, 30, 50, 30]
REGION = {"shape_attributes": {"name": "rect", "x": 50, "y": 20, "width": 40, "height": 10}}
LABELSTUDIO = {
    "type": "rectanglelabels",
    "id": "1",
    "original_width": 100,
    "original_height": 80,
    "value": {"x": 50, "y": 25, "width": 40, "height": 12.5, "rotation": 0},
}
SMALLEST = {
    "ufo": ("jsons/train.json", {"images": {"a.png": {"words": {"1": {"points": BOX}}}}}),
    "coco": (
        "annotations/instances_train.json",
        {
            "images": [{"id": 1, "file_name": "a.png"}],
            "annotations": [{"image_id": 1, "segmentation": [FLAT]}],
        },
    ),
    "icdar": ("gts/train/gt_a.txt", "50,20,90,20,90,30,50,30,x"),
    "labelme": (
        "annotations/train/a.json",
        {"imagePath": "a.png", "shapes": [{"label": "x", "points": BOX, "shape_type": "polygon"}]},
    ),
    "paddle": ("train.txt", "a.png\t" + json.dumps([{"transcription": "x", "points": BOX}])),
    "doctr": (
        "labels/train.json",
        {"a.png": {"img_dimensions": [80, 100], "img_hash": "0", "polygons": [BOX]}},
    ),
    "labelstudio": (
        "annotations/train.json",
        [{"data": {"image": "a.png"}, "annotations": [{"result": [LABELSTUDIO]}]}],
    ),
    "cvat": (
        "annotations/train.xml",
        '<annotations><version>1.1</version><image id="0" name="a.png" width="100" height="80">'
        '<polygon label="text" points="50,20;90,20;90,30;50,30"/></image></annotations>',
    ),
    "via": ("annotations/train.json", {"a.png9": {"filename": "a.png", "regions": [REGION]}}),
    "voc": (
        "annotations/train/a.xml",
        "<annotation><filename>a.png</filename><size><width>100</width><height>80</height></size>"
        "<object><name>text</name><bndbox><xmin>51</xmin><ymin>21</ymin><xmax>91</xmax>"
        "<ymax>31</ymax></bndbox></object></annotation>",
    ),
    "yolo": ("labels/train/a.txt", "0 .5 .25 .9 .25 .9 .375 .5 .375"),
}


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_that_is_read_is_converted(tmp_path, format):
    place, content = SMALLEST[format]
    (tmp_path / "in/images/train").mkdir(parents=True)
    Image.new("RGB", (100, 80)).save(tmp_path / "in/images/train/a.png")
    path = tmp_path / "in" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    before = contents(tmp_path / "in", "train", format)
    assert np.abs(np.subtract(before[0][1], [BOX])).max() <= 1  # VOC counts pixels from 1
    for to in WRITERS:
        main(tmp_path / "in", to=to, out=tmp_path / to, format=format)
        assert contents(tmp_path / to, "train", to)[0][1:] == before[0][1:]


def test_what_a_format_cannot_hold_is_counted(tmp_path, capsys):
    words = [(QUAD, "secret", True), (QUAD, "two\nlines", False), (QUAD, "*", False)]
    content = {
        str(i): {"points": points, "transcription": text, "illegibility": ignored}
        for i, (points, text, ignored) in enumerate(words)
    }
    (tmp_path / "in/images/train").mkdir(parents=True)
    (tmp_path / "in/jsons").mkdir()
    Image.new("RGB", (100, 80)).save(tmp_path / "in/images/train/a.png")
    (tmp_path / "in/jsons/train.json").write_text(
        json.dumps({"images": {"a.png": {"words": content}}})
    )
    main(tmp_path / "in", to="icdar", out=tmp_path / "icdar")
    said = capsys.readouterr().out
    assert "train: transcriptions of ignored texts become ###" in said
    assert "train: line breaks and blanks around texts become" in said
    assert contents(tmp_path / "icdar", "train")[0][2] == ["###", "two lines", "*"]
    main(tmp_path / "in", to="paddle", out=tmp_path / "paddle")
    assert "train: the transcription * stands for an ignored" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, message",
    [
        ({"out": "source"}, "is there already"),
        ({"source": "nowhere"}, "no such folder"),
        ({"images": Path("images/train")}, "name it with --splits"),
        ({"splits": ("test",)}, "source: has no images/test; images lie in .*: give --splits NAME"),
        ({"source": "sauce"}, r"sauce: no such folder; did you mean .*/source\?$"),
        ({"source": "source/images/train"}, r"lies inside a data set: did you mean .*/source\?$"),
        ({"source": "source/jsons/train.json"}, r"is a file; did you mean .*/source\?$"),
        ({"source": "."}, r"\: has no images/train or .*; did you mean .*/source\?$"),
    ],
)
def test_wrong_arguments_are_one_line(source, tmp_path, options, message):
    values = {"source": "source", "out": "out", "to": "ufo"} | options
    values |= {name: tmp_path / values[name] for name in ("source", "out")}
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        main(**values)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_source_that_is_no_data_set_says_what_it_is(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: is an empty folder; give the folder that holds"):
        main(tmp_path / "empty", to="ufo", out=tmp_path / "out")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/Label.txt").write_text("")
    with pytest.raises(InputError, match=r"or images/test; .*texts holds no images$"):
        main(tmp_path / "texts", to="ufo", out=tmp_path / "out")
    (tmp_path / "mine/scans").mkdir(parents=True)
    Image.new("RGB", (100, 80)).save(tmp_path / "mine/scans/a.png")
    with pytest.raises(InputError, match=r"images lie in scans: give --splits NAME --images"):
        main(tmp_path / "mine", to="ufo", out=tmp_path / "out")


def test_two_images_that_would_share_a_file_are_refused(source, tmp_path):
    folder = source / "images/train"
    Image.new("RGB", (100, 80)).save(folder / "a.jpg")
    content = json.loads((source / "jsons/train.json").read_text())
    content["images"]["a.jpg"] = {"words": {}}
    (source / "jsons/train.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"a\.png and a\.jpg: ICDAR has one file, gt_a\.txt"):
        main(source, to="icdar", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_one_split_from_named_places_is_converted(tmp_path):
    (tmp_path / "in/scans").mkdir(parents=True)
    Image.new("RGB", (100, 80)).save(tmp_path / "in/scans/a.png")
    (tmp_path / "in/labels.json").write_text(json.dumps(SMALLEST["ufo"][1]))
    places = {"images": Path("scans"), "annotations": Path("labels.json")}
    main(tmp_path / "in", to="coco", out=tmp_path / "out", splits=("val",), **places)
    assert contents(tmp_path / "out", "val")[0][1] == [BOX]


@pytest.mark.parametrize("splits", [("train", "val"), ("train",), ("val",)])
def test_the_printed_command_runs_on_what_was_converted(source, tmp_path, splits, capsys):
    for listing in (source / "jsons").iterdir():  # text in both images, so that each part has some
        images = json.loads(listing.read_text())["images"]
        listing.write_text(json.dumps({"images": dict.fromkeys(images, images["a.png"])}))
    main(source, to="coco", out=tmp_path / "out", splits=splits)
    _, command = capsys.readouterr().out.splitlines()[-1].split(": python ")
    done = run_program(*shlex.split(command), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_help_does_not_import_torch():
    said = said_before_torch("dbnet.convert", "--help")
    assert said.splitlines()[-1] in ("0", "None")
    assert "python -m dbnet.convert" in said
