"""Hard receipts: exact outlines on bent paper, correct labels, reproducible by seed."""

import hashlib
import json
import re

import cv2
import numpy as np
import pytest

from dbnet.data.annotations.scan import load_records
from dbnet.errors import InputError
from dbnet.geometry import area
from dbnet.settings import DataConfig
from dbnet.structures import Record
from dbnet.synthetic import dataset
from dbnet.synthetic.arabic import logical, visual
from dbnet.synthetic.camera import resample
from dbnet.synthetic.dataset import Folders, build
from dbnet.synthetic.fonts import Typeface, draw_word
from dbnet.synthetic.hard_rows import excerpt, write_hard_receipt
from dbnet.synthetic.installed import choose_face, find_fonts, writable
from dbnet.synthetic.kinds import KINDS, draw_kinds
from dbnet.synthetic.layout import Receipt, Row, left, pair
from dbnet.synthetic.material import Material, fingerprint, load_material
from dbnet.synthetic.placing import PlacedSheet, outline
from dbnet.synthetic.scene import draw_scene
from dbnet.synthetic.sheet import Printer, typeset
from dbnet.synthetic.surface import draw_surface
from dbnet.synthetic.text import write_receipt
from dbnet.synthetic.visibility import Text, behind_paper, clipped, legible
from dbnet.synthetic.words import LOCALES, Shop
from tests.drawing import contents

NOTHING = Material()
PLAIN_FACE = Typeface("sans", 400, 1.0, 0.0, False, "smooth")
BOX = np.float32([[10, 10], [60, 10], [60, 30], [10, 30]])


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng([6, seed])


def _shop(seed: int) -> Shop:
    return Shop(_rng(seed), LOCALES[:2])


def _set(rows: list[Row], seed: int = 0, **changes):
    printer = Printer(PLAIN_FACE, PLAIN_FACE, 20, 1.2)._replace(**changes)
    return typeset(Receipt(rows, 40, True), _rng(seed), length=0, level="lines", printer=printer)


# Scenes


@pytest.mark.parametrize("seed", range(6))
def test_the_same_seed_gives_the_same_scene(seed):
    first, again = (draw_scene(_rng(seed), NOTHING, level="lines") for _ in range(2))
    other = draw_scene(_rng(seed + 100), NOTHING, level="lines")
    assert first.image.tobytes() == again.image.tobytes()
    assert first.texts == again.texts and first.ignored == again.ignored
    assert all(map(np.array_equal, first.polygons, again.polygons))
    assert first.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_alone_gives_sound_labels(kind):
    scene = draw_scene(_rng(3), NOTHING, level="words", kinds={kind})
    height, width = scene.image.shape[:2]
    assert scene.image.dtype == np.uint8 and scene.image.shape[2] == 3
    assert 900 <= max(height, width) <= 1400
    assert len(scene.polygons) == len(scene.texts) == len(scene.ignored) > 0
    for polygon in scene.polygons:
        assert polygon.dtype == np.float32 and polygon.ndim == 2 and len(polygon) >= 3
        assert (polygon >= 0).all() and (polygon <= (width - 1, height - 1)).all()
        assert area(polygon) > 2


def test_legible_texts_stand_out_from_the_paper():
    faint = []
    for seed in range(10):
        scene = draw_scene(_rng(seed), NOTHING, level="lines")
        grey = cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY)
        for polygon, ignored in zip(scene.polygons, scene.ignored, strict=True):
            x, y, w, h = cv2.boundingRect(polygon)
            crop = grey[max(0, y) : y + h, max(0, x) : x + w]
            if not ignored:
                faint.append(np.ptp(np.percentile(crop, (4, 95))) < 12)
    assert np.mean(faint) < 0.01


def test_kinds_come_as_often_as_they_should():
    drawn = [draw_kinds(_rng(seed)) for seed in range(400)]
    for kind, chance in KINDS.items():
        assert abs(np.mean([kind in kinds for kinds in drawn]) - chance) < 0.09


def test_texts_of_a_background_are_ignored(tmp_path):
    photo = np.full((600, 500, 3), 120, np.uint8)
    path = tmp_path / "street.png"
    cv2.imwrite(str(path), photo)
    boxes = [np.float32([[x, y], [x + 30, y], [x + 30, y + 12], [x, y + 12]])
             for y in range(5, 590, 30) for x in range(5, 460, 45)]  # fmt: skip
    record = Record(str(path), path.name, boxes, np.zeros(len(boxes), bool), ["x"] * len(boxes))
    material = Material(backgrounds=[record])
    scene = draw_scene(_rng(1), material, kinds={"street photo"})
    ignored = [text for text, ignored in zip(scene.texts, scene.ignored, strict=True) if ignored]
    assert 5 < len(ignored) < len(boxes), "those beneath the receipt are gone"
    assert set(ignored) == {""}
    assert sum(not ignored for ignored in scene.ignored) > 5


# Bent paper


@pytest.mark.parametrize("seed", range(6))
def test_print_and_outlines_move_together_on_bent_paper(seed):
    """Dots on creased paper land where the points of the surface say."""
    shape = (900, 500)
    surface = draw_surface(_rng(seed), shape, em=20, creased=True)
    matrix = np.array([[0.93, -0.08, 70.0], [0.07, 0.96, 20.0], [4e-5, -3e-5, 1.0]])
    placed = PlacedSheet(surface, matrix)
    marks = np.stack(np.meshgrid(np.arange(40, 480, 60), np.arange(40, 880, 60)), -1).reshape(-1, 2)
    assert np.abs(surface.back(surface.move(marks.astype(float))) - marks).max() < 0.02
    paper = np.zeros((*shape, 3), np.float32)
    for x, y in marks:
        paper[y, x] = 1
    paper = cv2.GaussianBlur(paper, (0, 0), 2.0)
    paper = np.round(paper * 250 / paper.max()).astype(np.uint8)
    image = resample(paper, (1000, 620), placed.back, grid=12)[:, :, 0].astype(float)
    for x, y in placed.points(marks):
        x0, y0 = round(x) - 8, round(y) - 8
        patch = image[y0 : y0 + 17, x0 : x0 + 17]
        rows, columns = np.mgrid[y0 : y0 + 17, x0 : x0 + 17]
        middle = (patch * columns).sum() / patch.sum(), (patch * rows).sum() / patch.sum()
        assert np.hypot(middle[0] - x, middle[1] - y) < 0.25


def test_outlines_are_quads_unless_the_paper_is_bent():
    flat = draw_surface(_rng(0), (400, 400), em=20, creased=False)
    flat = flat._replace(push=0 * flat.push)
    quad = np.float32([[30, 50], [330, 50], [330, 75], [30, 75]])
    assert np.allclose(outline(PlacedSheet(flat, np.eye(3)), quad, 20), quad, atol=1e-4)
    bent = flat._replace(
        across=np.array([[1.0, 0]]), offset=np.zeros(1), width=np.array([60.0]),
        push=np.array([[0, 5.0]]), is_wave=np.array([True]),
    )  # fmt: skip
    placed = PlacedSheet(bent, np.eye(3))
    curved = outline(placed, quad, 20)
    assert len(curved) > 6
    along = np.stack([np.linspace(30, 330, 200), np.full(200, 50.0)], axis=1)
    away = [abs(cv2.pointPolygonTest(curved, p.tolist(), True)) for p in placed.points(along)]
    assert max(away) < 0.6


# What can be seen


def test_texts_beyond_the_border_are_clipped_or_ignored():
    text = Text(BOX, "abc", False)
    assert clipped(text, (100, 100)) is text
    half = clipped(text, (100, 41))
    assert half is not None and not half.ignored and half.text == ""
    assert half.outline.max(axis=0).tolist() == [40, 30]
    low = clipped(text, (16, 100))
    assert low is not None and low.ignored, "5 of 20 pixels of height are left"
    assert clipped(text, (11, 100)) is None and clipped(text, (9, 100)) is None


def test_texts_behind_paper_are_ignored_or_gone():
    text = Text(BOX, "abc", False)
    mask = np.zeros((100, 100), np.uint8)
    assert behind_paper(text, mask) is text
    mask[:, 50:] = 255
    covered = behind_paper(text, mask)
    assert covered is not None and covered.ignored and covered.text == ""
    mask[:] = 255
    assert behind_paper(text, mask) is None


def test_text_that_nobody_can_read_is_ignored():
    image = np.full((100, 100, 3), 200, np.uint8)
    text = Text(BOX, "abc", False)
    for ink, ignored in ((195, True), (120, False)):
        cv2.putText(image, "abc", (14, 27), (ink,) * 3, cv2.FontFace("sans"), 18, 700)
        assert legible(text, image).ignored == ignored


# Rows


def test_separators_and_codes_have_no_labels():
    marks = ("*", "-=", "* ", "_", "#")
    rows = [Row("rule", mark=mark) for mark in marks]
    rows += [Row(kind, size=3.0) for kind in ("barcode", "qr", "stack")]
    sheet = _set(rows)
    assert sheet.quads == [] and (sheet.ink > 128).sum() > 1000


def test_dots_between_item_and_price_are_in_no_box():
    sheet = _set([pair("Item", "3.50", "edges")._replace(kind="leader")])
    assert sheet.texts == ["Item", "3.50"]
    x0, x1 = round(sheet.quads[0][1, 0]), round(sheet.quads[1][0, 0])
    assert x1 - x0 > 100 and (sheet.ink[:, x0 + 2 : x1 - 2] > 128).sum() > 50


def test_white_on_black_stays_inside_its_band_at_tight_leading():
    rows = [Row("text", (left("Agjpqy"),), inverse=True)]
    sheet = _set(rows, seed=1, leading=0.8)  # this seed draws no specks
    x0, y0 = np.round(sheet.quads[0][0] + 0.5).astype(int)
    x1, y1 = np.round(sheet.quads[0][2] - 0.5).astype(int)
    rim = sheet.ink[y0 : y1 + 1, x0 : x1 + 1]
    assert min(rim[0].min(), rim[-1].min(), rim[:, 0].min(), rim[:, -1].min()) > 250


def test_a_black_block_lies_behind_all_its_rows():
    words = [Row("text", (left(text, 0.04, 0.9),)) for text in ("Agjpqy", "Second", "Third")]
    sheet = _set([Row("frame"), *words, Row("unframe", inverse=True)])
    assert sheet.texts == ["Agjpqy", "Second", "Third"]
    x0, y0 = np.floor(np.min(sheet.quads, axis=(0, 1))).astype(int)
    x1, y1 = np.ceil(np.max(sheet.quads, axis=(0, 1))).astype(int)
    around = np.ones_like(sheet.ink, bool)[y0 : y1 + 1, x0 : x1 + 1]
    for quad in sheet.quads:
        (left_x, top_y), (right_x, bottom_y) = np.round(quad[[0, 2]]).astype(int) - (x0, y0)
        text = sheet.ink[y0 + top_y : y0 + bottom_y, x0 + left_x : x0 + right_x]
        assert (text < 30).mean() > 0.1, "letters are white"
        around[top_y : bottom_y + 1, left_x : right_x + 1] = False
    assert sheet.ink[y0 : y1 + 1, x0 : x1 + 1][around].mean() > 190


@pytest.mark.parametrize("pitch", [0.0, 0.6])
def test_tracking_adds_the_same_gap_after_every_letter(pitch):
    face = PLAIN_FACE._replace(pitch=pitch)
    plain, apart = (draw_word("MMMM", 40, face._replace(tracking=t)) for t in (0.0, 0.5))
    assert apart.dx == plain.dx and apart.dy == plain.dy
    assert abs(apart.advance - plain.advance - 3 * 20) <= 4  # advances are whole pixels
    assert abs(apart.ink.shape[1] - plain.ink.shape[1] - 3 * 20) <= 4
    blank = (apart.ink.max(axis=0) < 64).astype(int)
    gaps = np.flatnonzero(np.diff(blank) == -1) - np.flatnonzero(np.diff(blank) == 1)
    wide = gaps[gaps >= 20]
    assert len(wide) == 3 and np.ptp(wide) <= 1


def test_letters_without_ink_are_drawn_apart_too():
    assert draw_word("  ", 40, PLAIN_FACE._replace(tracking=0.5)).ink.shape == (0, 0)


@pytest.mark.parametrize("style", [{"stretch": 2.5}, {"tracking": 0.6}])
def test_wide_print_has_one_box_a_line(style):
    rows = [Row("text", (left("Two words"),), **style), Row("text", (left("Two words"),))]
    sheet = _set(rows)
    assert sheet.texts == ["Two words"] * 2
    wide, usual = (np.ptp(quad[:, 0]) for quad in sheet.quads)
    assert 1.5 < wide / usual < 3


def test_masked_card_numbers_lie_in_boxes_with_their_marks():
    found = 0
    for seed in range(20):
        texts = _set(write_hard_receipt(_shop(seed), ["card data"]).rows).texts
        found += sum(bool(re.search(r"([#*Xx])\1{5}\S*\d{3}", text)) for text in texts)
        assert any(
            "EMV" in text or "PAN" in text or "VU" in text or "AID" in text for text in texts
        )
    assert found > 20


def test_large_letters_at_the_border_enlarge_the_sheet():
    wide = PLAIN_FACE._replace(font="italic", stretch=1.9)
    row = Row("text", (left("jÅfÉ"),), size=9.0, display=True)
    for leading in (0.5, 0.8):
        sheet = _set([row], display=wide, leading=leading)
        (quad,) = sheet.quads
        x0, y0, x1, y1 = np.round([*(quad[0] + 1.5), *(quad[2] - 1.5)]).astype(int)
        assert min(x0, y0) >= 0 and y1 < sheet.ink.shape[0] and x1 < sheet.ink.shape[1]
        box = sheet.ink[y0 : y1 + 1, x0 : x1 + 1]
        assert all(side.max() > 60 for side in (box[0], box[-1], box[:, 0], box[:, -1]))


def test_an_excerpt_is_a_run_of_rows_with_whole_frames():
    for seed in range(30):
        shop = _shop(seed)
        rows = write_hard_receipt(shop, KINDS).rows
        part = excerpt(shop, rows, 12.0, from_top=seed % 2 == 0)
        assert 6 < sum(row.size for row in part) < 25
        assert seed % 2 or part[0] == rows[0]
        kinds = [row.kind for row in part if row.kind in ("frame", "unframe")]
        assert kinds == ["frame", "unframe"] * (len(kinds) // 2)
        assert excerpt(shop, rows, 1e6, from_top=False) == rows


def test_plain_receipts_say_what_they_always_said():
    receipts = [write_receipt(np.random.default_rng([0, 1, i])) for i in range(20)]
    rows = [row for receipt in receipts for row in receipt.rows]
    said = "\n".join("|".join(cell.text for cell in row.cells) for row in rows)
    assert hashlib.sha256(said.encode()).hexdigest()[:16] == "631c28cc3caeea33"


# Fonts and scripts


def test_arabic_is_joined_and_reversed_and_comes_back():
    assert visual("كم") == "\ufee2\ufedb"  # final meem, initial kaf
    for text in ("المجموع الكلي", "رقم 123", "TOTAL 5.00"):
        assert logical(visual(text)) == text
    assert visual("رقم 123").startswith("123 ")
    assert visual("TOTAL") == "TOTAL"


def test_without_font_files_the_built_in_fonts_are_used(tmp_path):
    assert find_fonts(tmp_path / "none") == ()
    assert writable("korean", ()) and not writable("thai", ())
    (tmp_path / "sub").mkdir()
    for name in ("TlwgTypewriter.ttf", "Unheard-Of.ttf"):
        (tmp_path / "sub" / name).write_bytes(b"")
    (font,) = find_fonts(tmp_path)
    assert font.path.endswith("TlwgTypewriter.ttf") and writable("thai", (font,))
    assert choose_face(_rng(0), (font,), language="thai", spaced=True).font == font.path
    for seed in range(5):
        face = choose_face(_rng(seed), (font,), language="korean", spaced=False)
        assert face.font == "uni"


# Building


def test_hard_and_plain_sets_lie_side_by_side(tmp_path):
    counts = {"train": 2, "val": 1, "seed": 4, "workers": 0}
    plain = build(tmp_path, **counts)
    hard = build(tmp_path, **counts, style="hard", level="lines")
    assert plain.name == f"v{dataset.VERSION}-seed4-train2-val1"
    assert hard.name.startswith(f"v{dataset.VERSION}-seed4-hard{dataset.HARD_VERSION}-")
    assert hard.name.endswith("-lines-train2-val1")
    listed = json.loads((hard / "jsons" / "train.json").read_text("utf-8"))["images"]
    records, report = load_records(hard, "train", format="ufo")
    assert not report.dropped and len(records) == 2
    for record in records:
        words = listed[record.image_id]["words"].values()
        assert [word.get("illegibility", False) for word in words] == record.ignored.tolist()
    before = contents(hard)
    (hard / "images" / "train" / "drawn_00001.jpg").unlink()
    assert build(tmp_path, **counts, style="hard", level="lines") == hard
    assert contents(hard) == before


def test_workers_draw_the_same_hard_receipts(tmp_path):
    counts = {"train": 2, "val": 0, "seed": 1, "style": "hard"}
    alone = build(tmp_path / "a", **counts, workers=0)
    pool = build(tmp_path / "b", **counts, workers=2)
    assert contents(alone) == contents(pool)


def test_photos_of_the_user_change_the_folder_and_are_used(tmp_path):
    papers = tmp_path / "papers"
    papers.mkdir()
    folders = Folders(textures=papers)
    with pytest.raises(InputError, match="no image below it"):
        load_material(folders)
    empty = fingerprint(folders)
    noise = _rng(0).integers(90, 200, (300, 200, 3), dtype=np.uint8)
    cv2.imwrite(str(papers / "a.png"), noise)
    assert fingerprint(folders) != empty
    material = load_material(folders)
    assert material.textures == [str(papers / "a.png")]
    assert material.pick(_rng(1)).textures == material.textures
    bare = draw_scene(_rng(2), NOTHING, kinds={"creases"})
    textured = draw_scene(_rng(2), Material(textures=material.textures), kinds={"creases"})
    assert bare.image.tobytes() != textured.image.tobytes()


def test_a_data_set_as_background_brings_its_texts(tmp_path):
    street = build(tmp_path, train=2, val=0, seed=0, workers=0)
    material = load_material(Folders(backgrounds=street))
    assert len(material.backgrounds) == 2 and len(material.backgrounds[0].polygons) > 30
    (picked,) = material.pick(_rng(0)).backgrounds
    assert picked.image_path in {record.image_path for record in material.backgrounds}


def test_a_missing_folder_is_named_with_its_flag(tmp_path):
    with pytest.raises(InputError, match=r"gone: no such folder; correct --data\.drawn-textures"):
        fingerprint(Folders(textures=tmp_path / "gone"))
    with pytest.raises(InputError, match=r"--data\.drawn-backgrounds: is for"):
        DataConfig(drawn_backgrounds=tmp_path)


def test_long_annotations_take_several_comments(tmp_path):
    note = json.dumps({"words": "é" * 100_000}, ensure_ascii=False)
    path = tmp_path / "a.jpg"
    parts = list(dataset._comments(note.encode()))
    assert len(parts) == 4
    path.write_bytes(b"\xff\xd8" + b"".join(parts) + b"\xff\xe0rest\xff\xd9")
    assert dataset._annotation(path) == note
    path.write_bytes(path.read_bytes()[:-2])
    assert dataset._annotation(path) is None
