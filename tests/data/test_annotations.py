"""Annotated data sets: values are exact in every format, and every error is one clear line."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from shapely import MultiPoint, Polygon

from dbnet.data.annotations.find import Where
from dbnet.data.annotations.formats.icdar import parse_icdar_line
from dbnet.data.annotations.json_files import json_members, load_json
from dbnet.data.annotations.outlines import check_polygons, repair_polygons
from dbnet.data.annotations.report import summary_table
from dbnet.data.annotations.scan import load_records, scan
from tests.drawing import write, write_image

QUAD = [[10.5, 5.0], [40.25, 6.0], [40.0, 15.0], [10.0, 14.0]]
OTHER = [[50, 20], [90, 20], [90, 30], [50, 30]]


def _ufo(root, images, *, draw=True):
    for name in images if draw else ():
        write_image(root / "images/train" / name)
    write(root / "jsons/train.json", {"images": images})


def _words(*polygons):
    return {"words": {f"{i:04}": {"points": points} for i, points in enumerate(polygons, 1)}}


def _problems(root, format="auto"):
    return scan(root, "train", format=format)[1].problems


def _same(polygons, expected):
    assert len(polygons) == len(expected)
    for polygon, points in zip(polygons, expected, strict=True):
        assert polygon.dtype == np.float32
        np.testing.assert_array_equal(polygon, np.array(points, np.float32))


# UFO


@pytest.mark.parametrize("format", ["auto", "ufo"])
def test_ufo_files_are_read_as_written(tmp_path, format):
    words = {
        "0001": {"points": QUAD, "transcription": "Tea, hot", "illegibility": False},
        "0002": {"points": OTHER, "transcription": None, "illegibility": True},
        "0003": {"points": OTHER, "transcription": "###"},
        "0004": {"points": QUAD[:3]},
    }
    images = {"b.png": {"img_w": 100, "img_h": 50, "words": words}, "a/b.png": {"words": {}}}
    _ufo(tmp_path, images)
    records, report = load_records(tmp_path, "train", format=format)
    assert [record.image_id for record in records] == ["a/b.png", "b.png"]
    empty, record = records
    assert record.image_path == str(tmp_path / "images/train/b.png")
    _same(record.polygons, [QUAD, OTHER, OTHER, QUAD[:3]])
    assert record.texts == ["Tea, hot", "", "###", ""]
    assert record.ignored.dtype == bool
    assert record.ignored.tolist() == [False, True, True, False]
    assert (empty.polygons, empty.texts, empty.ignored.shape) == ([], [], (0,))
    assert (report.images, report.texts, report.ignored, report.unannotated) == (2, 2, 2, 0)
    assert (report.dropped, report.problems, report.notes) == ({}, [], [])


def test_images_without_entry_are_counted_not_used(tmp_path):
    _ufo(tmp_path, {"a.png": _words(QUAD)})
    write_image(tmp_path / "images/train/sub/z.jpg")
    write_image(tmp_path / "images/train/.hidden.jpg")
    records, report = load_records(tmp_path, "train", format="auto")
    assert [record.image_id for record in records] == ["a.png"]
    assert report.unannotated == 1
    assert report.notes == []
    assert report.warnings == [
        f"{tmp_path}/images/train: images without a readable annotation, not used (1): sub/z.jpg"
    ]


@pytest.mark.faults("JSON of the wrong shape")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "train.json: found []; must be an object"),
        ({}, "train.json: images: is missing; must be an object"),
        ({"images": []}, "train.json: images: found []; must be an object"),
        ({"images": {"a.png": 1}}, "images/a.png: found 1; must be an object"),
        ({"images": {"a.png": {}}}, "images/a.png/words: is missing; must be an object"),
        (
            {"images": {"a.png": {"words": {"7": []}}}},
            "images/a.png/words/7: found []; must be an object",
        ),
        (
            {"images": {"a.png": {"words": {"7": {}}}}},
            "images/a.png/words/7/points: must be a list of [x, y] pairs, found null",
        ),
        (
            {"images": {"a.png": _words([[1, 2], [3, "4"], [5, 6]])}},
            'words/0001/points: must be a list of [x, y] pairs, found [[1, 2], [3, "4"], [5, 6]]',
        ),
        (
            {"images": {"a.png": _words([[1, 2], [3, True], [5, 6]])}},
            "words/0001/points: must be a list",
        ),
        (
            {"images": {"a.png": _words([[1, 2], [3, 4, 5], [5, 6]])}},
            "words/0001/points: must be a list",
        ),
        (
            {"images": {"a.png": {"words": {"7": {"points": QUAD, "transcription": 5}}}}},
            "words/7/transcription: found 5; must be a string",
        ),
        (
            {"images": {"a.png": {"words": {"7": {"points": QUAD, "illegibility": 1}}}}},
            "words/7/illegibility: found 1; must be true or false",
        ),
        (
            {"images": {"a.png": {"words": {"7": {"points": QUAD, "tags": 1}}}}},
            "words/7/tags: found 1; must be a list or a string",
        ),
        (
            {"images": {"a.png": {"words": {}, "img_w": "100", "img_h": 50}}},
            'images/a.png/img_w: found "100"; must be an integer or a number',
        ),
        (
            {"images": {"a.png": {"words": {}, "img_w": 50, "img_h": 100}}},
            "images/a.png: annotated at 50 x 100 pixels, but the upright image has 100 x 50",
        ),
        ("", "train.json: no valid JSON at line 1, column 1: Expecting value"),
        ('{"images": {\n "a.png" 1}}', "train.json: no valid JSON at line 2, column 10"),
        ("[" * 100_000, "train.json: JSON cannot be read"),
        ("1" * 5000, "train.json: JSON cannot be read"),
        (b'{"images": {"\xff', "train.json: not UTF-8 at byte 13; save the file as UTF-8"),
    ],
)
def test_ufo_of_wrong_shape_is_refused(tmp_path, content, message):
    write_image(tmp_path / "images/train/a.png")
    write(tmp_path / "jsons/train.json", content)
    problems = _problems(tmp_path)
    assert len(problems) == 1
    assert problems[0].startswith(f"{tmp_path}/jsons/train.json: ")
    assert message in problems[0]
    with pytest.raises(ValueError) as error:
        load_records(tmp_path, "train", format="ufo")
    assert str(error.value) == problems[0]


@pytest.mark.faults("several problems at once")
def test_all_problems_are_collected(tmp_path):
    bad = {"words": {"1": {"points": 0}, "2": {"points": QUAD}, "3": {}}}
    _ufo(tmp_path, {"a.png": bad, "b.png": [], "c.png": _words(QUAD)})
    records, report = scan(tmp_path, "train", format="auto")
    assert ["words/1" in p or "words/3" in p or "b.png" in p for p in report.problems] == [True] * 3
    assert [len(record.polygons) for record in records] == [1, 1]
    with pytest.raises(ValueError, match=r"words/1/points.*\(problems besides: 2\)$"):
        load_records(tmp_path, "train", format="auto")


@pytest.mark.faults("key that stands twice")
def test_keys_that_stand_twice_are_problems(tmp_path):
    write_image(tmp_path / "images/train/a.png")
    word = json.dumps({"points": QUAD})
    words = f'{{"words": {{"1": {word}, "1": {word}}}}}'
    write(tmp_path / "jsons/train.json", f'{{"images": {{"a.png": {words}, "a.png": {words}}}}}')
    problems = _problems(tmp_path)
    assert len(problems) == 3
    assert sum("key 'a.png' stands twice in one object" in p for p in problems) == 1
    assert sum("key '1' stands twice in one object" in p for p in problems) == 2


def members_of(path):
    problems = []
    members = list(json_members((), path, "images", problems))
    return members, problems


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@settings(max_examples=60)
@given(
    images=st.dictionaries(st.text(max_size=3), JSON, max_size=3),
    rest=st.dictionaries(st.sampled_from(["info", "b", ""]), JSON, max_size=2),
    front=st.booleans(),
    indent=st.sampled_from([None, 0, 2]),
    cut=st.floats(0, 1),
    junk=st.sampled_from(["", " \n", "}", ",", "x", '"', ': 1, "']),
)
def test_members_are_read_one_by_one_as_the_whole(
    tmp_path_factory, images, rest, front, indent, cut, junk
):
    content = {"images": images, **rest} if front else {**rest, "images": images}
    text = json.dumps(content, indent=indent)
    path = tmp_path_factory.getbasetemp() / "members.json"
    path.write_text(text, "utf-8")
    assert members_of(path) == (list(images.items()), [])

    place = int(len(text) * cut)
    for broken in (text[:place], text[:place] + junk + text[place:], text[:place] + junk):
        path.write_text(broken, "utf-8")
        try:
            expected = list(json.loads(broken)["images"].items())
        except json.JSONDecodeError:
            with pytest.raises(ValueError) as error:
                load_json((), path)
            with pytest.raises(ValueError) as ours:
                members_of(path)
            assert str(ours.value) == str(error.value)
        except (KeyError, AttributeError):
            with pytest.raises(ValueError, match="must be an object"):
                members_of(path)
        else:
            found, problems = members_of(path)
            assert found == expected or problems


def test_a_second_list_of_images_is_a_problem(tmp_path):
    write_image(tmp_path / "images/train/a.png")
    images = json.dumps({"a.png": _words(QUAD)})
    write(tmp_path / "jsons/train.json", f'{{"images": {images}, "images": {images}}}')
    assert "key 'images' stands twice in one object" in _problems(tmp_path)[0]


def test_a_byte_order_mark_in_json_is_skipped(tmp_path):
    write_image(tmp_path / "images/train/a.png")
    content = json.dumps({"images": {"a.png": _words(QUAD)}})
    write(tmp_path / "jsons/train.json", b"\xef\xbb\xbf" + content.encode())
    _same(load_records(tmp_path, "train", format="auto")[0][0].polygons, [QUAD])


# Image files


@pytest.mark.faults("missing images")
def test_missing_images_are_listed_once(tmp_path):
    _ufo(tmp_path, {f"{i}.png": _words(QUAD) for i in range(7)}, draw=False)
    write_image(tmp_path / "images/train/0.png")
    folder = tmp_path / "images/train"
    message = f"{folder}: annotated images missing (6): 1.png, 2.png, 3.png, 4.png, 5.png, ...; "
    assert _problems(tmp_path) == [
        message + "add what is missing, or skip it with --data.skip-missing"
    ]
    records, report = load_records(tmp_path, "train", format="auto", skip_missing=True)
    assert [record.image_id for record in records] == ["0.png"]
    assert report.warnings == [message + "skipped"]
    table = summary_table({"train": report}, image_size=640)
    assert "annotated images missing" in table and report.missing == 6


@pytest.mark.faults("name too long for a file")
def test_names_no_file_system_holds_are_missing(tmp_path):
    write_image(tmp_path / "images/train/a.png")
    _ufo(tmp_path, {"x" * 300: _words(QUAD), "nul\0.png": _words(QUAD)}, draw=False)
    assert len(_problems(tmp_path)) == 1
    assert _problems(tmp_path)[0].startswith(
        f"{tmp_path}/images/train: annotated images missing (2): xxx"
    )


def test_names_that_are_not_utf8_are_problems_and_can_be_printed(tmp_path):
    name = "caf\udce9.png"  # as Python shows the bytes b"caf\xe9.png"
    write_image(tmp_path / "images/train" / name)
    write_image(tmp_path / "images/train/a.png")
    _ufo(tmp_path, {"a.png": _words(QUAD)})
    (warning,) = load_records(tmp_path, "train", format="auto")[1].warnings
    assert warning.endswith("images without a readable annotation, not used (1): caf\\udce9.png")

    _ufo(
        tmp_path,
        {"a.png": _words(QUAD), name: _words(QUAD), "\ud800.png": _words(QUAD)},
        draw=False,
    )
    records, report = scan(tmp_path, "train", format="auto")
    assert [record.image_id for record in records] == ["a.png"]
    place = f"{tmp_path}/jsons/train.json: images/caf\\udce9.png"
    assert report.problems == [
        f"{place}: caf\\udce9.png is not UTF-8; rename the file",
        f"{tmp_path}/images/train: annotated images missing (1): \\ud800.png; "
        "add what is missing, or skip it with --data.skip-missing",
    ]


@pytest.mark.faults("../ and absolute paths")
@pytest.mark.parametrize("name", ["../a.png", "sub/../../a.png", "/etc/passwd", "../b.png"])
def test_paths_that_leave_the_folder_are_refused(tmp_path, name):
    write_image(tmp_path / "images/train/a.png")
    write_image(tmp_path / "images/a.png")
    _ufo(tmp_path, {name: _words(QUAD)}, draw=False)
    records, report = scan(tmp_path, "train", format="auto")
    assert not records
    assert len(report.problems) == 1
    assert f"images/{name}: {name} must be a plain path below" in report.problems[0]


@pytest.mark.parametrize(
    "name",
    [
        "./a b.png",
        "sub/../a b.png",
        "../train/a b.png",
        "../images/train/a b.png",
        "https://x.org/p/a b.png?token=1",
        "C:\\data\\a b.png",
        "/data/train/a b.png",
    ],
)
@pytest.mark.parametrize("spelt", ["a b.png", "a%20b.png", "A B.PNG"])
def test_names_that_lead_back_or_are_spelt_as_on_the_web(tmp_path, name, spelt):
    write_image(tmp_path / "images/train/a b.png")
    _ufo(tmp_path, {name.replace("a b.png", spelt): _words(QUAD)}, draw=False)
    records, report = scan(tmp_path, "train", format="auto")
    assert [record.image_id for record in records] == ["a b.png"]
    assert report.problems == []


@pytest.mark.parametrize(
    ("name", "image"),
    [("x/1", None), ("a/1", "a/1.png"), ("p/b/1", "b/1.png"), ("1", None), ("c%20d", "c d.png")],
)
def test_folders_of_names_without_an_ending_count(tmp_path, name, image):
    for other in ("a/1.png", "b/1.png", "y/2.png", "c d.png"):
        write_image(tmp_path / "images/train" / other)
    _ufo(tmp_path, {name: _words(QUAD), "x/2": _words(QUAD)}, draw=False)
    records, report = scan(tmp_path, "train", format="auto")
    assert [record.image_id for record in records] == ([image] if image else [])
    assert f"annotated images missing ({1 if image else 2})" in report.problems[0]


def test_a_percent_sign_in_a_name_is_one(tmp_path):
    for name in ("a%20b.png", "a b.png"):
        write_image(tmp_path / "images/train" / name)
    _ufo(tmp_path, {"x/A%20B.png": _words(QUAD)}, draw=False)
    assert [r.image_id for r in scan(tmp_path, "train", format="auto")[0]] == ["a%20b.png"]


@pytest.mark.faults("links out of the root")
def test_links_that_leave_the_root_are_refused(tmp_path):
    root, folder = tmp_path / "root", tmp_path / "root/images/train"
    _ufo(root, {name: _words(QUAD) for name in ("a.png", "b.png", "dir/a.png")}, draw=False)
    write_image(tmp_path / "outside/a.png")
    write_image(root / "images/kept.png")
    folder.mkdir()
    (folder / "a.png").symlink_to(tmp_path / "outside/a.png")
    (folder / "b.png").symlink_to(root / "images/kept.png")
    (folder / "dir").symlink_to(tmp_path / "outside")
    records, report = scan(root, "train", format="auto")
    assert [record.image_id for record in records] == ["b.png"]
    assert len(report.problems) == 2
    assert "images/a.png: a.png must be a plain path below" in report.problems[0]
    assert "images/dir/a.png: dir/a.png must be a plain path below" in report.problems[1]


def test_root_may_be_a_link(tmp_path):
    _ufo(tmp_path / "root", {"a.png": _words(QUAD)})
    (tmp_path / "link").symlink_to(tmp_path / "root")
    assert load_records(tmp_path / "link", "train", format="auto")[0][0].image_id == "a.png"


def test_linked_places_outside_the_root_are_refused(tmp_path):
    root = tmp_path / "root"
    write_image(tmp_path / "outside/a.png")
    (root / "images").mkdir(parents=True)
    (root / "images/train").symlink_to(tmp_path / "outside")
    assert _problems(root)[0].startswith(f"{root}/images/train: leads out of {root}")

    other = tmp_path / "other"
    write_image(other / "images/train/a.png")
    write(tmp_path / "secret.json", {"images": {}})
    (other / "jsons").mkdir()
    (other / "jsons/train.json").symlink_to(tmp_path / "secret.json")
    assert _problems(other)[0].startswith(f"{other}/jsons/train.json: leads out of {other}")


def _linked_halves(root: Path) -> None:
    """Three images; two of them and their annotations are in linked folders."""
    for half in ("images", "gts"):
        (root / half / "train").mkdir(parents=True)
        for more in ("b", "c"):
            (root / "store" / half / more).mkdir(parents=True)
            (root / half / "train" / more).symlink_to(root / "store" / half / more)
    for name in ("a", "b/b", "c/c"):
        write_image(root / f"images/train/{name}.png")
        (root / f"gts/train/{name}.txt").write_text("10,10,60,10,60,30,10,30,SALE\n")


def test_linked_sub_folders_are_told_and_read_when_asked(tmp_path):
    _linked_halves(tmp_path)
    records, report = scan(tmp_path, "train", format="auto")
    assert [record.image_id for record in records] == ["a.png"] and not report.problems
    names = "b (a linked folder), c (a linked folder); --data.follow-links reads linked folders"
    assert report.warnings == [
        f"{tmp_path}/{half}/train: names that are not read (2): {names}"
        for half in ("images", "gts")
    ]
    where = Where(follow_links=True)
    records, report = scan(tmp_path, "train", format="auto", where=where)
    assert [record.image_id for record in records] == ["a.png", "b/b.png", "c/c.png"]
    assert report.warnings == []


def test_unreadable_sub_folders_are_told(tmp_path, lock):
    for name in ("a", "sub/b"):
        write_image(tmp_path / f"images/train/{name}.png")
        (tmp_path / f"gts/train/{name}.txt").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"gts/train/{name}.txt").write_text("10,10,60,10,60,30,10,30,SALE\n")
    for half in ("images", "gts"):
        lock(tmp_path / half / "train/sub")
    records, report = scan(tmp_path, "train", format="auto")
    assert [record.image_id for record in records] == ["a.png"]
    assert report.warnings == [
        f"{tmp_path}/{half}/train: names that are not read (1): sub (Permission denied)"
        for half in ("images", "gts")
    ]


@pytest.mark.faults("image annotated twice")
def test_an_image_under_two_spellings_is_read_once(tmp_path):
    _ufo(tmp_path, {"a.png": _words(QUAD), "./a.png": _words(OTHER)})
    records, report = scan(tmp_path, "train", format="auto")
    _same(records[0].polygons, [QUAD])
    assert report.problems[0].endswith("images/./a.png: ./a.png is annotated twice")


def test_unreadable_images_are_reported(tmp_path):
    _ufo(
        tmp_path, {"a.png": _words(QUAD), "b.png": _words(QUAD), "c.txt": _words(QUAD)}, draw=False
    )
    write_image(tmp_path / "images/train/a.png")
    write(tmp_path / "images/train/b.png", b"")
    write(tmp_path / "images/train/c.txt", b"hello")
    records, report = scan(tmp_path, "train", format="ufo")
    assert [record.image_id for record in records] == ["a.png"]
    assert "b.png: the file is empty (0 bytes)" in report.problems[0]
    assert "c.txt: not an image" in report.problems[1]


@pytest.mark.faults("wrong width or height")
def test_sizes_are_those_of_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    entry = _words([[10, 60], [40, 60], [40, 90], [10, 90]], [[60, 10], [90, 10], [90, 40]])
    _ufo(tmp_path, {"a.jpg": {**entry, "img_w": 50, "img_h": 100}}, draw=False)
    write_image(tmp_path / "images/train/a.jpg", exif=exif)
    records, report = load_records(tmp_path, "train", format="auto")
    assert len(records[0].polygons) == 1
    assert report.dropped == {"outside the image": 1}


# Polygons


NAN, INF = float("nan"), float("inf")
SQUARE = [[10, 10], [20, 10], [20, 20], [10, 20]]
LARGE = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
CIRCLE = np.stack([50 + 20 * np.cos(LARGE), 25 + 20 * np.sin(LARGE)], axis=1).tolist()


@pytest.mark.faults("bad polygons")
def test_outlines_without_a_region_in_the_image_are_dropped(tmp_path):
    cases = [
        (QUAD, None),
        ([], "fewer than 3 points"),
        ([[4, 4]], "fewer than 3 points"),
        ([[1, 1], [9, 1]], "fewer than 3 points"),
        ([[1, 1], [NAN, 2], [3, 3]], "not finite"),
        ([[1, 1], [NAN, 2], [3, 3], [9, 9]], "not finite"),
        ([[5, 5]] * 4, "zero area"),
        ([[1, 1], [5, 5], [9, 9], [3, 3]], "zero area"),
        ([[-20, 10], [-1, 10], [-1, 20], [-20, 20]], "outside the image"),
        ([[-20, 10], [-1, 10], [-20, 20], [-1, 20]], "outside the image"),  # crossing as well
        ([[100, 10], [120, 10], [120, 20], [100, 20]], "outside the image"),
        ([[90, 60], [110, 40], [130, 60]], "outside the image"),  # its box overlaps, it does not
        ([[-20, 10], [1, 10], [1, 20], [-20, 20]], None),
        ([[-99, -99], [300, -99], [300, 300], [-99, 300]], None),
        (CIRCLE, None),
    ]
    _ufo(tmp_path, {"a.png": _words(*(points for points, _ in cases))})
    records, report = load_records(tmp_path, "train", format="auto")
    _same(records[0].polygons, [points for points, reason in cases if reason is None])
    reasons = [reason for _, reason in cases if reason]
    assert report.dropped == {reason: reasons.count(reason) for reason in reasons}
    place = f"{tmp_path}/jsons/train.json: images/a.png/words"
    assert report.notes[0] == f"{place}/0002: text dropped: fewer than 3 points"
    assert [note.rsplit(": ", 1)[1] for note in report.notes] == reasons
    assert report.texts == len(cases) - len(reasons)
    assert (report.ignored, report.damaged, report.repaired) == (0, {}, {})


UPPER_AND_LOWER = [[0, 0], [9, 1], [20, 0], [0, 9], [9, 10], [20, 9]]


@pytest.mark.parametrize(
    ("points", "expected", "repair"),
    [
        ([SQUARE[i] for i in (0, 1, 3, 2)], SQUARE, "corners reordered"),
        ([SQUARE[i] for i in (0, 2, 1, 3)], SQUARE, "corners reordered"),
        ([[10, 10], [10, 10], [20, 20], [20, 10], [10, 20]], SQUARE, "corners reordered"),
        (UPPER_AND_LOWER, [UPPER_AND_LOWER[i] for i in (0, 1, 2, 5, 4, 3)], "corners reordered"),
        # A spike, there and back.
        ([*SQUARE[:2], [40, 10], [20, 10], *SQUARE[2:]], SQUARE, "crossing cut off"),
        # The last corner slipped over the first side.
        (
            [[0, 10], [60, 10], [60, 20], [1, 20], [1, 9]],
            [[1, 10], [60, 10], [60, 20], [1, 20]],
            "crossing cut off",
        ),
    ],
)
def test_crossed_outlines_are_repaired(tmp_path, points, expected, repair):
    _ufo(tmp_path, {"a.png": _words(QUAD, points)})
    records, report = load_records(tmp_path, "train", format="auto")
    _same(records[0].polygons, [QUAD, expected])
    assert not records[0].ignored.any()
    assert (report.repaired, report.damaged, report.dropped) == ({repair: 1}, {}, {})
    place = f"{tmp_path}/jsons/train.json: images/a.png/words/0002"
    assert report.notes == [f"{place}: text repaired: {repair}"]


@pytest.mark.parametrize(
    ("points", "region", "reason"),
    [
        ([[1, 1], [20, 9]], [[1, 1], [20, 1], [20, 9], [1, 9]], "fewer than 3 points"),
        ([[1, 1], [NAN, 2], [3, 3], [9, 1]], [[1, 1], [3, 3], [9, 1]], "not finite"),
        ([[1, 1], [2, -INF], [3, 3], [9, 1]], [[1, 1], [3, 3], [9, 1]], "not finite"),
        ([[1, 1], [2, 1e300], [3, 3], [9, 1]], [[1, 1], [3, 3], [9, 1]], "not finite"),
        (
            [[0, 0], [30, 0], [30, 20], [10, 5], [0, 20], [5, 40], [12, 10]],
            [[0, 0], [0, 20], [5, 40], [30, 20], [30, 0]],
            "self-crossing",
        ),
    ],
)
def test_of_damaged_outlines_the_region_is_ignored(tmp_path, points, region, reason):
    _ufo(tmp_path, {"a.png": _words(QUAD, points)})
    records, report = load_records(tmp_path, "train", format="auto")
    _same(records[0].polygons, [QUAD, region])
    assert records[0].ignored.tolist() == [False, True]
    assert (report.texts, report.ignored) == (1, 1)
    assert (report.damaged, report.repaired, report.dropped) == ({reason: 1}, {}, {})
    place = f"{tmp_path}/jsons/train.json: images/a.png/words/0002"
    assert report.notes == [f"{place}: text ignored: {reason}"]


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=7))
def test_what_is_not_dropped_is_a_simple_polygon(corners):
    points = np.array(corners, np.float64).reshape(-1, 2)
    (polygon,), (status,) = repair_polygons([points], [(10, 10)])
    hull = MultiPoint(points).convex_hull
    if status.verdict == "dropped":
        assert hull.area == 0
        return
    outline = Polygon(polygon)
    assert polygon.dtype == np.float32 and outline.is_valid and outline.area > 0
    assert hull.envelope.buffer(1e-6).covers(outline)
    assert (status.verdict == "") == (status.reason == "")


def test_repeated_points_are_removed(tmp_path):
    closed = [QUAD[0], QUAD[0], *QUAD[1:], QUAD[3], QUAD[0]]
    _ufo(tmp_path, {"a.png": _words(OTHER, closed, OTHER)})
    records, report = load_records(tmp_path, "train", format="auto")
    polygons = records[0].polygons
    _same(polygons[::2], [OTHER, OTHER])
    assert {tuple(p) for p in polygons[1]} == {tuple(p) for p in np.array(QUAD, np.float32)}
    assert len(polygons[1]) == 4
    assert report.dropped == {}


def _side(a, b, c):
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _on(a, b, c):
    """Whether c lies on the closed segment a b."""
    between = min(a[0], b[0]) <= c[0] <= max(a[0], b[0])
    return _side(a, b, c) == 0 and between and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


def _cross(a, b, c, d):
    """Whether the closed segments a b and c d share a point."""
    if _on(a, b, c) or _on(a, b, d) or _on(c, d, a) or _on(c, d, b):
        return True
    return _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0


def _reference_reason(points):
    """The reason for one polygon: all pairs of edges, in whole numbers."""
    if len(points) < 3:
        return "fewer than 3 points"
    ring = [p for i, p in enumerate(points) if p != points[(i + 1) % len(points)]]
    if len(ring) < 3 or MultiPoint(ring).convex_hull.area == 0:
        return "zero area"
    size = len(ring)
    for i in range(size):
        a, b, c = (ring[(i + k) % size] for k in range(3))
        if _on(a, b, c) or _on(b, c, a):  # turns back on itself
            return "self-crossing"
        for k in range(2, size - 1):  # edges that are no neighbours
            if _cross(a, b, ring[(i + k) % size], ring[(i + k + 1) % size]):
                return "self-crossing"
    return ""


LATTICE = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=7)


@settings(max_examples=150)
@given(st.lists(LATTICE, max_size=8))
def test_polygon_check_equals_reference(polygons):
    points = [np.array(p, np.float64).reshape(-1, 2) for p in polygons]
    kept, reasons = check_polygons(points, [(10, 10)] * len(points))
    assert reasons.tolist() == [_reference_reason(p) for p in polygons]
    for polygon, given_points, reason in zip(kept, polygons, reasons, strict=True):
        if not reason:
            assert {tuple(p) for p in polygon} == set(given_points)


# ICDAR


def _quad_line(text, points=QUAD):
    return ",".join(f"{value:g}" for point in points for value in point) + f",{text}"


@pytest.mark.parametrize("folder", ["gts/train", "annotations/train", "images/train"])
@pytest.mark.parametrize("name", ["gt_a.txt", "a.txt", "a.csv"])
def test_icdar_files_are_read_as_written(tmp_path, folder, name):
    write_image(tmp_path / "images/train/a.jpg")
    write_image(tmp_path / "images/train/unused.jpg")
    write(tmp_path / folder / name, f"{_quad_line('TOTAL')}\n{_quad_line('###', OTHER)}\n")
    records, report = load_records(tmp_path, "train", format="auto")
    assert [record.image_id for record in records] == ["a.jpg"]
    _same(records[0].polygons, [QUAD, OTHER])
    assert records[0].texts == ["TOTAL", "###"]
    assert records[0].ignored.tolist() == [False, True]
    assert report.unannotated == 1


@pytest.mark.faults("byte order mark, CRLF, commas")
def test_icdar_marks_line_ends_and_sub_folders_are_read(tmp_path):
    write_image(tmp_path / "images/train/s/a.jpg")
    write_image(tmp_path / "images/train/s/empty.jpg")
    text = (
        f"\ufeff{_quad_line('가격 1,000')}\r\n\r\n{_quad_line('b', OTHER)}\r{_quad_line('c')}\n\n"
    )
    write(tmp_path / "gts/train/s/gt_a.txt", text.encode("utf-8"))
    write(tmp_path / "gts/train/s/gt_empty.txt", b"\xef\xbb\xbf")
    records, _ = load_records(tmp_path, "train", format="icdar")
    assert [record.image_id for record in records] == ["s/a.jpg", "s/empty.jpg"]
    assert records[0].texts == ["가격 1,000", "b", "c"]
    _same(records[0].polygons, [QUAD, OTHER, QUAD])
    assert records[1].polygons == []


HEXAGON = [[0, 0], [10, 1], [20, 0], [20, 9], [10, 8], [0, 9]]


@pytest.mark.parametrize(
    ("line", "points", "text"),
    [
        (_quad_line("word"), QUAD, "word"),
        (_quad_line(""), QUAD, ""),
        (_quad_line("")[:-1], QUAD, ""),
        (_quad_line(" a, b,c "), QUAD, "a, b,c"),
        (_quad_line('"12,34"'), QUAD, '"12,34"'),
        (_quad_line("12,34"), QUAD, "12,34"),
        (_quad_line("1234"), QUAD, "1234"),
        (_quad_line("1,234,567"), QUAD, "1,234,567"),
        (_quad_line("12,34,EUR"), QUAD, "12,34,EUR"),
        ("-1, 2 ,+3.5,4.,.5,6e1,7,8,x", [[-1, 2], [3.5, 4], [0.5, 60], [7, 8]], "x"),
        (_quad_line("word", HEXAGON), HEXAGON, "word"),
        (_quad_line("two, words", HEXAGON), HEXAGON, "two, words"),
        (_quad_line("", HEXAGON), HEXAGON, ""),
        (_quad_line("1998", HEXAGON), HEXAGON, "1998"),
        (_quad_line("####12,34", HEXAGON[:5]), HEXAGON[:5], "12,34"),
        (_quad_line("####1,2,3,4"), QUAD, "1,2,3,4"),
        (_quad_line("#######", HEXAGON[:3]), HEXAGON[:3], "###"),
        (_quad_line("no,####mark"), QUAD, "no,####mark"),
        (_quad_line("word", HEXAGON[:3]), HEXAGON[:3], "word"),
    ],
)
def test_icdar_lines_give_outline_and_text(line, points, text):
    parsed, parsed_text = parse_icdar_line(line)
    np.testing.assert_array_equal(parsed, np.array(points, np.float64))
    assert parsed_text == text


def test_icdar_more_points_are_noted(tmp_path):
    write_image(tmp_path / "images/train/a.jpg")
    write(tmp_path / "gts/train/a.txt", f"{_quad_line('x')}\n{_quad_line('word', HEXAGON)}")
    records, report = load_records(tmp_path, "train", format="auto")
    _same(records[0].polygons, [QUAD, HEXAGON])
    assert report.notes == [f"{tmp_path}/gts/train/a.txt, line 2: read as 6 points"]


@pytest.mark.faults("broken annotation line")
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("10,10,20,20,text", "begins with 4 numbers, expected x1,y1,x2,y2,x3,y3,x4,y4,text"),
        ("hello", "begins with 0 numbers"),
        ("1 2 3 4 5 6 7 8 word", "begins with 0 numbers"),
        ("1,2,3,4,5,,7,8,word", "begins with 5 numbers"),
        ("1,2,3,4,5,1_0,7,8,word", "begins with 5 numbers"),
        ("1,2,3,4,####word", "4 numbers before ####, expected pairs, 3 at least"),
        ("1,2,3,4,5,6,7,####word", "7 numbers before ####, expected pairs, 3 at least"),
    ],
)
def test_broken_icdar_lines_are_named(tmp_path, line, reason):
    write_image(tmp_path / "images/train/a.jpg")
    write(tmp_path / "gts/train/gt_a.txt", f"{_quad_line('x')}\n\n{line}\n{_quad_line('y')}\n")
    records, report = scan(tmp_path, "train", format="auto")
    assert records[0].texts == ["x", "y"]
    assert len(report.problems) == 1
    assert report.problems[0].startswith(f"{tmp_path}/gts/train/gt_a.txt, line 3: {reason}")
    assert report.problems[0].endswith(f': "{line}"')


@pytest.mark.faults("annotations not UTF-8")
def test_icdar_that_is_not_utf8_is_refused(tmp_path):
    write_image(tmp_path / "images/train/a.jpg")
    write(tmp_path / "gts/train/a.txt", b"\xef\xbb\xbf1,2\n\xb0\xa1")
    message = f"{tmp_path}/gts/train/a.txt: not UTF-8 at byte 7; save the file as UTF-8"
    assert _problems(tmp_path) == [message]


def test_icdar_nan_is_dropped(tmp_path):
    write_image(tmp_path / "images/train/a.jpg")
    write(tmp_path / "gts/train/a.txt", "1,2,3,4,nan,6,7,8,word\n1,2,3,4,-INF,6,7,8,word")
    assert scan(tmp_path, "train", format="auto")[1].dropped == {"not finite": 2}


def test_icdar_files_that_do_not_pair_are_problems(tmp_path):
    for name in ("a.jpg", "a.png", "b.jpg"):
        write_image(tmp_path / "images/train" / name)
    for name in ("a.txt", "b.txt", "gt_b.txt", "gone.txt"):
        write(tmp_path / "gts/train" / name, _quad_line("x"))
    source = tmp_path / "gts/train"
    assert set(_problems(tmp_path)) == {
        f"{source}: b.jpg has several annotations: gt_b.txt, b.txt",
        f"{source}/a.txt: stands for several images: a.jpg, a.png",
        f"{source}: annotation files without an image in {tmp_path}/images/train (1): gone.txt; "
        "name each like its image, or move it away",
        f"{source}/b.txt: b.jpg is annotated twice",
    }


@pytest.mark.faults("fuzzed ICDAR lines")
@settings(max_examples=200)
@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(
                ["1", "2.5", "-3", "nan", "", " ", "1e999", "####", "###", "x", "\x00"]
            ),
            max_size=20,
        ).map(",".join),
    )
)
def test_icdar_line_gives_points_or_a_value_error(line):
    try:
        points, text = parse_icdar_line(line)
    except ValueError as error:
        assert "number" in str(error)
    else:
        assert points.dtype == np.float64
        assert points.ndim == 2 and points.shape[1] == 2 and len(points) >= 3
        assert text in line


# COCO


def _coco(root, images, annotations, place="annotations/train.json"):
    write_image(root / "images/train/a.png")
    write(root / place, {"images": images, "annotations": annotations})


A_PNG = {"id": 3, "file_name": "a.png", "width": 100, "height": 50}


@pytest.mark.parametrize("place", ["annotations/train.json", "train.json"])
def test_coco_files_are_read_as_written(tmp_path, place):
    flat = [value for point in QUAD for value in point]
    other = [value for point in OTHER for value in point]
    annotations = [
        {"image_id": 3, "segmentation": [flat, other], "iscrowd": 0, "text": "two parts"},
        {"image_id": 3, "bbox": [50, 20, 40, 10], "attributes": {"transcription": "box"}},
        {"image_id": 3, "segmentation": [], "bbox": [50, 20, 40, 10], "iscrowd": 1},
        {"image_id": 3, "segmentation": [flat], "transcription": "###"},
        {"image_id": 3, "segmentation": {"counts": "abc", "size": [50, 100]}},
        {"image_id": 3, "bbox": [50, 20, 0, 10]},
        {"image_id": 3, "bbox": [1e308, -1e308, 1e308, 10]},
    ]
    _coco(tmp_path, [A_PNG], annotations, place)
    records, report = load_records(tmp_path, "train", format="auto")
    assert records[0].image_id == "a.png"
    _same(records[0].polygons, [QUAD, OTHER, OTHER, OTHER, QUAD])
    assert records[0].texts == ["two parts", "two parts", "box", "", "###"]
    assert records[0].ignored.tolist() == [False, False, False, True, True]
    assert report.dropped == {"run-length mask": 1, "zero area": 1, "not finite": 1}
    assert report.marks_ignored == {"iscrowd": 1, "###": 1}
    path = tmp_path / place
    assert f"{path}: annotations[4] of a.png: text dropped: run-length mask" in report.notes


@pytest.mark.faults("COCO of the wrong shape")
@pytest.mark.parametrize(
    ("images", "annotations", "message"),
    [
        (None, [], "images: is missing; must be a list"),
        ([A_PNG], {}, "annotations: found {}; must be a list"),
        ([{"id": 3}], [], "images[0]/file_name: is missing; must be a string"),
        ([{"file_name": "a.png"}], [], "images[0]/id: is missing; must be an integer or a string"),
        ([{**A_PNG, "id": True}], [], "images[0]/id: found true; must be an integer or a string"),
        ([A_PNG, A_PNG], [], "images[1]/id: 3 is taken by a.png"),
        ([A_PNG, {**A_PNG, "id": 4}], [], "images[1]: a.png is annotated twice"),
        ([{**A_PNG, "width": 99}], [], "images[0]: annotated at 99 x 50 pixels"),
        ([A_PNG], [{"image_id": 4}], "annotations[0]/image_id: no image has the id 4"),
        (
            [A_PNG],
            [{"image_id": 3, "segmentation": [[1, 2, 3]]}],
            "annotations[0]/segmentation[0]: must be a list x1, y1, x2, y2, ..., found [1, 2, 3]",
        ),
        (
            [A_PNG],
            [{"image_id": 3, "segmentation": [[1, 2, 3, None]]}],
            "annotations[0]/segmentation[0]: must be a list of [x, y] pairs",
        ),
        ([A_PNG], [{"image_id": 3}], "annotations[0]/bbox: must be a list"),
        (
            [A_PNG],
            [{"image_id": 3, "bbox": [1, 2]}],
            "annotations[0]/bbox: must be x, y, width, height",
        ),
        (
            [A_PNG],
            [{"image_id": 3, "bbox": [1, 2, 3, 4], "text": 1}],
            "annotations[0]/text: found 1; must be a string",
        ),
    ],
)
def test_coco_of_wrong_shape_is_refused(tmp_path, images, annotations, message):
    _coco(tmp_path, images, annotations)
    problems = _problems(tmp_path)
    assert len(problems) == 1
    assert problems[0].startswith(f"{tmp_path}/annotations/train.json: {message}")


# LabelMe


@pytest.mark.parametrize("folder", ["images/train", "jsons/train"])
def test_labelme_files_are_read_as_written(tmp_path, folder):
    shapes = [
        {"label": "text", "shape_type": "polygon", "points": QUAD, "text": "Tea"},
        {"label": "text", "shape_type": "rectangle", "points": [[50, 20], [90, 30]]},
        {"label": "text", "shape_type": "rectangle", "points": OTHER, "description": "four"},
        {"label": "text", "points": QUAD, "description": "###"},
        {"label": "text", "shape_type": "circle", "points": [[1, 1], [2, 2]]},
    ]
    content = {"shapes": shapes, "imageWidth": 100, "imageHeight": 50, "imagePath": "../../x.png"}
    write_image(tmp_path / "images/train/a.png")
    write(tmp_path / folder / "a.json", content)
    records, report = load_records(tmp_path, "train", format="auto")
    assert records[0].image_id == "a.png"
    _same(records[0].polygons[:4], [QUAD, OTHER, OTHER, QUAD])
    assert records[0].texts == ["Tea", "", "four", "###", ""]
    assert records[0].ignored.tolist() == [False, False, False, True, True]
    assert (report.damaged, report.dropped) == ({"shape circle": 1}, {})
    assert report.notes == [f"{tmp_path / folder}/a.json: shapes[4]: text ignored: shape circle"]


@pytest.mark.faults("LabelMe of the wrong shape")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "found []; must be an object"),
        ({}, "shapes: is missing; must be a list"),
        ({"shapes": [1]}, "shapes[0]: found 1; must be an object"),
        ({"shapes": [{"points": 1}]}, "shapes[0]/points: must be a list of [x, y] pairs"),
        (
            {"shapes": [{"shape_type": "rectangle", "points": QUAD[:3]}]},
            "shapes[0]/points: a rectangle has 2 or 4, found 3",
        ),
        ({"shapes": [], "imageWidth": 50, "imageHeight": 50}, "annotated at 50 x 50 pixels"),
        ('{"shapes": [], "shapes": []}', "key 'shapes' stands twice in one object"),
    ],
)
def test_labelme_of_wrong_shape_is_refused(tmp_path, content, message):
    write_image(tmp_path / "images/train/a.png")
    write(tmp_path / "images/train/a.json", content)
    problems = _problems(tmp_path)
    assert len(problems) == 1
    assert problems[0].startswith(f"{tmp_path}/images/train/a.json: {message}")


# Finding the annotations


def test_nothing_found_says_where_it_looked(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    assert _problems(tmp_path) == [
        f"{tmp_path}/images/train: no such folder; it should hold the images; {tmp_path} holds no "
        "images"
    ]
    write_image(tmp_path / "images/train/a.png")
    assert _problems(tmp_path) == [
        f"{tmp_path}: no annotations of train; looked for jsons/train.json, annotations/train.json,"
        " gts/train/, labels/train/ and the other places in docs/data-formats.md"
    ]
    assert _problems(tmp_path, "ufo") == [
        f"{tmp_path}: no annotations of train; looked for jsons/train.json (ufo)"
    ]
    with pytest.raises(ValueError, match="annotation format 'dota': must be auto, ufo"):
        load_records(tmp_path, "train", format="dota")


def test_several_annotations_need_a_format(tmp_path):
    _ufo(tmp_path, {"a.png": _words(QUAD)})
    write(tmp_path / "gts/train/a.txt", _quad_line("x", OTHER))
    assert _problems(tmp_path) == [
        f"{tmp_path}: several annotations of train, name the format or move the others away: "
        "jsons/train.json (ufo), gts/train (icdar)"
    ]
    for format, polygon in (("ufo", QUAD), ("icdar", OTHER)):
        _same(load_records(tmp_path, "train", format=format)[0][0].polygons, [polygon])


# The table


def test_summary_of_a_clean_split_is_one_line(tmp_path):
    _ufo(tmp_path, {"a.png": _words(QUAD)})
    _, report = load_records(tmp_path, "train", format="auto")
    height = 640 * float(report.text_heights[0])
    assert summary_table({"train": report}, image_size=640) == (
        f"train: ufo, 1 image, 1 text, median height {height:.1f} px at 640"
    )


def test_summary_table_counts_each_split(tmp_path):
    tall = [[0, 0], [20, 0], [20, 10], [0, 10]]  # 10 of 100 pixels
    tilted = [[50, 10], [70, 30], [66, 34], [46, 14]]  # 4 * sqrt(2)
    hidden = {"points": OTHER, "illegibility": True}
    crossed = {"points": [tall[i] for i in (0, 1, 3, 2)], "transcription": "###"}
    words = {"1": {"points": tall}, "2": {"points": tilted}, "3": hidden, "4": {"points": []}}
    words |= {"5": {"points": [[1, 1], [9, 9]]}, "6": crossed}
    _ufo(tmp_path, {"a.png": {"words": words}, "b.png": {"words": {"1": hidden}}})
    write_image(tmp_path / "images/train/c.png")
    _, report = load_records(tmp_path, "train", format="auto")
    np.testing.assert_allclose(sorted(report.text_heights), [0.04 * 2**0.5, 0.1], rtol=1e-5)
    none = scan(tmp_path / "absent", "val", format="auto")
    table = summary_table({"train": report, "val": none[1]}, image_size=1000)
    assert table.splitlines() == [
        "train: ufo, 2 images, 2 texts, 4 ignored (66.7%), 1 repaired, 1 dropped, "
        "median height 78.3 px at 1000",
        "val: no annotations, 0 images, 0 texts",
        "also counted                           train  val",
        "images without legible text                1    0",
        "images without annotation, not used        1    0",
        "marked illegible, ignored                  2    0",
        "marked ###, ignored                        1    0",
        "damaged, ignored: fewer than 3 points      1    0",
        "repaired: corners reordered                1    0",
        "dropped: fewer than 3 points               1    0",
    ]
