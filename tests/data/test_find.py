"""Place and format of a split are found without doubt, or one line says what was found instead."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbnet.data.annotations.find import Where, find_source
from dbnet.data.annotations.heads import json_head, read_head
from dbnet.data.annotations.scan import load_records, scan
from dbnet.errors import InputError
from tests.drawing import write, write_image

WORDS = {"words": {"1": {"points": [[1, 1], [9, 1], [9, 5]]}}}
UFO = {"images": {"a.png": WORDS}}
COCO = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "annotations": [{"id": 1, "image_id": 1, "bbox": [1, 1, 8, 4]}],
}
VIA = {"a.png1": {"filename": "a.png", "regions": []}}
LINE = "1,1,9,1,9,5,1,5,text\n"


@pytest.fixture
def root(tmp_path):
    """images/train/a.png, without annotations."""
    write_image(tmp_path / "images/train/a.png")
    return tmp_path


def found(root, split="train", format="auto", **where):
    source = find_source(root, split, format, Where(**where))
    return source.format, str(source.annotations.relative_to(root))


def refused(root, split="train", format="auto", **where):
    with pytest.raises(InputError) as error:
        find_source(root, split, format, Where(**where))
    return str(error.value).replace(f"{root}/", "").replace(f"{root}", "ROOT")


# Heads


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


def is_part(part, whole):
    """Whether a value is the other one with members missing at the end."""
    if isinstance(part, dict) and isinstance(whole, dict):
        pairs = zip(part, whole, strict=False)
        return all(a == b for a, b in pairs) and all(is_part(part[k], whole[k]) for k in part)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(map(is_part, part, whole))
    return part == whole


@given(
    value=JSON.filter(lambda v: isinstance(v, (dict, list))),
    cut=st.floats(0, 1),
    indent=st.sampled_from([None, 1]),
)
def test_a_json_text_cut_anywhere_gives_its_first_members(value, cut, indent):
    text = json.dumps(value, indent=indent)
    head = json_head(text[: max(1, int(len(text) * cut))])
    assert type(head) is type(value)
    assert is_part(head, value)
    assert json_head(text) == value


@pytest.mark.parametrize("text", ["", "x", '{"a"', "]", '{"a" 1}'])
def test_what_is_no_json_has_no_head(text):
    assert json_head(text) in (None, {})


def test_only_the_beginning_of_a_large_file_is_read(root):
    write(root / "a.json", json.dumps({"images": {str(i): WORDS for i in range(9000)}})[:-9])
    assert 100 < len(read_head(root / "a.json")["images"]) < 9000
    write(root / "a.txt", LINE * 9000)
    assert set(read_head(root / "a.txt")) == {LINE.strip()}


# Content tells


@pytest.mark.parametrize("place", ["jsons/train.json", "annotations/train.json", "train.json"])
@pytest.mark.parametrize(("content", "format"), [(UFO, "ufo"), (COCO, "coco"), (VIA, "via")])
def test_the_content_of_a_file_tells_its_format(root, place, content, format):
    write(root / place, content)
    assert found(root) == found(root, format=format) == (format, place)


@pytest.mark.parametrize("folder", ["gts/train", "labels/train", "images/train"])
@pytest.mark.parametrize(
    ("line", "format"),
    [(LINE, "icdar"), ("0 .1 .1 .2 .1 .2 .2\n", "yolo"), ("0 .5 .5 1 1", "yolo")],
)
def test_the_lines_of_text_files_tell_their_format(root, folder, line, format):
    write(root / folder / "_README.txt", "from the scanner upstairs\n")
    write(root / folder / "a.txt", line)
    assert found(root) == (format, folder)


@pytest.mark.parametrize(
    "name",
    [
        "annotations/instances_train.json",
        "annotations/instances_train2017.json",
        "instances_train.json",
        "annotations/instances_training.json",
        "images/train/_annotations.coco.json",
    ],
)
def test_coco_under_its_usual_names_is_found(root, name):
    write(root / name, COCO)
    assert found(root) == ("coco", name)


@pytest.mark.parametrize("name", ["valid", "validation", "val"])
@pytest.mark.parametrize("images", ["{}", "{}/images", "images/{}"])
def test_folders_of_roboflow_and_others_are_found(root, name, images):
    write_image(root / images.format(name) / "b.png")
    write(root / name / "_annotations.coco.json", COCO)
    source = find_source(root, "val", "auto")
    assert (source.images, source.format) == (root / images.format(name), "coco")


def test_yolo_folders_of_roboflow_are_found(tmp_path):
    write_image(tmp_path / "valid/images/a.png")
    write(tmp_path / "valid/labels/a.txt", "0 .5 .5 1 1")
    assert found(tmp_path, "val") == ("yolo", "valid/labels")


# What is refused, and what the line says


def test_annotations_under_another_name_are_told(root):
    write(root / "annotations/instances_default.json", COCO)
    write(root / "exports/via.json", VIA)
    write(root / "exports/a.txt", LINE)
    assert refused(root).endswith(
        "; found instead: annotations/instances_default.json (COCO), exports (ICDAR), "
        "exports/via.json (VIA); name it with --data.annotations.train"
    )


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ({"metainfo": {}, "data_list": []}, "MMOCR 1.x"),
        ({"a": [{"transcription": "T", "points": []}]}, "LSVT or ArT"),
        ({"valid_line": []}, "CORD"),
        ({"form": []}, "FUNSD"),
        ({"cats": {}, "imgs": {}, "anns": {}, "imgToAnns": {}}, "COCO-Text or TextOCR"),
        ({"annotations": [{"image_id": "1", "paragraphs": []}]}, "HierText"),
        ([{"ocr": "a.png", "bbox": []}], "Label Studio JSON-MIN"),
        ([{"image": "a.png", "label": [{"original_width": 9}]}], "Label Studio JSON-MIN"),
        ([{"image": "a.png", "annotations": []}], "CreateML"),
    ],
)
def test_formats_that_are_not_read_are_named(root, content, title):
    write(root / "jsons/train.json", content)
    message = f"jsons/train.json: is in the format of {title}, which is not read; convert it to one"
    assert refused(root).startswith(message)


def test_another_format_than_the_one_asked_for_is_named(root):
    write(root / "jsons/train.json", VIA)
    assert refused(root, format="ufo") == (
        "jsons/train.json: is in the format of VIA, not ufo; give --data.format via or auto"
    )


def test_two_annotations_of_a_split_are_never_chosen_between(root):
    write(root / "images/train/a.txt", "0 .5 .5 1 1")
    write(root / "images/train/a.json", {"shapes": []})
    write(root / "train.json", COCO)
    assert refused(root).endswith("train.json (coco), images/train (yolo), images/train (labelme)")
    assert found(root, format="yolo") == ("yolo", "images/train")


def test_a_broken_file_in_a_usual_place_is_no_reason_to_take_another(root):
    write(root / "jsons/train.json", '{"images": ')
    write(root / "gts/train/a.txt", LINE)
    assert refused(root).endswith("jsons/train.json (ufo), gts/train (icdar)")


# Places that are named


def test_named_places_are_where_a_split_is_read(root):
    write_image(root / "images_val_canonical/a.png")
    write(root / "jsons/val.json", UFO)
    assert "images/val: no such folder" in refused(root, "val")
    where = Where(images="images_val_canonical")
    records, _ = load_records(root, "val", format="auto", where=where)
    assert records[0].image_path == str(root / "images_val_canonical/a.png")
    write(root / "other/texts.json", VIA)
    places = {"images": "images_val_canonical", "annotations": "other/texts.json"}
    assert found(root, "val", **places) == ("via", "other/texts.json")
    write(root / "other/gt/a.txt", LINE)
    assert found(root, "val", **places | {"annotations": "other/gt"}) == ("icdar", "other/gt")


def test_named_places_may_lie_outside_the_root(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    write_image(outside / "img/a.png")
    write(outside / "texts.json", UFO)
    where = Where(images=outside / "img", annotations=outside / "texts.json")
    records, report = load_records(root, "test", format="auto", where=where)
    assert records[0].image_path == str(outside / "img/a.png")
    assert report.problems == []


def test_named_places_that_are_not_there_are_told(root):
    assert refused(root, images="nowhere") == ("nowhere: no such folder; it should hold the images")
    assert refused(root, annotations="no.json") == (
        "no.json: no such file or folder; it should hold the annotations"
    )
    write(root / "texts.json", {"a": 1})
    assert refused(root, annotations="texts.json").startswith(
        "texts.json: in no format that is known by its content; name one with --data.format"
    )
    assert found(root, format="ufo", annotations="texts.json") == ("ufo", "texts.json")


# Links


def linked(root, tmp_path_factory):
    """A root in which images/train/b.png, images/train/sub and gts/train are links out of it."""
    outside = tmp_path_factory.mktemp("outside")
    write_image(outside / "sub/c.png")
    write_image(outside / "b.png")
    for name in ("a", "b", "sub/c"):
        write(outside / f"gts/{name}.txt", LINE)
    (root / "images/train/b.png").symlink_to(outside / "b.png")
    (root / "images/train/sub").symlink_to(outside / "sub")
    (root / "gts").mkdir()
    (root / "gts/train").symlink_to(outside / "gts")
    return root


def test_links_out_of_the_root_are_followed_where_allowed(root, tmp_path_factory):
    linked(root, tmp_path_factory)
    problems = scan(root, "train", format="auto")[1].problems
    hint = "; copy the file instead of linking it, or allow links with --data.follow-links"
    assert f"{root}/gts/train/a.txt: leads out of {root.resolve()}{hint}" in problems
    where = Where(follow_links=True)
    records, report = load_records(root, "train", format="auto", where=where)
    assert [record.image_id for record in records] == ["a.png", "b.png", "sub/c.png"]
    assert (report.problems, report.notes) == ([], [])


def test_links_in_a_circle_end(root):
    (root / "images/train/loop").symlink_to(root / "images")
    write(root / "images/train/a.txt", LINE)
    records, _ = load_records(root, "train", format="auto", where=Where(follow_links=True))
    assert [record.image_id for record in records] == ["a.png"]
