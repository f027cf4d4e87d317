"""Drawn receipts: exact boxes, plausible counts, and no image drawn twice."""

import json
import os
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from dbnet.synthetic.camera import Warp, photograph
from dbnet.synthetic.dataset import VERSION, build, draw_receipt
from dbnet.synthetic.fonts import Typeface, draw_word
from dbnet.synthetic.layout import count_words
from dbnet.synthetic.sheet import Sheet, grown_box, typeset
from dbnet.synthetic.text import MAX_WORDS, MIN_WORDS, write_receipt
from dbnet.synthetic.words import LOCALES, vocabulary
from tests.drawing import contents

SEEDS = range(16)


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng([5, seed])


@pytest.fixture(scope="module")
def drawn():
    return [draw_receipt(_rng(seed)) for seed in SEEDS]


# Drawing


def test_the_same_rng_gives_the_same_bytes(drawn):
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    image, quads, texts = draw_receipt(_rng(3))
    assert image.tobytes() == drawn[3][0].tobytes()
    assert np.array_equal(quads, drawn[3][1])
    assert texts == drawn[3][2]
    assert image.tobytes() != drawn[4][0].tobytes()


def test_the_rng_is_the_only_input():
    """Drawing other receipts in between changes nothing, although fonts and glyphs are cached."""
    rng = _rng(0)
    first, second = draw_receipt(rng)[0], draw_receipt(rng)[0]
    rng = _rng(0)
    assert np.array_equal(draw_receipt(rng)[0], first)
    draw_receipt(_rng(9))
    assert np.array_equal(draw_receipt(rng)[0], second)


def test_a_receipt_is_an_image_and_its_words(drawn):
    for image, quads, texts in drawn:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        assert 900 <= max(image.shape) <= 1401
        assert 40 <= len(quads) == len(texts) <= 200
        assert all(text and text == "".join(text.split()) for text in texts)


def test_lines_are_the_words_between_wide_gaps(drawn):
    """Every word lies in the line that contains its text."""
    for seed in SEEDS:
        _, words, texts = drawn[seed]
        _, lines, line_texts = draw_receipt(_rng(seed), level="lines")
        assert sorted(" ".join(line_texts).split()) == sorted(texts)
        assert len(words) / 8 < len(lines) < len(words)
        for quad, text in zip(lines, line_texts, strict=True):
            inside = [
                cv2.pointPolygonTest(quad, word.mean(axis=0).tolist(), False) > 0 for word in words
            ]
            said = {text for text, is_inside in zip(texts, inside, strict=True) if is_inside}
            assert set(text.split()) <= said


def test_quads_are_convex_clockwise_and_inside(drawn):
    for image, quads, _ in [*drawn, draw_receipt(_rng(2), level="lines")]:
        height, width = image.shape[:2]
        for quad in quads:
            assert quad.dtype == np.float32 and quad.shape == (4, 2)
            assert (quad >= 0).all() and (quad <= (width - 1, height - 1)).all()
            edges = np.roll(quad, -1, axis=0) - quad
            following = np.roll(edges, -1, axis=0)
            turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
            assert (turns > 0).all(), "clockwise on screen, every corner"
            assert np.linalg.norm(edges, axis=1).min() > 2


def test_words_stand_out_from_their_surroundings(drawn):
    """In the finished image a word's darkest strokes are darker than the ring around its quad."""
    darker = []
    for image, quads, _ in drawn:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        for quad in quads:
            x, y, w, h = cv2.boundingRect(np.round(quad).astype(np.int32))
            crop = grey[max(0, y - 3) : y + h + 3, max(0, x - 3) : x + w + 3]
            inside = np.zeros(crop.shape, np.uint8)
            local = np.round(quad - (max(0, x - 3), max(0, y - 3))).astype(np.int32)
            cv2.fillConvexPoly(inside, local, 1)
            ring = cv2.dilate(inside, np.ones((5, 5), np.uint8)) - inside
            darker.append(np.percentile(crop[inside > 0], 5) < np.median(crop[ring > 0]) - 8)
    assert np.mean(darker) > 0.97


@pytest.mark.parametrize("seed", SEEDS)
def test_quads_hug_the_ink(seed):
    """Before the photo: ink reaches all four sides of the box one pixel inside each quad."""
    rng = _rng(seed)
    sheet = typeset(write_receipt(rng), rng, length=1200)
    for quad, text in zip(sheet.quads, sheet.texts, strict=True):
        x0, y0 = np.round(quad[0] + 1.5).astype(int)  # first inked pixel
        x1, y1 = np.round(quad[2] - 1.5).astype(int)  # last one
        box = sheet.ink[y0 : y1 + 1, x0 : x1 + 1].astype(int)
        white_on_black = sheet.ink[y0 - 1 : y1 + 2, x0 - 1].min() == 255
        box = 255 - box if white_on_black else box
        for side in (box[0], box[-1], box[:, 0], box[:, -1]):
            assert side.max() >= 64, text


@pytest.mark.parametrize("seed", SEEDS)
def test_no_ink_without_a_quad(seed):
    """With the graphics left out, all ink but the fringe of anti-aliasing lies inside quads."""
    rng = _rng(seed)
    receipt = write_receipt(rng)
    plain = [row._replace(inverse=False) for row in receipt.rows if row.kind in ("text", "gap")]
    sheet = typeset(receipt._replace(rows=plain), rng, length=1200)
    ink = sheet.ink.copy()
    for quad in sheet.quads:
        x0, y0, x1, y1 = np.round([*(quad[0] + 0.5), *(quad[2] - 0.5)]).astype(int)
        ink[y0 : y1 + 1, x0 : x1 + 1] = 0
    assert (sheet.ink >= 64).sum() > 1000
    assert (ink >= 64).sum() == 0


def test_the_warp_moves_points_and_pixels_alike():
    matrix = np.array([[0.94, -0.06, 30.0], [0.04, 0.97, 12.0], [3e-5, -4e-5, 1.0]])
    warp = Warp(matrix, height=6.0, waves=0.012, phase=0.7)
    x, y = np.meshgrid(np.arange(30, 400, 67), np.arange(25, 600, 83))
    marks = np.stack([x.ravel(), y.ravel()], axis=1)
    paper = np.zeros((620, 420, 3), np.float32)
    for u, v in marks:
        paper[v, u] = 1
    paper = cv2.GaussianBlur(paper, (0, 0), 2.0)
    paper = np.round(paper * 250 / paper.max()).astype(np.uint8)
    image = warp.image(paper, (640, 460))[:, :, 0].astype(float)
    for u, v in warp.points(marks):
        left, top = round(u) - 9, round(v) - 9
        patch = image[top : top + 19, left : left + 19]
        rows, columns = np.mgrid[top : top + 19, left : left + 19]
        centre = (patch * columns).sum() / patch.sum(), (patch * rows).sum() / patch.sum()
        assert np.hypot(centre[0] - u, centre[1] - v) < 0.1


@pytest.mark.parametrize("seed", range(8))
def test_quads_land_on_the_photographed_ink(seed):
    """Black blocks instead of words: each stays centred in its quad, scanned or photographed."""
    ink = np.zeros((1000, 500), np.uint8)
    quads = []
    for y in range(40, 960, 92):
        for x in range(30, 460, 88):
            ink[y : y + 24, x : x + 60] = 255
            quads.append(grown_box(x, y, 60, 24))
    sheet = Sheet(ink, quads, ["block"] * len(quads), 22)
    image, moved, _ = photograph(sheet, _rng(seed), length=1100)
    offsets = []
    for quad in moved[: len(quads)]:
        x, y, w, h = cv2.boundingRect(quad)
        x, y, w, h = x - 3, y - 3, w + 6, h + 6
        patch = image[y : y + h, x : x + w].astype(float).mean(axis=2)
        rows, columns = np.mgrid[y : y + h, x : x + w]
        dark = patch < (patch.min() + patch.max()) / 2
        offsets.append(np.array([columns[dark].mean(), rows[dark].mean()]) - quad.mean(axis=0))
    assert np.abs(np.median(offsets, axis=0)).max() < 0.35
    assert np.median(np.abs(offsets)) < 0.35


def test_word_counts_vary_over_many_receipts():
    counts = [count_words(write_receipt(_rng(seed)).rows) for seed in range(300)]
    assert min(counts) >= MIN_WORDS and max(counts) <= MAX_WORDS
    assert 95 <= np.median(counts) <= 125
    assert np.std(counts) > 25


def test_every_character_has_a_glyph():
    face = Typeface("uni", 400, 1.0, 0.0, False, "smooth")
    missing = draw_word("?", 24, face).ink
    for language in {locale.language for locale in LOCALES}:
        phrases = "".join("".join(phrases) for phrases in vocabulary(language).values())
        symbols = "".join("".join(locale.money.symbols) for locale in LOCALES)
        for char in sorted(set(phrases + phrases.upper() + symbols) - set("? \u3000")):
            ink = draw_word(char, 24, face).ink
            assert ink.size and not np.array_equal(ink, missing), (language, char)


def test_every_key_is_there():
    english = set(vocabulary("english"))
    for locale in LOCALES:
        words = vocabulary(locale.language)
        assert english <= set(words)
        for key in ("meta", "slip", "fuel"):
            assert all("=" in entry for entry in words[key]), (locale.language, key)


# Building


def _build(root, **changes):
    return build(root, **{"train": 3, "val": 2, "seed": 4, "workers": 0, **changes})


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Contents of a finished folder, drawn in this process: {relative path: bytes}."""
    return contents(_build(tmp_path_factory.mktemp("drawn")))


def _restore(root, built):
    folder = root / f"v{VERSION}-seed4-train3-val2"
    for name, content in built.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        os.utime(folder / name, (1e9, 1e9))
    return folder


def test_a_drawn_data_set_is_read_as_it_was_drawn(built, tmp_path):
    folder = _restore(tmp_path, built)
    assert sorted(built) == [
        *(f"images/train/drawn_{i:05d}.jpg" for i in range(3)),
        *(f"images/val/drawn_{i:05d}.jpg" for i in range(2)),
        "jsons/train.json",
        "jsons/val.json",
    ]
    for stream, (split, count) in enumerate((("train", 3), ("val", 2))):
        images = json.loads((folder / "jsons" / f"{split}.json").read_text("utf-8"))["images"]
        assert list(images) == [f"drawn_{i:05d}.jpg" for i in range(count)]
        for i, (name, record) in enumerate(images.items()):
            image, quads, texts = draw_receipt(np.random.default_rng([4, stream, i]))
            words = record["words"]
            assert list(words) == [f"{number:04d}" for number in range(1, len(quads) + 1)]
            points = np.array([word["points"] for word in words.values()])
            assert np.abs(points - quads).max() < 0.006
            assert [word["transcription"] for word in words.values()] == texts
            with Image.open(folder / "images" / split / name) as file:
                assert file.mode == "RGB"
                pixels = np.asarray(file)
            assert (record["img_h"], record["img_w"]) == pixels.shape[:2]
            assert np.abs(pixels.astype(int) - image).mean() < 6  # JPEG, channels in order


def test_images_do_not_depend_on_counts_or_neighbours(built, tmp_path):
    more = contents(_build(tmp_path, train=4, val=1))
    for i in range(3):
        name = f"images/train/drawn_{i:05d}.jpg"
        assert more[name] == built[name]
    assert more["images/val/drawn_00000.jpg"] == built["images/val/drawn_00000.jpg"]
    assert built["images/train/drawn_00000.jpg"] != built["images/val/drawn_00000.jpg"]
    assert len(json.loads(more["jsons/train.json"])["images"]) == 4


def test_other_counts_reuse_images_and_disturb_nothing(built, tmp_path, monkeypatch):
    folder = _restore(tmp_path, built)
    monkeypatch.setattr("dbnet.synthetic.dataset.draw_receipt", None)  # drawing would fail
    smaller = _build(tmp_path, train=2, val=2)
    assert smaller != folder
    assert list(json.loads((smaller / "jsons/train.json").read_text("utf-8"))["images"]) == [
        "drawn_00000.jpg",
        "drawn_00001.jpg",
    ]
    assert contents(folder) == built


def test_second_call_touches_nothing(built, tmp_path, monkeypatch):
    folder = _restore(tmp_path, built)
    monkeypatch.setattr("dbnet.synthetic.dataset.draw_receipt", None)
    assert _build(tmp_path) == folder
    assert contents(folder) == built
    assert {path.stat().st_mtime for path in folder.rglob("*.*")} == {1e9}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.unlink(), id="deleted"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1000]), id="cut off"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:50]), id="cut off early"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
    ],
)
def test_broken_images_are_redrawn_and_only_they(built, tmp_path, damage):
    folder = _restore(tmp_path, built)
    damage(folder / "images/train/drawn_00001.jpg")
    _build(tmp_path)
    assert contents(folder) == built
    touched = [path.name for path in folder.rglob("*.*") if path.stat().st_mtime != 1e9]
    assert touched == ["drawn_00001.jpg"]


def test_lists_come_back_without_drawing(built, tmp_path, monkeypatch):
    folder = _restore(tmp_path, built)
    (folder / "jsons/train.json").unlink()
    (folder / "jsons/val.json").write_text("{")
    monkeypatch.setattr("dbnet.synthetic.dataset.draw_receipt", None)
    _build(tmp_path)
    assert contents(folder) == built


def test_drafts_of_killed_processes_go_away(built, tmp_path):
    folder = _restore(tmp_path, built)
    old, young = (folder / "images/train" / f".drawn_00000.jpg.{x}.tmp" for x in ("old", "young"))
    for draft in (old, young):
        draft.write_bytes(b"half an image")
    os.utime(old, (time.time() - 3600,) * 2)
    _build(tmp_path)
    assert not old.exists()
    assert young.exists(), "another process may be writing it"


@pytest.mark.parametrize("name", ["dbnet.synthetic.dataset.draw_receipt", "pathlib.Path.replace"])
def test_a_failure_leaves_no_draft_and_no_list(tmp_path, monkeypatch, name):
    def fail(*_, **__):
        raise OSError("power cut")

    monkeypatch.setattr(name, fail)
    with pytest.raises(OSError, match="power cut"):
        _build(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_processes_draw_the_same(built, tmp_path):
    folder = _build(tmp_path, val=0, workers=2)
    parallel = contents(folder)
    assert json.loads(parallel.pop("jsons/val.json")) == {"images": {}}
    assert parallel == {name: built[name] for name in parallel}
    assert len(parallel) == 4


@pytest.mark.parametrize("name", ["train", "val", "seed", "workers"])
def test_negative_numbers_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} is -1"):
        _build(tmp_path, **{name: -1})
    assert not list(tmp_path.iterdir())
