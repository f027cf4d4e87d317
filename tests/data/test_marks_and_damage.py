"""Every format: marks ignore a text; a damaged outline is repaired, or its region is ignored."""

import json

import pytest
from PIL import Image

from dbnet.data.annotations.masks import coco_box, labelstudio_box
from dbnet.data.annotations.scan import scan

QUAD = [[10, 10], [70, 10], [70, 26], [10, 26]]
FLAT = [value for point in QUAD for value in point]
CROSSED = [QUAD[0], QUAD[1], QUAD[3], QUAD[2]]
LINE = ",".join(map(str, FLAT))
POINTS = ";".join(f"{x},{y}" for x, y in QUAD)
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
    attributes = attributes or {"points": POINTS}
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

TAXONOMY = {"id": "r", "type": "taxonomy", "value": {"taxonomy": [["print", "illegible"]]}}
VOC_ATTRIBUTE = "<attribute><name>illegible</name><value>True</value></attribute>"

MARKED = {
    "UFO illegibility": (ufo(illegibility=True), "illegible"),
    "UFO tag maintable": (ufo(tags=["maintable"]), "maintable"),
    "UFO tag excluded-region": (ufo(tags=["excluded-region"]), "excluded-region"),
    "UFO tag masked": (ufo(tags=["Auto", "masked"]), "masked"),
    "UFO tag stamp": (ufo(tags=["stamp"]), "stamp"),
    "UFO text quoted and padded": (ufo(transcription=' "###" '), "###"),
    "UFO word_tags": (ufo(word_tags=["stamp"]), "stamp"),
    "UFO tags as a string": (ufo(tags="masked"), "masked"),
    "UFO illegible": (ufo(illegible=True), "illegible"),
    "UFO difficult": (ufo(difficult=1), "difficult"),
    "ICDAR text": (icdar(f"{LINE},###"), "###"),
    "ICDAR text quoted": (icdar(f'{LINE}, "###"'), "###"),
    "ICDAR text of full width": (icdar(f"{LINE},\uff03\uff03\uff03"), "###"),
    "ICDAR text in German quotes": (icdar(f"{LINE},\u201e###\u201c"), "###"),
    "ICDAR MLT": (icdar(f"{LINE},Latin,###"), "###"),
    "ICDAR of RCTW": (icdar(f'{LINE},1,"SALE"'), "difficult"),
    "ICDAR 2013": (icdar('10 10 70 26 "###"'), "###"),
    "CTW1500 and Total-Text": (icdar(f"{LINE},####" + "###"), "###"),
    "COCO iscrowd": (coco(iscrowd=1), "iscrowd"),
    "COCO ignore": (coco(ignore=1), "ignore"),
    "COCO tags": (coco(tags=["illegible"]), "illegible"),
    "COCO category": (coco(name="###"), "###"),
    "COCO attribute": (coco(attributes={"illegible": True, "occluded": False}), "illegible"),
    "COCO attribute as a word": (coco(attributes={"Illegible": "true"}), "illegible"),
    "COCO attribute legibility": (coco(attributes={"legibility": "illegible"}), "illegible"),
    "COCO attribute legible": (coco(attributes={"legible": False}), "illegible"),
    "COCO difficult": (coco(difficult=1), "difficult"),
    "COCO-Text legibility": (coco(legibility="illegible"), "illegible"),
    "LabelMe label": (labelme(label="###"), "###"),
    "LabelMe label in another spelling": (labelme(label="Dont_Care"), "don't care"),
    "LabelMe flag": (labelme(flags={"illegible": True, "curved": False}), "illegible"),
    "LabelMe difficult": (labelme(difficult=True), "difficult"),
    "LabelMe attribute": (labelme(attributes={"illegible": "true"}), "illegible"),
    "PaddleOCR illegibility": (paddle(illegibility=True), "illegible"),
    "PaddleOCR difficult": (paddle(difficult=True), "difficult"),
    "PaddleOCR text *": (paddle(transcription="*"), "difficult"),
    "PaddleOCR text ###": (paddle(transcription="###"), "###"),
    "PaddleOCR key_cls": (paddle(key_cls="ignore"), "ignore"),
    "docTR class": (doctr("ignore"), "ignore"),
    "Label Studio choice": (labelstudio(CHOICE), "illegible"),
    "Label Studio taxonomy": (labelstudio(TAXONOMY), "illegible"),
    "Label Studio label": (labelstudio(LABELS), "ignore"),
    "CVAT attribute": (cvat('<attribute name="illegible">true</attribute>'), "illegible"),
    "CVAT legible": (cvat('<attribute name="legible">false</attribute>'), "illegible"),
    "CVAT choice": (cvat('<attribute name="state">illegible</attribute>'), "illegible"),
    "CVAT label": (cvat(label="ignore"), "ignore"),
    "VIA check box": (via({"state": {"illegible": True, "curved": False}}), "illegible"),
    "VIA legible": (via({"legible": "no"}), "illegible"),
    "VIA choice": (via({"state": "illegible"}), "illegible"),
    "VOC difficult": (voc(f"<difficult>1</difficult>{VOC_BOX}"), "difficult"),
    "VOC ignore": (voc(f"<ignore>1</ignore>{VOC_BOX}"), "ignore"),
    "VOC illegible": (voc(f"<illegible>1</illegible>{VOC_BOX}"), "illegible"),
    "VOC attribute": (voc(f"<attributes>{VOC_ATTRIBUTE}</attributes>{VOC_BOX}"), "illegible"),
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
    "COCO members": (coco(handwritten=True, legible=True, group=1), {"handwritten": 1}),
    "COCO text that is a mark": (coco(attributes={"utf8_string": "ignore"}), {}),
    "PaddleOCR": (paddle(difficult=False), {}),
    "docTR": (doctr(), {}),
    "CVAT": (cvat('<attribute name="curved">true</attribute>'), {"curved": 1}),
    "CVAT occluded": (cvat(points=POINTS, occluded=1), {"occluded": 1}),
    "VIA": (via({"state": {"curved": True}, "script": "latin"}), {"curved": 1}),
    "VOC truncated": (voc(f"<truncated>1</truncated>{VOC_BOX}"), {"truncated": 1}),
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


def test_marks_of_rctw_are_no_part_of_the_text(tmp_path):
    record, report = report_of(tmp_path, icdar(f'{LINE},0,"SALE"', f'{LINE},1,"1,50"'))
    assert record.texts == ['"SALE"', '"1,50"']
    assert record.ignored.tolist() == [False, True]
    assert "with 1 before it where it is difficult" in report.notes[0]


def test_a_number_before_a_quote_is_text_in_other_sets(tmp_path):
    record, report = report_of(tmp_path, icdar(f'{LINE},1,"x"', f"{LINE},TOTAL"))
    assert record.texts == ['1,"x"', "TOTAL"]
    assert (report.texts, report.ignored) == (2, 0)


@pytest.mark.parametrize(("number", "ignored"), [(0, False), (1, True), (7, False)])
def test_names_of_yolo_s_classes_ignore_texts(tmp_path, number, ignored):
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/classes.txt").write_text("text\nIgnore\n")
    line = f"{number} 0.1 0.1 0.7 0.1 0.7 0.26 0.1 0.26"
    record, report = report_of(tmp_path, ("labels/train/a.txt", line))
    assert record.ignored.tolist() == [ignored]
    assert report.warnings == []


def test_objects_that_the_web_s_labelme_deleted_are_dropped(tmp_path):
    kept = f"<object><name>text</name><deleted>0</deleted>{VOC_BOX}"
    inside = f"<deleted>1</deleted>{VOC_BOX}</object>{kept}"
    record, report = report_of(tmp_path, voc(inside))
    assert (len(record.polygons), report.texts) == (1, 1)
    assert report.dropped == {"deleted by its annotator": 1}


def test_a_polygon_of_coco_may_lack_its_list(tmp_path):
    record, report = report_of(tmp_path, coco(segmentation=FLAT, bbox=None))
    assert record.polygons[0].tolist() == QUAD
    assert (report.texts, report.repaired) == (1, {})


def test_icdar_sets_of_any_number_of_points_are_read(tmp_path):
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
def test_icdar_sets_of_two_corners_are_read(tmp_path, line):
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
def test_names_of_annotations_that_almost_match_are_read(tmp_path, name):
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
        f"{tmp_path}/gts/train: files that are no annotations of an image, not read (1): {name}"
    )


def test_a_list_of_classes_beside_labelme_files_is_left_aside(tmp_path):
    (tmp_path / "jsons/train").mkdir(parents=True)
    (tmp_path / "jsons/train/classes.json").write_text('["text"]')
    _, report = report_of(tmp_path, labelme())
    assert report.warnings[0].endswith("not read (1): classes.json")


# A region of rows 2 to 4 and columns 3 to 6 of 8 x 10 pixels without row 3, column 4, as encoded by
# pycocotools 2.0.11 and label-studio-converter 0.0.59.
COCO_RLE = {"size": [8, 10], "counts": "j035NL04200f0"}
COCO_RUNS = {"size": [8, 10], "counts": [26, 3, 5, 1, 1, 1, 5, 3, 5, 3, 27]}
BRUSH = [
    *[0, 0, 1, 64, 57, 27, 254, 94, 0, 3, 254, 32, 0, 63, 226, 0, 3, 254, 32, 0, 63, 240, 208, 0],
    *[31, 243, 0, 1, 255, 16, 0, 31, 248, 104, 0, 15, 248, 128, 0, 255, 136, 0, 15, 248, 128, 0],
    *[255, 208, 96, 0],
]  # fmt: skip
PAINTED = [[2.5, 1.5], [6.5, 1.5], [6.5, 4.5], [2.5, 4.5]]


@pytest.mark.parametrize("annotations", [labelme(), voc(VOC_BOX), icdar(f"{LINE},x")])
def test_results_beside_annotations_of_any_format_are_left_aside(tmp_path, annotations):
    folder = tmp_path / annotations[0]
    folder.parent.mkdir(parents=True)
    folder.with_name("res_a.txt").write_text(f"{LINE},0.9\n")
    record, report = report_of(tmp_path, annotations)
    assert record.polygons[0].tolist() == QUAD
    assert report.texts == 1


@pytest.mark.parametrize("mask", [COCO_RLE, COCO_RUNS])
def test_a_coco_mask_without_a_box_is_decoded(tmp_path, mask):
    place, content = coco(segmentation=mask)
    del content["annotations"][0]["bbox"]
    record, report = report_of(tmp_path, (place, content))
    assert record.polygons[0].tolist() == PAINTED
    assert (report.texts, report.repaired) == (1, {"box of a mask": 1})


def brush(rle):
    place, (task,) = labelstudio(type="brushlabels", format="rle", rle=rle)
    task["annotations"][0]["result"][0] |= {"original_width": 10, "original_height": 8}
    return place, [task]


def test_the_region_of_a_brush_stroke_is_ignored(tmp_path):
    Image.new("RGB", (10, 8)).save(tmp_path / "small.png")
    place, (task,) = brush(BRUSH)
    task["data"]["image"] = "small.png"
    (tmp_path / "images/train").mkdir(parents=True)
    (tmp_path / "small.png").rename(tmp_path / "images/train/small.png")
    (tmp_path / "jsons").mkdir()
    (tmp_path / place).write_text(json.dumps([task]), "utf-8")
    (record,), report = scan(tmp_path, "train", format="auto")
    assert record.polygons[0].tolist() == PAINTED
    assert record.ignored.tolist() == [True]
    assert report.damaged == {"brush stroke": 1}


@pytest.mark.parametrize("rle", [BRUSH[:20], [0, 0, 0, 9, *BRUSH[4:]], [300], "abc", [None]])
def test_a_brush_stroke_that_makes_no_sense_has_no_region(rle):
    assert labelstudio_box(rle, 8, 10) is None


@pytest.mark.parametrize(
    "mask",
    [
        {"size": [8, 10], "counts": [26, 3]},
        {"size": [8, 10], "counts": [90, -10]},
        {"size": [8, 10], "counts": "j035"},
        {"size": [8], "counts": [80]},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"counts": [80]},
        {"size": [8, 10]},
        {"size": [8, 10], "counts": [26, "x"]},
    ],
)
def test_a_coco_mask_that_makes_no_sense_has_no_region(mask):
    assert coco_box(mask) is None


@pytest.mark.parametrize("points", [[], [[float("nan"), 4]] * 3])
def test_outlines_without_coordinates_are_no_fractions(tmp_path, points):
    _, report = report_of(tmp_path, ufo(points=points))
    assert report.texts + report.ignored == 0


def test_masks_of_nothing_and_key_points_are_dropped_by_name(tmp_path):
    place, content = coco(segmentation={"size": [8, 10], "counts": [80]})
    del content["annotations"][0]["bbox"]
    _, report = report_of(tmp_path / "coco", (place, content))
    assert report.dropped == {"run-length mask": 1}
    assert report.notes[0].endswith("annotations[0] of a.png: text dropped: run-length mask")
    key_point = labelstudio(type="keypointlabels", x=10, y=20, width=0.5)
    _, report = report_of(tmp_path / "ls", key_point)
    assert report.dropped == {"region keypointlabels": 1}
    assert report.notes[0].endswith("of a.png: text dropped: region keypointlabels")
