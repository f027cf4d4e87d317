"""Every format: its marks ignore a text, a damaged outline is repaired or its region ignored."""

import json

import pytest
from PIL import Image

from dbnet.data.annotations.scan import scan

QUAD = [[10, 10], [70, 10], [70, 26], [10, 26]]
FLAT = [value for point in QUAD for value in point]
CROSSED = [QUAD[0], QUAD[1], QUAD[3], QUAD[2]]
LINE = ",".join(map(str, FLAT))
BOX = {"bbox": [10, 10, 60, 16]}
VIA_QUAD = {
    "name": "polygon", "all_points_x": [10, 70, 70, 10], "all_points_y": [10, 10, 26, 26],
}  # fmt: skip
VOC_BOX = "<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>70</xmax><ymax>26</ymax></bndbox>"


def ufo(**word):
    words = {"1": {"points": QUAD, **word}}
    return "jsons/train.json", {"images": {"a.png": {"words": words}}}


def coco(**annotation):
    image = {"id": 1, "file_name": "a.png"}
    own = {"image_id": 1, "category_id": 7, "segmentation": [FLAT], **BOX, **annotation}
    categories = [{"id": 7, "name": annotation.pop("name", "text")}]
    content = {"images": [image], "annotations": [own], "categories": categories}
    return "annotations/train.json", content


def icdar(*lines):
    return "gts/train/gt_a.txt", "\n".join(lines)


def labelme(**shape):
    return "jsons/train/a.json", {"shapes": [{"label": "text", "points": QUAD, **shape}]}


def paddle(**word):
    line = json.dumps([{"transcription": "x", "points": QUAD, **word}])
    return "train.txt", f"a.png\t{line}"


def doctr(name="words", points=QUAD):
    return "images/train/labels.json", {"a.png": {"polygons": {name: [points]}}}


def labelstudio(*others, type="polygon", **value):
    value = value or {"points": [[x, y] for x, y in QUAD]}
    size = {"original_width": 100, "original_height": 100}
    results = [{"id": "r", "type": type, "value": value, **size}, *others]
    task = {"data": {"image": "a.png"}, "annotations": [{"result": results}]}
    return "jsons/train.json", [task]


def cvat(inside="", tag="polygon", label="text", **attributes):
    attributes = attributes or {"points": ";".join(f"{x},{y}" for x, y in QUAD)}
    said = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    shape = f'<{tag} label="{label}" {said}>{inside}</{tag}>'
    content = f'<annotations><image name="a.png">{shape}</image></annotations>'
    return "annotations/train.xml", content


def via(attributes=None, **shape):
    region = {"shape_attributes": shape or VIA_QUAD, "region_attributes": attributes or {}}
    return "jsons/train.json", {"a.png1": {"filename": "a.png", "regions": [region]}}


def voc(inside, name="text"):
    content = f"<annotation><object><name>{name}</name>{inside}</object></annotation>"
    return "annotations/train/a.xml", content


def report_of(root, annotations):
    """The report and the record of one image of 100 x 100 pixels."""
    place, content = annotations
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / "images/train").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (100, 100)).save(root / "images/train/a.png")
    text = content if isinstance(content, str) else json.dumps(content)
    (root / place).write_text(text, "utf-8")
    (record,), report = scan(root, "train", format="auto")
    assert report.problems == []
    return record, report


CHOICE = {"id": "r", "type": "choices", "value": {"choices": ["Illegible"]}}
LABELS = {"id": "r", "type": "labels", "value": {"labels": ["ignore"]}}

MARKED = {
    "UFO illegibility": (ufo(illegibility=True), "illegible"),
    "UFO tag maintable": (ufo(tags=["maintable"]), "maintable"),
    "UFO tag excluded-region": (ufo(tags=["excluded-region"]), "excluded-region"),
    "UFO tag masked": (ufo(tags=["Auto", "masked"]), "masked"),
    "UFO tag stamp": (ufo(tags=["stamp"]), "stamp"),
    "UFO text quoted and padded": (ufo(transcription=' "###" '), "###"),
    "ICDAR text": (icdar(f"{LINE},###"), "###"),
    "ICDAR text quoted": (icdar(f'{LINE}, "###"'), "###"),
    "ICDAR MLT": (icdar(f"{LINE},Latin,###"), "###"),
    "ICDAR 2013": (icdar('10 10 70 26 "###"'), "###"),
    "CTW1500 and Total-Text": (icdar(f"{LINE},####" + "###"), "###"),
    "COCO iscrowd": (coco(iscrowd=1), "iscrowd"),
    "COCO ignore": (coco(ignore=1), "ignore"),
    "COCO category": (coco(name="###"), "###"),
    "COCO attribute": (coco(attributes={"illegible": True, "occluded": False}), "illegible"),
    "COCO-Text legibility": (coco(legibility="illegible"), "illegible"),
    "LabelMe label": (labelme(label="###"), "###"),
    "LabelMe flag": (labelme(flags={"illegible": True, "curved": False}), "illegible"),
    "LabelMe difficult": (labelme(difficult=True), "difficult"),
    "PaddleOCR difficult": (paddle(difficult=True), "difficult"),
    "PaddleOCR text *": (paddle(transcription="*"), "difficult"),
    "PaddleOCR text ###": (paddle(transcription="###"), "###"),
    "PaddleOCR key_cls": (paddle(key_cls="ignore"), "ignore"),
    "docTR class": (doctr("ignore"), "ignore"),
    "Label Studio choice": (labelstudio(CHOICE), "illegible"),
    "Label Studio label": (labelstudio(LABELS), "ignore"),
    "CVAT attribute": (cvat('<attribute name="illegible">true</attribute>'), "illegible"),
    "CVAT choice": (cvat('<attribute name="state">illegible</attribute>'), "illegible"),
    "CVAT label": (cvat(label="ignore"), "ignore"),
    "VIA check box": (via({"state": {"illegible": True, "curved": False}}), "illegible"),
    "VIA choice": (via({"state": "illegible"}), "illegible"),
    "VOC difficult": (voc(f"<difficult>1</difficult>{VOC_BOX}"), "difficult"),
    "VOC ignore": (voc(f"<ignore>1</ignore>{VOC_BOX}"), "ignore"),
    "VOC name": (voc(VOC_BOX, "###"), "###"),
}


@pytest.mark.parametrize("name", MARKED)
def test_the_marks_of_every_format_ignore_a_text(tmp_path, name):
    annotations, mark = MARKED[name]
    record, report = report_of(tmp_path, annotations)
    assert record.ignored.tolist() == [True]
    assert record.polygons[0].tolist() == QUAD
    assert (report.texts, report.ignored) == (0, 1)
    assert report.marks_ignored.get(mark) == 1


LEGIBLE = {
    "UFO": (ufo(tags=["Auto"], illegibility=False), {"auto": 1}),
    "ICDAR": (icdar(f"{LINE},No ### here"), {}),
    "COCO": (coco(iscrowd=0, ignore=0, legibility="legible"), {}),
    "LabelMe": (labelme(flags={"curved": True, "illegible": False}), {"curved": 1}),
    "PaddleOCR": (paddle(difficult=False), {}),
    "docTR": (doctr(), {}),
    "CVAT": (cvat('<attribute name="curved">true</attribute>'), {"curved": 1}),
    "VIA": (via({"state": {"curved": True}, "script": "latin"}), {"curved": 1}),
    "VOC": (voc(f"<difficult>0</difficult>{VOC_BOX}"), {}),
}


@pytest.mark.parametrize("name", LEGIBLE)
def test_unknown_marks_are_learned_and_counted(tmp_path, name):
    annotations, marks = LEGIBLE[name]
    _, report = report_of(tmp_path, annotations)
    assert (report.texts, report.ignored) == (1, 0)
    assert report.marks_learned == marks


RLE = {"size": [100, 100], "counts": "abc"}
REPAIRED = {
    "UFO crossed": (ufo(points=CROSSED), "corners reordered"),
    "ICDAR crossed": (icdar("10,10,70,10,10,26,70,26,x"), "corners reordered"),
    "COCO mask": (coco(segmentation=RLE), "box of a mask"),
    "COCO empty polygon": (coco(segmentation=[[]]), "box of an empty polygon"),
    "COCO polygon of two points": (coco(segmentation=[FLAT[:4]]), "box of an empty polygon"),
    "COCO flat polygon": (coco(segmentation=[[1, 5, 9, 5, 4, 5]]), "box of an empty polygon"),
    "LabelMe mask": (labelme(shape_type="mask", points=QUAD[::2]), "box of a mask"),
    "LabelMe other": (labelme(shape_type="linestrip"), "shape linestrip of four points"),
    "LabelMe crossed": (labelme(shape_type="rotation", points=CROSSED), "corners reordered"),
    "PaddleOCR crossed": (paddle(points=CROSSED), "corners reordered"),
    "docTR crossed": (doctr(points=CROSSED), "corners reordered"),
    "Label Studio crossed": (labelstudio(points=CROSSED), "corners reordered"),
    "CVAT mask": (cvat(tag="mask", left=10, top=10, width=60, height=16), "box of a mask"),
    "CVAT points": (
        cvat(tag="points", points="10,10;70,10;70,26;10,26"),
        "shape points of four points",
    ),
    "VIA crossed": (via(**{**VIA_QUAD, "all_points_x": [10, 70, 10, 70]}), "corners reordered"),
    "VOC polygon of one point": (
        voc(f"<polygon><x1>1</x1><y1>1</y1></polygon>{VOC_BOX}"),
        "bndbox for polygon",
    ),
}


@pytest.mark.parametrize("name", REPAIRED)
def test_damaged_outlines_of_every_format_are_repaired(tmp_path, name):
    annotations, repair = REPAIRED[name]
    record, report = report_of(tmp_path, annotations)
    assert report.repaired == {repair: 1}
    assert sorted(record.polygons[0].tolist()) == sorted(QUAD)
    assert (report.texts, report.ignored, report.dropped) == (1, 0, {})


@pytest.mark.parametrize("kind", ["quadrilateral", "rotation", "oriented_rectangle", "polygon"])
def test_labelme_shapes_of_four_points_are_as_drawn(tmp_path, kind):
    record, report = report_of(tmp_path, labelme(shape_type=kind))
    assert record.polygons[0].tolist() == QUAD
    assert (report.texts, report.repaired) == (1, {})


REGIONS = {
    "UFO two points": (ufo(points=QUAD[::2]), "fewer than 3 points"),
    "UFO not a number": (ufo(points=[*QUAD, [float("nan"), 4]]), "not finite"),
    "COCO crowd": (coco(segmentation=RLE, iscrowd=1), ""),
    "LabelMe circle": (labelme(shape_type="circle", points=[[40, 40], [40, 50]]), "shape circle"),
    "LabelMe line": (labelme(shape_type="line", points=QUAD[::2]), "shape line"),
    "LabelMe line strip": (labelme(shape_type="linestrip", points=QUAD[:3]), "shape linestrip"),
    "LabelMe of old versions": (labelme(points=QUAD[::2]), "fewer than 3 points"),
    "Label Studio ellipse": (
        labelstudio(type="ellipse", x=40, y=40, radiusX=9, radiusY=9),
        "shape ellipse",
    ),
    "CVAT ellipse": (cvat(tag="ellipse", cx=40, cy=40, rx=9, ry=5, rotation=30), "shape ellipse"),
    "CVAT polyline": (cvat(tag="polyline", points="10,10;70,10;70,26"), "shape polyline"),
    "VIA circle": (via(name="circle", cx=40, cy=40, r=9), "shape circle"),
    "VIA ellipse": (via(name="ellipse", cx=40, cy=40, rx=9, ry=5, theta=0.5), "shape ellipse"),
    "VIA polyline": (via(**{**VIA_QUAD, "name": "polyline"}), "shape polyline"),
}


@pytest.mark.parametrize("name", REGIONS)
def test_of_other_shapes_the_region_is_ignored(tmp_path, name):
    annotations, reason = REGIONS[name]
    record, report = report_of(tmp_path, annotations)
    assert record.ignored.tolist() == [True]
    assert report.damaged == ({reason: 1} if reason else {})
    assert (report.texts, report.dropped) == (0, {})


def test_icdar_sets_of_any_number_of_points(tmp_path):
    lines = ("10,10,60,5,90,12,90,30,10,30,CURVE", f"{LINE},5,18", "10,70,90,70,60,90,###")
    record, _ = report_of(tmp_path, icdar(*lines))
    assert [len(polygon) for polygon in record.polygons] == [5, 5, 3]
    assert record.texts == ["CURVE", "", "###"]
    assert record.ignored.tolist() == [False, False, True]


def test_one_number_with_commas_makes_no_set_of_polygons(tmp_path):
    lines = (f"{LINE},1,234,000 won", *[f"{LINE},word"] * 9)
    record, _ = report_of(tmp_path, icdar(*lines))
    assert {len(polygon) for polygon in record.polygons} == {4}
    assert record.texts[0] == "1,234,000 won"


@pytest.mark.parametrize("line", ["10,10,70,26,TOTAL", '10 10 70 26 "TOTAL"'])
def test_icdar_sets_of_two_corners(tmp_path, line):
    record, report = report_of(tmp_path, icdar(line, line))
    assert record.polygons[0].tolist() == QUAD
    assert [text.strip('"') for text in record.texts] == ["TOTAL"] * 2
    assert "lines are read as left, top, right, bottom, text" in report.notes[0]


def test_prices_make_no_set_of_polygons_of_one_of_two_corners(tmp_path):
    lines = ("10,10,70,26,TOTAL", "10,30,70,46,12,50", "10,50,70,66,7,20")
    record, _ = report_of(tmp_path, icdar(*lines))
    assert record.texts == ["TOTAL", "12,50", "7,20"]
    assert record.polygons[0].tolist() == QUAD


def test_few_lines_of_three_points_do_not_refuse_a_set_of_quads(tmp_path):
    record, report = report_of(tmp_path, icdar(*[f"{LINE},word"] * 9, "10,70,90,70,60,90,###"))
    assert [len(polygon) for polygon in record.polygons] == [4] * 9 + [3]
    assert record.ignored.tolist() == [False] * 9 + [True]
    assert [note.split(": ")[1] for note in report.notes] == ["read as 3 points"]


def test_scripts_of_mlt_are_no_part_of_the_text(tmp_path):
    record, _ = report_of(tmp_path, icdar(f"{LINE},Latin,SALE", f"{LINE},None,a, b"))
    assert record.texts == ["SALE", "a, b"]


@pytest.mark.parametrize("name", ["gt_a.TXT", "A.txt", "a.png.txt", "gt_a.png.txt", "gt_A.PNG.TXT"])
def test_names_of_annotation_files_that_almost_match(tmp_path, name):
    _, report = report_of(tmp_path, (f"gts/train/{name}", f"{LINE},TOTAL"))
    assert (report.texts, report.warnings) == (1, [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.txt", "text\n"),
        ("README.txt", "see rrc\n"),
        ("res_a.txt", f"{LINE},TOTAL\n"),
        ("empty.txt", ""),
    ],
)
def test_other_files_beside_annotations_are_left_aside(tmp_path, name, content):
    (tmp_path / "gts/train").mkdir(parents=True)
    (tmp_path / "gts/train" / name).write_text(content)
    _, report = report_of(tmp_path, icdar(f"{LINE},TOTAL"))
    (warning,) = report.warnings
    assert warning == (
        f"{tmp_path}/gts/train: 1 files are no annotations of an image and are left aside: {name}"
    )


def test_a_list_of_classes_beside_labelme_files_is_left_aside(tmp_path):
    (tmp_path / "jsons/train").mkdir(parents=True)
    (tmp_path / "jsons/train/classes.json").write_text('["text"]')
    _, report = report_of(tmp_path, labelme())
    assert report.warnings[0].endswith("are left aside: classes.json")
