"""Each annotation format: exact outlines, texts and marks; errors name their place."""

import json
from typing import get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image

from dbnet.data.annotations.formats import FORMATS
from dbnet.data.annotations.scan import load_records, scan
from dbnet.settings import DataConfig
from tests.drawing import write, write_image

QUAD = [[10.5, 5.0], [40.25, 6.0], [40.0, 15.0], [10.0, 14.0]]
BOX = [[50, 20], [90, 20], [90, 30], [50, 30]]
# BOX turned by a quarter, clockwise on the screen, about its centre and about its first corner.
ABOUT_CENTRE = [[75, 5], [75, 45], [65, 45], [65, 5]]
ABOUT_CORNER = [[50, 20], [50, 60], [40, 60], [40, 20]]


@pytest.fixture
def root(tmp_path):
    """images/train/a.png of 100 x 80 pixels, without annotations."""
    write_image(tmp_path / "images/train/a.png", (100, 80))
    return tmp_path


def texts_of(root, format, **options):
    """Polygons, texts and ignored of a.png, with the format named and recognised by content."""
    found = [load_records(root, "train", format=f, **options)[0] for f in ("auto", format)]
    assert [record.image_id for record in found[0]] == ["a.png"]
    for record in (found[0][0], found[1][0]):
        polygons = [np.round(polygon, 3).tolist() for polygon in record.polygons]
    return polygons, record.texts, record.ignored.tolist()


def problems_of(root, format):
    report = scan(root, "train", format=format)[1]
    return [problem.removeprefix(f"{root}/") for problem in report.problems]


def notes_of(root):
    return [note.removeprefix(f"{root}/") for note in scan(root, "train", format="auto")[1].notes]


def test_the_setting_names_every_format():
    assert get_args(get_type_hints(DataConfig)["format"]) == ("auto", *FORMATS)


UNSIZED = {
    "ufo": ("jsons/train.json", {"images": {"a.png": {"words": {}, "img_w": 0, "img_h": 0}}}),
    "coco": (
        "annotations/train.json",
        {
            "images": [{"id": 1, "file_name": "a.png", "width": 0, "height": 0}],
            "annotations": [],
        },
    ),
    "labelme": ("jsons/train/a.json", {"shapes": [], "imageWidth": 0, "imageHeight": 0}),
}


@pytest.mark.parametrize("format", UNSIZED)
def test_a_size_of_zero_is_not_stated(root, format):
    write(root / UNSIZED[format][0], UNSIZED[format][1])
    assert texts_of(root, format) == ([], [], [])


# PaddleOCR


PADDLE = [
    {"transcription": "Tea, hot", "points": QUAD, "difficult": False},
    {"transcription": "###", "points": BOX},
    {"transcription": "*", "points": BOX},
    {"transcription": "blurred", "points": QUAD[:3], "difficult": True},
]


@pytest.mark.parametrize("place", ["images/train/Label.txt", "train.txt", "annotations/train.txt"])
@pytest.mark.parametrize("name", ["a.png", "train/a.png", "images/train/a.png", "train\\a.png"])
def test_paddle_files_are_read_as_written(root, place, name):
    write(root / place, f"{name}\t{json.dumps(PADDLE)}\n\n")
    polygons, texts, ignored = texts_of(root, "paddle")
    assert polygons == [QUAD, BOX, BOX, QUAD[:3]]
    assert texts == ["Tea, hot", "###", "*", "blurred"]
    assert ignored == [False, True, True, True]


def test_files_of_ppocrlabel_beside_its_labels_are_no_rivals(root):
    write(root / "images/train/Label.txt", f"train/a.png\t{json.dumps(PADDLE)}\n")
    write(root / "images/train/fileState.txt", "train/a.png\t1\n")
    write(root / "images/train/rec_gt.txt", "crop_img/a_crop_0.jpg\tTea, hot\n")
    assert len(texts_of(root, "paddle")[0]) == 4


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png", 'line 2: no tab behind the image\'s name: "a.png"'),
        ("a.png\t[1", "line 2: no valid JSON behind the tab, column 3: Expecting ',' delimiter"),
        ("a.png\t{}", "line 2: found {}; must be a list"),
        ("a.png\t[1]", "line 2: [0]: found 1; must be an object"),
        ('a.png\t[{"points": 5}]', "line 2: [0]/points: must be a list of [x, y] pairs, found 5"),
        ('a.png\t[{"points": [], "difficult": 1}]', "line 2: [0]/difficult: found 1; must be true"),
    ],
)
def test_paddle_lines_of_wrong_shape_are_refused(root, line, message):
    write(root / "train.txt", f"b.png\t[]\n{line}\n")
    Image.new("RGB", (9, 9)).save(root / "images/train/b.png")
    (problem,) = problems_of(root, "paddle")
    assert problem.startswith(f"train.txt, {message}")


# docTR


@pytest.mark.parametrize("polygons", [[QUAD, BOX], {"words": [QUAD], "numbers": [BOX]}])
def test_doctr_files_are_read_as_written(root, polygons):
    content = {"a.png": {"img_dimensions": [80, 100], "img_hash": "0", "polygons": polygons}}
    write(root / "images/train/labels.json", content)
    assert texts_of(root, "doctr") == ([QUAD, BOX], ["", ""], [False, False])


@pytest.mark.parametrize("size", [[80, 100], [100, 80], [0, 0], None])
def test_doctr_sizes_of_both_orders_are_accepted(root, size):
    write(root / "labels/train.json", {"a.png": {"img_dimensions": size, "polygons": [QUAD]}})
    assert texts_of(root, "doctr") == ([QUAD], [""], [False])


def test_doctr_folders_of_its_own_layout_are_read(tmp_path):
    for split in ("train", "val"):
        path = tmp_path / split / "images/a.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (100, 80)).save(path)
        write(tmp_path / split / "labels.json", {"a.png": {"polygons": [QUAD]}})
        records, _ = load_records(tmp_path, split, format="auto")
        assert records[0].image_path == str(path)


WRONG_DOCTR = [
    ({"a.png": {"polygons": 1}}, "a.png/polygons: found 1; must be a list or an object"),
    ({"a.png": {"polygons": [[1]]}}, "a.png/polygons[0]: must be a list of [x, y] pairs"),
    ({"a.png": {"polygons": {"w": [5]}}}, "a.png/polygons/w[0]: must be a list of [x, y]"),
    ({"a.png": {"img_hash": ""}}, "a.png/polygons: is missing; must be a list or an object"),
    (
        {"a.png": {"img_dimensions": [160, 200], "polygons": [BOX]}},
        "a.png: annotated at 200 x 160 pixels, but the upright image has 100 x 80",
    ),
    (
        {"a.png": {"img_dimensions": "80x100", "polygons": [BOX]}},
        'a.png/img_dimensions: must be [height, width], found "80x100"',
    ),
]


# Label Studio


SIZE = {"original_width": 100, "original_height": 80}


def region(kind, key="r1", **value):
    return {"id": key, "type": kind, "value": value, **SIZE}


def box_region(kind="rectangle", key="r1", rotation=0):
    return region(kind, key, x=50, y=25, width=40, height=12.5, rotation=rotation)


def task(*results, image="/data/upload/1/0a1b2c3d-a.png", **annotation):
    return {"id": 1, "data": {"ocr": image}, "annotations": [{"result": results, **annotation}]}


def test_labelstudio_names_may_hold_the_signs_of_an_address(root):
    (root / "images/train/a.png").rename(root / "images/train/a#1 %20.png")
    write(root / "jsons/train.json", [task(box_region(), image="a#1 %20.png")])
    assert [record.image_id for record in load_records(root, "train", format="auto")[0]] == [
        "a#1 %20.png"
    ]


@pytest.mark.parametrize(
    "image",
    [
        "a.png",
        "/data/upload/1/0a1b2c3d-a.png",
        "/data/local-files/?d=receipts%5Ctrain%2Fa.png",
        "https://bucket.example/receipts/a.png?sig=1",
        "s3://bucket/receipts/a.png",
    ],
)
def test_labelstudio_files_are_read_as_written(root, image):
    quad = [[x, y * 1.25] for x, y in QUAD]  # per cent of 100 x 80 pixels
    part = box_region()
    text = region("textarea", "r1", text=["Tea"], **part["value"])
    labels = region("labels", "r1", labels=["Text"], **part["value"])
    results = (
        *(part, labels, text),
        region("polygonlabels", "r2", points=quad, polygonlabels=["Text"]),
        box_region("rectanglelabels", "r3", rotation=90),
        region("choices", "whole", choices=["good"]),
        {"type": "relation", "from_id": "r1", "to_id": "r2"},
    )
    write(root / "jsons/train.json", [task(*results, image=image)])
    polygons, texts, ignored = texts_of(root, "labelstudio")
    assert polygons == [BOX, QUAD, ABOUT_CORNER]
    assert texts == ["Tea", "", ""]
    assert ignored == [False] * 3


def test_labelstudio_regions_of_other_shapes_are_named(root):
    results = [box_region(), region("ellipselabels", "e", x=5, y=5, radiusX=2, radiusY=2)]
    write(root / "train.json", [task(*results, region("brushlabels", "b", rle=[1]))])
    _, report = load_records(root, "train", format="auto")
    assert report.damaged == {"shape ellipse": 1}
    assert report.dropped == {"region brushlabels": 1}


def test_labelstudio_tasks_that_nobody_finished_are_no_empty_images(root):
    write(root / "train.json", [task(box_region(), was_cancelled=True)])
    records, report = load_records(root, "train", format="auto")
    assert (len(records), report.unannotated) == (0, 1)


def test_labelstudio_reads_one_of_several_annotations(root):
    other = {"result": [box_region(rotation=90)], "ground_truth": True}
    content = task(box_region())
    content["annotations"] = [*content["annotations"], other, *content["annotations"]]
    write(root / "train.json", [content])
    assert texts_of(root, "labelstudio")[0] == [ABOUT_CORNER]
    assert notes_of(root) == ["train.json: [0]: 3 annotations, one of them is read"]


WRONG_LABELSTUDIO = [
    ({}, "found {}; must be a list"),
    ([{"data": {"text": "x"}}], '[0]/data: names no image: {"text": "x"}'),
    ([{"data": {"image": "a.png"}}], "[0]/completions: is missing; must be a list"),
    ([task({"value": 1}, 5)], "[0]/result[1]: found 5; must be an object"),
    (
        [task({"value": {"x": 1, "width": 1}})],
        "[0]/result[0]/original_width: is missing; must be an integer or a number",
    ),
    ([task(region("polygon", points=[1]))], "[0]/result[0]/value/points: must be a list of"),
    ([task(region("rectangle", x=1, width=2))], "[0]/result[0]/value/y: is missing"),
    (
        [task({**box_region(), "image_rotation": 90})],
        "[0]/result[0]/image_rotation: the image was turned; save it turned instead",
    ),
    (
        [task({**box_region(), "original_width": 99})],
        "[0]: annotated at 99 x 80 pixels, but the upright image has 100 x 80",
    ),
]


# CVAT


def cvat(*shapes, name="a.png", width=100):
    image = f'<image id="0" name="{name}" width="{width}" height="80">{"".join(shapes)}</image>'
    return f"<?xml version='1.0'?><annotations><version>1.1</version>\n{image}\n</annotations>"


CVAT_BOX = 'label="text" xtl="50" ytl="20" xbr="90" ybr="30"'


@pytest.mark.parametrize(
    "place", ["annotations/train.xml", "train.xml", "images/train/annotations.xml"]
)
def test_cvat_files_are_read_as_written(root, place):
    points = ";".join(f"{x},{y}" for x, y in QUAD)
    content = cvat(
        f'<polygon label="text" points="{points}"><attribute name="text">1 &lt; 2</attribute>'
        '<attribute name="illegible">false</attribute></polygon>',
        f'<box {CVAT_BOX}><attribute name="illegible">true</attribute></box>',
        f'<box {CVAT_BOX} rotation="90"/>',
        '<tag label="receipt"/>',
        '<mask label="text" rle="1, 2" left="50" top="20" width="40" height="10"/>',
        '<polyline label="text" points="1,1;2,2;3,1"/>',
    )
    write(root / place, content)
    polygons, texts, ignored = texts_of(root, "cvat")
    assert polygons == [QUAD, BOX, ABOUT_CENTRE, BOX, [[1, 1], [2, 2], [3, 1]]]
    assert texts == ["1 < 2", "", "", "", ""]
    assert ignored == [False, True, False, False, True]
    report = scan(root, "train", format="auto")[1]
    assert (report.repaired, report.damaged) == ({"box of a mask": 1}, {"shape polyline": 1})
    assert report.dropped == {}


def test_a_large_cvat_file_is_read_like_a_small_one(root):
    shapes = f"<box {CVAT_BOX}><attribute name='text'>{'x' * 1000}</attribute></box>" * 200
    write(root / "train.xml", cvat(shapes))
    polygons, texts, _ = texts_of(root, "cvat")
    assert polygons == [BOX] * 200
    assert texts == ["x" * 1000] * 200


WRONG_CVAT = [
    (cvat("<box/>"), "train.xml, line 2: a.png, box: xtl is missing; must be a number"),
    (
        cvat('<polygon points="1;2"/>'),
        'train.xml, line 2: a.png, polygon: points must be x,y;x,y;..., found "1;2"',
    ),
    (cvat(width="x"), 'train.xml, line 2: width found "x"; must be a number'),
    (cvat(width=99), "train.xml, line 2: annotated at 99 x 80 pixels"),
    ("<annotations><image/></annotations>", "train.xml, line 1: the image has no name"),
    (
        "<annotations>\n<image></annotations>",
        "train.xml: no valid XML at line 2, column 10: mismatched tag",
    ),
    ("<other/>", "train.xml: the root element is <other>, must be <annotations>"),
    (
        '<!DOCTYPE x [\n<!ENTITY a "b">]><annotations>&a;</annotations>',
        "train.xml: line 2: declares the entity 'a'; remove it",
    ),
    (
        "<annotations><track/></annotations>",
        "train.xml: is in the format of CVAT for video, which is not read",
    ),
    (
        f"<annotations><meta>{' ' * 70_000}</meta>\n<track/></annotations>",
        "train.xml, line 2: a track; export as CVAT for images, not for video",
    ),
]


# VIA


def via_region(text=None, illegible="", **shape):
    return {
        "shape_attributes": shape,
        "region_attributes": {"text": text, "illegible": illegible} if text is not None else {},
    }


VIA_REGIONS = [
    via_region(
        "Tea", name="polygon", all_points_x=[x for x, _ in QUAD], all_points_y=[y for _, y in QUAD]
    ),
    via_region("?", {"illegible": True}, name="rect", x=50, y=20, width=40, height=10),
    via_region(name="circle", cx=5, cy=5, r=3),
]


@pytest.mark.parametrize("regions", [VIA_REGIONS, dict(enumerate(VIA_REGIONS))])
@pytest.mark.parametrize("is_project", [False, True])
def test_via_files_are_read_as_written(root, regions, is_project):
    content = {"a.png123": {"filename": "a.png", "size": 123, "regions": regions}}
    if is_project:
        content = {"_via_settings": {}, "_via_img_metadata": content, "_via_attributes": {}}
    write(root / "jsons/train.json", content)
    polygons, texts, ignored = texts_of(root, "via")
    assert polygons[:2] == [QUAD, BOX]
    assert texts == ["Tea", "?", ""]
    assert ignored == [False, True, True]
    assert scan(root, "train", format="auto")[1].damaged == {"shape circle": 1}


WRONG_VIA = [
    (5, "a1/regions: found 5; must be a list or an object"),
    ([5], "a1/regions[0]: found 5; must be an object"),
    ([{}], "a1/regions[0]/shape_attributes: is missing; must be an object"),
    (
        [via_region(name="polygon", all_points_x=[1], all_points_y=[1, 2])],
        "a1/regions[0]/shape_attributes: 1 all_points_x, but 2 all_points_y",
    ),
    (
        [via_region(name="polygon", all_points_x=["1"], all_points_y=[1])],
        'a1/regions[0]/shape_attributes/all_points_x[0]: found "1"; must be an integer',
    ),
    ([via_region(name="rect", x=1)], "a1/regions[0]/shape_attributes/y: is missing"),
]


# Pascal VOC


def voc(*objects, size="<width>100</width><height>80</height><depth>3</depth>"):
    parts = "".join(f"\n<object><name>text</name>{content}</object>" for content in objects)
    return f"<annotation><filename>x.png</filename><size>{size}</size>{parts}</annotation>"


VOC_BOX = "<bndbox><xmin>50</xmin><ymin>20</ymin><xmax>90</xmax><ymax>30</ymax></bndbox>"


@pytest.mark.parametrize("folder", ["annotations/train", "Annotations/train", "images/train"])
def test_voc_files_are_read_as_written(root, folder):
    flat = "".join(f"<x{i}>{x}</x{i}><y{i}>{y}</y{i}>" for i, (x, y) in enumerate(QUAD, 1))
    listed = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in QUAD)
    turned = "<cx>70</cx><cy>25</cy><w>40</w><h>10</h><angle>1.5707963</angle>"
    content = voc(
        f"<difficult>0</difficult>{VOC_BOX}<text>Tea</text>",
        f"<difficult>1</difficult>{VOC_BOX}",
        f"<polygon>{flat}</polygon>{VOC_BOX}",
        f"<polygon>{listed}</polygon>",
        f"<type>robndbox</type><robndbox>{turned}</robndbox>",
    )
    write(root / folder / "a.xml", content)
    polygons, texts, ignored = texts_of(root, "voc")
    assert polygons == [BOX, BOX, QUAD, QUAD, ABOUT_CENTRE]
    assert texts == ["Tea", "", "", "", ""]
    assert ignored == [False, True, False, False, False]


WRONG_VOC = [
    (voc("<bndbox/>"), "a.xml, line 2: object[0]/bndbox/xmin: is missing; must be a number"),
    (
        voc(VOC_BOX.replace("50", "x")),
        'a.xml, line 2: object[0]/bndbox/xmin: found "x"; must be a number',
    ),
    (voc(VOC_BOX, ""), "a.xml, line 3: object[1]: has no polygon, robndbox or bndbox"),
    (voc(size="<width>9</width><height>9</height>"), "a.xml: annotated at 9 x 9 pixels"),
    (voc()[:-3], "a.xml: no valid XML at line 1, column"),
]


# YOLO


@pytest.mark.parametrize("folder", ["labels/train", "images/train"])
def test_yolo_files_are_read_as_written(root, folder):
    quad = " ".join(f"{x / 100} {y / 80}" for x, y in QUAD)
    triangle = " ".join(f"{x / 100} {y / 80}" for x, y in QUAD[:3])
    write(root / folder / "a.txt", f"0 {quad}\n1 {triangle}\n\n0 0.7 0.3125 0.4 0.125\n")
    polygons, texts, ignored = texts_of(root, "yolo")
    assert polygons == [QUAD, QUAD[:3], BOX]
    assert (texts, ignored) == ([""] * 3, [False] * 3)


def test_yolo_coordinates_follow_the_size_of_each_image(root):
    Image.new("RGB", (50, 20)).save(root / "images/train/b.png")
    for name in ("a", "b"):
        write(root / f"labels/train/{name}.txt", "0 0.2 0.5 0.6 0.5 0.6 0.75 0.2 0.75")
    records, _ = load_records(root, "train", format="auto")
    for record, (width, height) in zip(records, [(100, 80), (50, 20)], strict=True):
        corners = record.polygons[0][[0, 2]] / [width, height]
        np.testing.assert_allclose(corners, [[0.2, 0.5], [0.6, 0.75]], rtol=1e-6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 .1 .2 .3 .4 .5", "5 numbers behind the class are no pairs; leave out confidences"),
        ("0 .1 .2 .3", "must be a class and 4, 6 or more numbers"),
        (f"{'9' * 5000} .1 .2 .3 .4", "must be a class and 4, 6 or more numbers"),
        ("text .1 .2 .3 .4", "must be a class and 4, 6 or more numbers"),
    ],
)
def test_yolo_lines_of_wrong_shape_are_refused(root, line, message):
    write(root / "labels/train/a.txt", f"0 .5 .5 .1 .1\n{line}\n")
    (problem,) = problems_of(root, "yolo")
    assert problem.startswith(f"labels/train/a.txt, line 2: {message}")


# Files of a wrong shape: format, place, what the message begins with, contents with messages

WRONG = [
    ("doctr", "images/train/labels.json", "images/train/labels.json: ", WRONG_DOCTR),
    ("labelstudio", "jsons/train.json", "jsons/train.json: ", WRONG_LABELSTUDIO),
    ("cvat", "train.xml", "", WRONG_CVAT),
    (
        "via",
        "jsons/train.json",
        "jsons/train.json: ",
        [({"a1": {"filename": "a.png", "regions": r}}, message) for r, message in WRONG_VIA],
    ),
    ("voc", "images/train/a.xml", "images/train/", WRONG_VOC),
]


@pytest.mark.parametrize(
    ("format", "place", "content", "message"),
    [(f, place, content, begin + m) for f, place, begin, cases in WRONG for content, m in cases],
)
def test_files_of_wrong_shape_are_refused(root, format, place, content, message):
    write(root / place, content)
    (problem,) = problems_of(root, format)
    assert problem.startswith(message)
