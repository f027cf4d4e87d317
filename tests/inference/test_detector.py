"""Detector: inputs, results, errors, and no side effects."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import predict
from configs import PredictConfig
from dbnet import Detector, Found
from dbnet.errors import InputError
from dbnet.inference.pipeline import same_shapes
from dbnet.inference.weights import released_weights

SIZE = 192
SMALL = "dbnet-mobilenetv3_small_075.pt"  # comes with the package, and is the quickest there is


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    return released_weights().with_name(SMALL)


@pytest.fixture(scope="module")
def detector(checkpoint) -> Detector:
    return load(checkpoint, batch_size=2, num_workers=2)


def load(checkpoint: Path, **settings) -> Detector:
    defaults = {"device": "cpu", "precision": "fp32", "max_side": SIZE, "tile": "off"}
    return Detector(checkpoint, **(defaults | settings))


def write_page(height: int, width: int, *, first: int = 3) -> np.ndarray:
    """uint8 (H, W, 3), grey: rows of an item and a price."""
    image = np.full((height, width, 3), 245, np.uint8)
    for row, bottom in enumerate(range(30, height - 8, 30)):
        for text, x in ((f"ITEM {first + row}", 8), (f"{first * row}.50", width - 60)):
            cv2.putText(image, text, (x, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (20, 20, 20), 2)
    return image


@pytest.fixture(scope="module")
def page() -> np.ndarray:
    """uint8 (240, 180, 3); no side is the network's."""
    return write_page(240, 180)


def assert_same(one: Found, other: Found, atol: float = 1e-3) -> None:
    assert len(one.polygons) == len(other.polygons) > 0
    for a, b in zip(one.polygons, other.polygons, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)
    np.testing.assert_allclose(one.quads, other.quads, atol=atol)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    np.testing.assert_array_equal(one.rows, other.rows)
    assert (one.size, one.side) == (other.size, other.side)


def png(array: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


# ---- What it takes


def test_a_path_bytes_pil_and_array_give_the_same(detector, page, tmp_path):
    path = tmp_path / "page.png"
    path.write_bytes(png(page))
    expected = detector(page)
    for image in (path, str(path), png(page), Image.open(path), Image.fromarray(page)):
        assert_same(detector(image), expected)


def test_grey_rgba_and_16_bits_read_as_the_rgb_image(detector, page):
    grey = page[:, :, 0]  # the page has no colours
    expected = detector(np.stack([grey] * 3, axis=2))
    opaque = np.dstack([page, np.full(grey.shape, 255, np.uint8)])
    wide = grey.astype(np.uint16) << 8
    for image in (grey, grey[:, :, None], opaque, wide, np.stack([wide] * 3, axis=2)):
        assert_same(detector(image), expected)
    for pil in (Image.fromarray(grey), Image.fromarray(opaque), Image.fromarray(wide)):
        assert_same(detector(pil), expected)


def test_transparent_pixels_are_white(detector, page):
    hidden = np.dstack([np.zeros_like(page), np.zeros(page.shape[:2], np.uint8)])
    found = detector(hidden)
    assert found.polygons == []
    assert (np.asarray(found.draw()) == 255).all()


def test_bool_arrays_and_views_read_as_their_pixels(checkpoint, page):
    detector = load(checkpoint, bin_thresh=0.05, box_thresh=0.05)  # finds something on any page
    ink = page[:, :, 0] > 128
    expected = detector(np.where(ink, 255, 0).astype(np.uint8))
    assert_same(detector(ink), expected)
    flipped = np.ascontiguousarray(page[::-1, ::-1])[::-1, ::-1]  # negative strides
    assert_same(detector(flipped), detector(page))


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((3, 40, 50), np.uint8), r"\(3, 40, 50\).*channels come last"),
        (np.zeros((40, 50, 2), np.uint8), r"\(40, 50, 2\); give \(H, W\)"),
        (np.zeros(40, np.uint8), r"\(40,\); give \(H, W\)"),
        (np.zeros((1, 40, 50, 3), np.uint8), r"\(1, 40, 50, 3\)"),
        (np.zeros((0, 50, 3), np.uint8), "has no pixels"),
        (np.zeros((40, 0), np.uint8), "has no pixels"),
        (np.zeros((40, 50, 3), np.float32), "float32 pixels have no fixed range; give uint8"),
        (np.zeros((40, 50, 3), np.int64), "int64 pixels"),
        (Image.new("F", (50, 40)), "float32 pixels"),
        (b"", "image: "),
        (b"no image at all", "image: "),
        (Path("nothing.jpg"), "nothing.jpg: "),
        (7, "image: is a int; give a path, bytes, a PIL image or a numpy array"),
        (None, "image: is a NoneType"),
    ],
)
def test_what_is_no_image_is_one_line(detector, image, told):
    with pytest.raises(InputError, match=told) as caught:
        detector(image)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_one_line_in_every_form(detector, page, tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(png(page)[:300])
    for image in (path, path.read_bytes(), Image.open(path)):
        with pytest.raises(InputError, match=r"^(image|.*cut\.png): .") as caught:
            detector(image)
        assert "\n" not in str(caught.value)


# ---- Lists


def test_a_list_gives_each_image_in_its_place(detector, page, tmp_path):
    path = tmp_path / "page.png"
    path.write_bytes(png(page))
    others = [write_page(200, 150 + 50 * n, first=n) for n in range(4)]
    images = [others[0], path, *others[1:], Image.fromarray(page)]
    found = detector(image for image in images)
    assert isinstance(found, list) and len(found) == len(images)
    for image, each in zip(images, found, strict=True):
        assert_same(each, detector(image), atol=0.02)  # batched: sums in another order
    assert detector([]) == []


def test_the_bad_image_of_a_list_is_named_by_its_place(detector, page):
    with pytest.raises(InputError, match=r"^image 1: an array of shape \(2, 2, 2\)"):
        detector([page, np.zeros((2, 2, 2), np.uint8), page])


def test_a_stream_goes_on_after_a_bad_image(detector, page):
    failures = {}
    images = [page, b"no image", page]
    found = dict(detector.stream(images, on_failure=failures.__setitem__))
    assert sorted(found) == [0, 2] and list(failures) == [1]
    assert str(failures[1]).startswith("image 1: ")


def test_a_stream_of_many_shapes_holds_two_batches_of_images():
    read = []

    class Loaded:
        def __init__(self, width: int):
            image = np.empty((32, width, 3), np.uint8)
            self.sample = type("Sample", (), {"image": image})

    def images():
        for width in [*range(1, 41), 1, 1]:
            read.append(width)
            yield Loaded(width)

    given = 0
    for batch in same_shapes(images(), 4, first=1):  # type: ignore[arg-type] # only the shape is read
        assert len(read) - given <= 8
        assert len({each.sample.image.shape for each in batch}) == 1 and len(batch) <= 4
        given += len(batch)
    assert given == 42


def test_the_first_results_of_many_images_come_early(detector, page, monkeypatch):
    sizes = []

    def network(images):
        sizes.append(len(images))
        return np.zeros((len(images), 1, *images.shape[2:]), np.float32)

    monkeypatch.setattr(detector, "_network", network)
    monkeypatch.setattr(detector, "_batch_size", 4)
    monkeypatch.setattr(detector, "_tiling", None)
    stream = detector.stream([page] * 12, on_failure=lambda index, error: None)
    assert next(stream)[0] == 0 and sizes == [1, 2]
    assert len(list(stream)) == 11 and sizes == [1, 2, 4, 4, 1]


# ---- What it gives


def test_fields_have_the_shapes_and_frames_they_state(detector, page):
    found = detector(page)
    n = len(found.polygons)
    assert n > 1 and found.size == (240, 180) and found.side == SIZE and found.capped == 0
    assert (found.quads.shape, found.quads.dtype) == ((n, 4, 2), np.float32)
    assert found.scores.shape == found.rows.shape == (n,)
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert found.rows[0] == 0 and set(np.diff(found.rows)) <= {0, 1}
    for polygon in found.polygons:
        assert polygon.dtype == np.float32 and polygon.shape[1:] == (2,) and len(polygon) >= 3
        assert (polygon >= 0).all() and (polygon <= [179, 239]).all()
    assert max(polygon[:, 1].max() for polygon in found.polygons) > SIZE, "original pixels"
    assert found.draw().size == (180, 240)
    crops = found.crops()
    assert len(crops) == n
    for crop, quad in zip(crops, found.quads, strict=True):
        top, right = np.linalg.norm(quad[1] - quad[0]), np.linalg.norm(quad[2] - quad[1])
        assert crop.dtype == np.uint8
        assert crop.shape == pytest.approx((right + 1, top + 1, 3), abs=0.51)


def test_an_image_without_text_gives_empty_fields(checkpoint, page):
    found = load(checkpoint)(np.full_like(page, 245))
    assert found.polygons == [] and found.crops() == []
    assert found.quads.shape == (0, 4, 2) and found.scores.shape == found.rows.shape == (0,)
    np.testing.assert_array_equal(np.asarray(found.draw()), np.full_like(page, 245))


def test_predict_finds_the_same_polygons(detector, checkpoint, page, tmp_path):
    path = tmp_path / "page.png"
    path.write_bytes(png(page))
    out = tmp_path / "out"
    cfg = PredictConfig(images=(str(path),), checkpoint=checkpoint, out=out, device="cpu")
    cfg = replace(cfg, precision="fp32", image_size=SIZE, tile="off")
    predict.main(replace(cfg, postprocess=detector.postprocess))
    words = json.loads((out / "predictions.json").read_text())["images"]["page.png"]["words"]
    found = detector(path)
    assert found.polygons and len(words) == len(found.polygons)
    for word, polygon in zip(words.values(), found.polygons, strict=True):
        np.testing.assert_allclose(word["points"], polygon, atol=0.006)  # two decimals are written


def test_thresholds_boxes_and_side_are_used(detector, checkpoint, page):
    boxes = load(checkpoint, use_polygon=False)(page)
    assert {len(polygon) for polygon in boxes.polygons} == {4}
    strict = load(checkpoint, box_thresh=0.7)(page)
    assert (strict.scores >= 0.7).all() and len(strict.polygons) < len(detector(page).polygons)
    first = load(checkpoint, max_candidates=1)(page)
    assert len(first.polygons) <= 1 <= first.capped
    larger = load(checkpoint, max_side=320)
    assert (larger.max_side, larger(page).side) == (320, 320)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"max_side": 100}, "max_side 100: must be a multiple of 32"),
        ({"tile": "yes"}, "tile yes: must be auto or off"),
        ({"bin_thresh": 1.5}, "bin-thresh 1.5: must lie in"),
        ({"device": "abacus"}, "abacus"),
        ({"precision": "fp8"}, "precision fp8: must be"),
        ({"precision": "int8"}, "precision int8: must be"),
        ({"batch_size": 0}, "batch_size 0: must be at least 1"),
        ({"num_workers": 0}, "num_workers 0: must be at least 1"),
        ({"shrink_ratio": 0.0}, "shrink-ratio 0.0: must lie between"),
        ({"weights": "nothing.pt"}, "nothing.pt: "),
    ],
)
def test_settings_out_of_range_are_refused(checkpoint, setting, told):
    with pytest.raises(InputError, match=told):
        Detector(**({"weights": checkpoint} | setting))


# ---- What it does beside that: nothing


def test_calls_from_several_threads_find_what_one_finds(detector, page):
    images = [page, write_page(150, 220, first=5)]
    expected = [detector(image) for image in images]
    barrier = threading.Barrier(4)

    def call(index: int) -> list[Found]:
        barrier.wait()
        return [detector(images[index % 2]) for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        for index, found in enumerate(pool.map(call, range(4))):
            for each in found:
                assert_same(each, expected[index % 2])


def test_nothing_is_printed_written_or_changed(checkpoint, page, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    state, before = torch.get_rng_state(), page.copy()
    found = load(checkpoint)([page, page])
    found[0].crops(), found[0].draw()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(page, before)


def test_released_weights_are_used_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "runs/mine").mkdir(parents=True)
    (tmp_path / "runs/mine/best.pt").touch()  # predict.py would take it, Detector does not
    monkeypatch.chdir(tmp_path)
    assert "dbnet-efficientnet_lite0.pt" in Detector(device="cpu").description


def test_crops_of_a_file_that_is_gone_are_refused(detector, page, tmp_path):
    path = tmp_path / "page.png"
    path.write_bytes(png(page))
    found = detector(path)
    path.unlink()
    for again in (found.crops, found.draw):
        with pytest.raises(InputError, match=r"page\.png: "):
            again()
