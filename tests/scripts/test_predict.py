"""predict.py from files to polygons, on pages of a few bars with random weights."""

import csv
import io
import json
import re
import shutil
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

import evaluate
import predict
from configs import Config, EvaluateConfig, PredictConfig
from dbnet.checkpoint import build_model, load_checkpoint, save_checkpoint
from dbnet.data.annotations.entries import Findings
from dbnet.data.annotations.entries import Source as AnnotationSource
from dbnet.data.annotations.formats import ufo
from dbnet.data.images import decode_image, decode_reduced
from dbnet.data.samples import load_sample
from dbnet.data.transforms import EvalTransform
from dbnet.inference import networks
from dbnet.inference.inputs import find_images
from dbnet.inference.networks import checkpoint_settings
from dbnet.inference.onnx_export import write
from dbnet.inference.pipeline import fitted
from dbnet.inference.weights import released_weights
from dbnet.model.dbnet import DBNet
from dbnet.reporting.pictures import FOUND, draw_found
from dbnet.section import to_dict
from dbnet.settings import DataConfig, PostprocessConfig
from dbnet.structures import Record
from dbnet.synthetic.dataset import draw_receipt
from tests.drawing import draw_page, write_dataset
from tests.programs import run_program

SIZE = 160
ARGS = {"encoder": "mobilenetv3_small_050", "fpn_channels": 16}


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    """images/val/page_0.png to page_4.png, annotated."""
    return write_dataset(tmp_path_factory.mktemp("pages"), train=1, val=5)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """Random weights whose last layer is scaled until a page has a few regions."""
    torch.manual_seed(0)
    model = DBNet(**ARGS).eval()
    page = draw_page(np.random.default_rng(0), SIZE, SIZE)[0]
    with torch.inference_mode():
        logits = model(torch.from_numpy(page.transpose(2, 0, 1)[None])).prob_logits
        last, scale = model.head.prob.logits, 8 / logits.std()
        last.weight.mul_(scale)
        last.bias.sub_(logits.mean()).mul_(scale).sub_(3)
    cfg = Config(data=DataConfig(image_size=SIZE))
    path = tmp_path_factory.mktemp("weights") / "best.pt"
    weights = {"model_args": ARGS, "model": model.state_dict(), "ema": None}
    save_checkpoint(path, weights | {"config": to_dict(cfg), "epoch": 1})
    return path


@pytest.fixture
def cfg(checkpoint, tmp_path) -> PredictConfig:
    return PredictConfig(
        images=(),
        checkpoint=checkpoint,
        out=tmp_path / "out",
        image_size=SIZE,
        batch_size=2,
        num_workers=2,
        device="cpu",
        precision="fp32",
    )


def words_of(folder: Path) -> dict[str, list[np.ndarray]]:
    """Polygons by file name."""
    images = json.loads((folder / "predictions.json").read_text())["images"]
    return {
        name: [np.array(word["points"]) for word in image["words"].values()]
        for name, image in images.items()
    }


def assert_same(one: dict, other: dict, atol: float = 0.02) -> None:
    """The same polygons of the same images, in pixels; 0.02 is twice the rounding."""
    assert list(one) == list(other)
    for name in one:
        assert len(one[name]) == len(other[name]) > 0, name
        for a, b in zip(one[name], other[name], strict=True):
            np.testing.assert_allclose(a, b, atol=atol, err_msg=name)


def stdin(monkeypatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


# ---- What is found


def test_an_onnx_file_finds_the_same_with_its_own_settings(cfg, pages, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    payload = load_checkpoint(cfg.checkpoint)
    settings = checkpoint_settings(payload, cfg.checkpoint)
    settings["postprocess"] = settings["postprocess"] | {"bin_thresh": 0.3, "use_polygon": False}
    write(tmp_path / "net.onnx", build_model(payload), settings)
    scans = tmp_path / "scans"
    shutil.copytree(pages / "images" / "val", scans)
    receipt = draw_receipt(np.random.default_rng(0))[0]
    cv2.imwrite(str(scans / "receipt.png"), receipt[:, :, ::-1])

    words = ["predict.py", str(scans), "--onnx", str(tmp_path / "net.onnx")]
    monkeypatch.setattr(sys, "argv", [*words, "--out", str(tmp_path / "by_onnx")])
    by_onnx = predict.parse()
    assert (by_onnx.image_size, by_onnx.shrink_ratio) == (SIZE, cfg.shrink_ratio)
    assert by_onnx.postprocess == replace(cfg.postprocess, bin_thresh=0.3, use_polygon=False)
    predict.main(by_onnx)
    predict.main(replace(cfg, images=(str(scans),), postprocess=by_onnx.postprocess))
    assert_same(words_of(tmp_path / "by_onnx"), words_of(cfg.out), atol=0.05)


@pytest.mark.parametrize(
    "other", [{"device": "cuda"}, {"precision": "bf16"}, {"fast": True}, {"checkpoint": Path("b")}]
)
def test_what_an_onnx_file_cannot_do_is_refused(other):
    with pytest.raises(ValueError, match="--onnx"):
        PredictConfig(images=(), onnx=Path("net.onnx"), **other)


def test_a_prediction_equals_what_evaluation_finds(cfg, tmp_path):
    root = write_dataset(tmp_path / "square", train=1, val=5)
    for index, path in enumerate(sorted((root / "images" / "val").iterdir())):
        cv2.imwrite(str(path), draw_page(np.random.default_rng(index), 200, 200)[0])
    data = DataConfig(root=root, image_size=SIZE, batch_size=5, num_workers=0, cache="none")
    evaluate.main(
        EvaluateConfig(
            checkpoint=cfg.checkpoint,
            data=data,
            device="cpu",
            precision="fp32",
            draw_worst=0,
            out=tmp_path / "eval",
        )
    )
    predict.main(replace(cfg, images=(str(root / "images" / "val"),)))
    assert_same(words_of(cfg.out), words_of(tmp_path / "eval"))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((320, 128), (160, 64)),
        ((320, 130), (160, 96)),
        ((40, 640), (32, 160)),
        ((1, 1), (160, 160)),
    ],
)
def test_only_padding_is_left_off(tmp_path, shape, expected):
    path = tmp_path / "page.png"
    cv2.imwrite(str(path), np.full(shape, 255, np.uint8))
    record = Record(str(path), "page.png", [], np.zeros(0, bool), [])
    transform = EvalTransform(image_size=SIZE)
    geometry = transform.geometry(None)
    square = transform(load_sample(record, geometry), geometry, None)
    trimmed = fitted(partial(decode_reduced, path), SIZE)
    height, width = expected
    assert trimmed.image.shape == (height, width, 3)
    assert (trimmed.image == square.image[:height, :width]).all()
    assert trimmed.image.any(axis=(0, 2))[width - 32 :].any(), "no narrower multiple of 32"
    assert not square.image[height:].any() and not square.image[:, width:].any()
    assert (trimmed.matrix == square.matrix).all()


def test_batches_find_what_single_images_find(cfg, pages, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for index, (height, width) in enumerate([(160, 128), (120, 160), (160, 128), (50, 60)]):
        page = draw_page(np.random.default_rng(index), height, width, lines=2)[0]
        cv2.imwrite(str(folder / f"{index}.png"), page)
    names = ("batched", "single")
    for name, size in zip(names, (3, 1), strict=True):
        predict.main(replace(cfg, images=(str(folder),), batch_size=size, out=tmp_path / name))
    batched, single = (words_of(tmp_path / name) for name in names)
    assert list(batched) == ["0.png", "1.png", "2.png", "3.png"]
    assert_same(batched, single)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_polygons_are_in_the_upright_frame(cfg, tmp_path, orientation):
    upright = draw_page(np.random.default_rng(1))[0]
    quarter_turns = {3: 2, 6: 1, 8: 3}[orientation]  # as stored, counter-clockwise
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(upright).save(tmp_path / "upright.png")
    Image.fromarray(np.rot90(upright, quarter_turns)).save(tmp_path / "turned.png", exif=exif)
    names = ("upright.png", "turned.png")
    predict.main(replace(cfg, images=tuple(str(tmp_path / name) for name in names), draw=True))
    found = words_of(cfg.out)
    assert_same({"": found["turned.png"]}, {"": found["upright.png"]})
    for name in names:
        assert cv2.imread(str(cfg.out / "drawings" / f"{name}.jpg")).shape == upright.shape


def test_a_tilted_receipt_is_read_as_the_upright_one(cfg, tmp_path, capsys):
    upright = decode_image(Path(__file__).parents[2] / "docs" / "sample-receipt.jpg")
    height, width = upright.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -20, 1)
    turn[:, 2] += 300
    size = (width + 600, height + 600)
    tilted = cv2.warpAffine(upright, turn, size, flags=cv2.INTER_CUBIC, borderValue=(90,) * 3)
    Image.fromarray(upright).save(tmp_path / "upright.png")
    Image.fromarray(tilted).save(tmp_path / "tilted.png")
    small = released_weights().with_name("dbnet-mobilenetv3_small_075.pt")
    names = tuple(str(tmp_path / name) for name in ("upright.png", "tilted.png"))
    predict.main(replace(cfg, images=names, checkpoint=small, image_size=None))
    assert "images turned, because of tilted lines (--tile): 1\n" in capsys.readouterr().out
    found = words_of(cfg.out)
    middles = np.array([polygon.mean(axis=0) for polygon in found["tilted.png"]])
    expected = np.array([polygon.mean(axis=0) for polygon in found["upright.png"]])
    distances = np.linalg.norm(middles - (expected @ turn[:, :2].T + turn[:, 2])[:, None], axis=2)
    assert len(middles) == pytest.approx(len(expected), rel=0.05)
    assert np.quantile(distances.min(axis=1), 0.9) < 3


def test_polygons_stay_inside_odd_images(cfg, tmp_path):
    shapes = {"dot": (1, 1), "tiny": (20, 10), "strip": (3, 400), "large": (5200, 3000)}
    for name, shape in shapes.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full(shape, 255, np.uint8))
    predict.main(replace(cfg, images=(str(tmp_path),), draw=True))
    found = words_of(cfg.out)
    for name, (height, width) in shapes.items():
        for polygon in found[f"{name}.png"]:
            assert (polygon >= 0).all() and (polygon <= [width - 1, height - 1]).all(), name
        assert cv2.imread(str(cfg.out / "drawings" / f"{name}.png.jpg")).shape[:2] == (
            height,
            width,
        )


# ---- What is written


def test_the_ufo_reader_reads_the_predictions(cfg, pages):
    predict.main(replace(cfg, images=(str(pages / "images" / "val"),)))
    found = Findings([], [], [], [])
    source = AnnotationSource(cfg.out, pages, "ufo", cfg.out / "predictions.json", bounds=())
    entries = ufo.read(source, found)
    read = {entry.name: [word.points for word in entry.words] for entry in entries}
    assert not found.problems
    assert_same(read, words_of(cfg.out), atol=0)


def test_the_csv_holds_the_same_polygons(cfg, pages, tmp_path):
    awkward = tmp_path / 'a "b", c|d.png'
    awkward.write_bytes((pages / "images" / "val" / "page_0.png").read_bytes())
    blank = tmp_path / "blank.png"
    cv2.imwrite(str(blank), np.zeros((40, 40), np.uint8))
    strict = PostprocessConfig(box_thresh=0.5)
    predict.main(replace(cfg, images=(str(awkward), str(blank)), postprocess=strict))
    header, *rows = csv.reader(io.StringIO((cfg.out / "predictions.csv").read_text()))
    assert header == ["filename", "polygons"]
    read = {
        name: [np.array(outline.split(), float).reshape(-1, 2) for outline in cell.split("|")]
        if cell
        else []
        for name, cell in rows
    }
    expected = words_of(cfg.out)
    assert expected["blank.png"] == [] == read.pop("blank.png"), "an image without text"
    del expected["blank.png"]
    assert_same(read, expected, atol=0)


def test_a_drawing_is_the_image_and_its_polygons_alone(cfg, pages):
    page = pages / "images" / "val" / "page_0.png"
    image = decode_image(page)
    quad = np.float32([[20, 20], [90, 24], [90, 60], [20, 56]])
    drawn = draw_found(image, [quad]).astype(int)
    inside = cv2.fillPoly(np.zeros(image.shape[:2], np.uint8), [quad.astype(np.int32)], 1)
    outside = cv2.dilate(inside, np.ones((5, 5), np.uint8)) == 0
    assert (drawn[outside] == image[outside]).all()
    assert np.abs(drawn[24, 90] - FOUND).max() < 60, "the outline"
    assert 0 < np.abs(drawn[40, 55] - image[40, 55]).max() < 60, "legible below its tint"
    assert (draw_found(image, []) == image).all()
    predict.main(replace(cfg, images=(str(page),), draw=True))
    saved = decode_image(cfg.out / "drawings" / "page_0.png.jpg").astype(int)
    found = [polygon.astype(np.float32) for polygon in words_of(cfg.out)["page_0.png"]]
    assert np.abs(saved - draw_found(image, found)).mean() < 8, "but for JPEG"


def test_every_image_has_a_drawing_of_its_own(cfg, pages, tmp_path):
    shapes = {
        "a.png": (40, 60),
        "a.png.jpg": (50, 60),
        "a.png.jpg.jpg": (60, 60),
        "a.JPG": (70, 60),
    }
    scans = tmp_path / "scans"
    scans.mkdir()
    for name, shape in shapes.items():
        cv2.imwrite(str(scans / name), np.full(shape, 255, np.uint8))
    predict.main(replace(cfg, images=(str(scans),), draw=True))
    drawn = {path.name: decode_image(path).shape[:2] for path in (cfg.out / "drawings").iterdir()}
    shapes["a.png.jpg.jpg.jpg"] = shapes.pop("a.png")
    assert drawn == shapes


@pytest.mark.parametrize(
    ("name", "others", "expected"),
    [
        ("a.png", (), "a.png.jpg"),
        ("a.png", ("b.png.jpg", "a.jpg"), "a.png.jpg"),
        ("a.png", ("a.png.jpg",), "a.png.jpg.jpg"),
        ("a.jpeg", ("a.jpeg.jpg", "a.png"), "a.jpeg"),
        (".jpg", (), ".jpg.jpg"),  # a name without a suffix
    ],
)
def test_drawings_are_called_after_their_images(name, others, expected):
    assert predict.drawing_name(name, {name, *others}) == expected


@pytest.mark.parametrize("name", ["predictions.json", "predictions.csv", "drawings"])
def test_what_is_there_is_not_overwritten(cfg, pages, name):
    cfg.out.mkdir()
    (cfg.out / name).write_text("precious")
    with pytest.raises(ValueError, match="exists; choose another --out"):
        predict.main(replace(cfg, images=(str(pages),)))
    assert (cfg.out / name).read_text() == "precious"
    assert len(list(cfg.out.iterdir())) == 1


def test_without_out_a_new_folder_is_made(cfg, pages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = str(pages / "images" / "val" / "page_0.png")
    out = predict.main(replace(cfg, images=(page,), out=None))
    assert out.parent == Path("runs") and out.name.startswith("predict-")
    assert sorted(path.name for path in out.iterdir()) == ["predictions.csv", "predictions.json"]


def test_two_starts_in_one_second_do_not_share_a_folder(cfg, pages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: form.split("-")[0] + "-NOW")
    page = str(pages / "images" / "val" / "page_0.png")
    first, second = (predict.main(replace(cfg, images=(page,), out=None)) for _ in range(2))
    assert (first, second) == (Path("runs/predict-NOW"), Path("runs/predict-NOW-2"))
    assert_same(words_of(first), words_of(second), atol=0)


def test_two_evaluations_in_one_second_do_not_share_a_folder(cfg, pages, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda form: form.split("-")[0] + "-NOW")
    checkpoint = tmp_path / "best.pt"
    shutil.copy(cfg.checkpoint, checkpoint)
    (tmp_path / "eval-NOW").mkdir()
    data = DataConfig(root=pages, image_size=SIZE, num_workers=0, cache="none")
    evaluate.main(EvaluateConfig(checkpoint=checkpoint, data=data, device="cpu", draw_worst=0))
    assert list((tmp_path / "eval-NOW").iterdir()) == []
    assert len(words_of(tmp_path / "eval-NOW-2")) == 5


# ---- What is read


def test_a_broken_image_is_one_line_and_the_rest_goes_on(cfg, pages, tmp_path, capsys):
    good = (pages / "images" / "val" / "page_0.png").read_bytes()
    for name, content in (("a", good), ("b", good[: len(good) // 2]), ("c", b""), ("d", good)):
        (tmp_path / f"{name}.png").write_bytes(content)
    names = tuple(str(tmp_path / f"{name}.png") for name in "abcde")
    with pytest.raises(SystemExit) as stop:
        predict.main(replace(cfg, images=names))
    assert stop.value.code == 1
    assert list(words_of(cfg.out)) == ["a.png", "d.png"]
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if line.startswith(str(tmp_path))]
    assert [Path(line.split(":")[0]).name for line in lines] == ["b.png", "c.png", "e.png"]
    assert "0 bytes" in lines[1] and "No such file" in lines[2]
    assert "images: 2, " in told.out and "failures: 3, " in told.out


def test_a_map_that_is_not_finite_leaves_the_other_images(cfg, pages, monkeypatch, capsys):
    load, calls = networks.load_network, []

    def with_one_nan(*args, **options):
        loaded = load(*args, **options)

        def network(images):
            calls.append(len(images))
            return loaded.network(images) * (np.nan if len(calls) == 2 else 1)

        return replace(loaded, network=network)

    monkeypatch.setattr("dbnet.detector.load_network", with_one_nan)
    images = (str(pages / "images" / "val"),)
    with pytest.raises(SystemExit) as stop:
        predict.main(replace(cfg, images=images, batch_size=1, num_workers=1, tile="off"))
    assert stop.value.code == 1 and calls == [1] * 5
    assert list(words_of(cfg.out)) == [f"page_{number}.png" for number in (0, 2, 3, 4)]
    told = capsys.readouterr()
    assert len([line for line in told.err.splitlines() if "page_1.png: " in line]) == 1
    assert "images: 4, " in told.out and "failures: 1, " in told.out


def test_each_page_of_a_tiff_is_an_image(cfg, pages, tmp_path):
    first, second = (Image.open(pages / f"images/val/page_{number}.png") for number in (0, 1))
    (tmp_path / "scans").mkdir()
    first.save(tmp_path / "scans/two.TIF", save_all=True, append_images=[second])
    second.save(tmp_path / "scans/one.tiff")
    scans = replace(cfg, images=(str(tmp_path / "scans"),), draw=True, crops=tmp_path / "crops")
    predict.main(scans)
    words = words_of(cfg.out)
    assert list(words) == ["one.tiff", "two.TIF", "two.TIF#2"]
    for name in ("two.TIF", "two.TIF#2"):
        assert len([*(tmp_path / "crops" / name).iterdir()]) == len(words[name])
    drawn = {name: (cfg.out / "drawings" / f"{name}.jpg").read_bytes() for name in words}
    assert drawn["two.TIF#2"] == drawn["one.tiff"] != drawn["two.TIF"]


def test_a_jpeg_of_108_megapixels_is_read_at_half(cfg, tmp_path, capsys):
    page = np.full((9000, 12000), 235, np.uint8)
    page[2000:3000, 2000:8000] = 40
    cv2.imwrite(str(tmp_path / "large.jpg"), page, [cv2.IMWRITE_JPEG_QUALITY, 30])
    predict.main(replace(cfg, images=(str(tmp_path / "large.jpg"),), tile="off"))
    told = capsys.readouterr().out
    assert "images: 1, " in told
    assert "failures: 0" in told


def test_line_ends_in_a_name_do_not_hide_the_reason(cfg, tmp_path, capsys):
    (tmp_path / "bad\nna\rme.jpg").write_bytes(b"")
    with pytest.raises(SystemExit):
        predict.main(replace(cfg, images=(str(tmp_path / "bad\nna\rme.jpg"),)))
    told = capsys.readouterr().err
    assert rf"{tmp_path}/bad\nna\rme.jpg: the file is empty (0 bytes)" in told.splitlines()


def test_files_folders_and_globs_are_the_same_images(tmp_path):
    for name in ("b.png", "a.JPG", "deep/c.png", "notes.txt", ".hidden.png", "d[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def names(*words: str) -> list[str]:
        return [source.name for source in find_images(str(tmp_path / word) for word in words)]

    assert names(".") == ["a.JPG", "b.png", "d[1].png", "deep/c.png"]
    assert names("b.png", "a.JPG") == ["b.png", "a.JPG"]
    assert names("*.png") == ["b.png", "d[1].png"]
    assert names("**/*.png") == ["b.png", "d[1].png", "c.png"]
    assert names("d[1].png") == ["d[1].png"], "a file, not a pattern"
    assert names(".", "b.png", "**") == [*names("."), "notes.txt"], "each once, by its first name"
    with pytest.raises(ValueError, match=r"\*\.webp: matches no file"):
        names("*.webp")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: holds no images"):
        names("empty")


def test_two_files_of_one_name_are_distinguished_or_refused(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "scan.png").touch()
    found = find_images([str(tmp_path)])
    assert [source.name for source in found] == ["one/scan.png", "two/scan.png"]
    with pytest.raises(ValueError, match=r"one/scan\.png and .*two/scan\.png would both be called"):
        find_images([str(tmp_path / "one"), str(tmp_path / "two")])


@pytest.mark.parametrize("words", [(), ("-",)])
def test_a_piped_list_is_read(words, monkeypatch):
    stdin(monkeypatch, "scans/a b.png\r\n\nscans/für.png\n".encode())
    assert predict.named_images(words) == ["scans/a b.png", "scans/für.png"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(monkeypatch):
    stdin(monkeypatch, b"\xef\xbb\xbfscans/a.png\r\nscans/b.png\r\n")
    assert predict.named_images(()) == ["scans/a.png", "scans/b.png"]


def test_no_image_at_all_is_one_line(monkeypatch):
    stdin(monkeypatch, b"\n")
    with pytest.raises(ValueError, match="the list of images is empty"):
        predict.named_images(())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with pytest.raises(ValueError, match="name images, folders or globs"):
        predict.named_images(())


def test_the_command_line_from_a_pipe_to_the_last_line(checkpoint, pages, tmp_path):
    Image.new("1", (10_000, 9_000)).save(tmp_path / "over.png")
    listed = f"{pages / 'images' / 'val' / 'page_0.png'}\n{tmp_path / 'over.png'}\n"
    words = ["--checkpoint", checkpoint, "--device", "cpu", "--out", tmp_path / "out"]
    done = run_program("predict.py", *words, stdin=listed)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and "80,000,000 pixels: scale" in lines[0], done.stderr
    assert re.match(
        r"images: 1, texts: [1-9]\d*, failures: 1, ms per image: ", done.stdout.splitlines()[-1]
    )


# ---- Weights and their settings


def test_the_settings_of_the_weights_are_the_defaults(checkpoint, tmp_path, monkeypatch):
    payload = load_checkpoint(checkpoint)
    payload["config"]["targets"]["shrink_ratio"] = 0.5
    payload["config"]["postprocess"]["min_size"] = 7.0
    save_checkpoint(tmp_path / "other.pt", payload)
    words = ["predict.py", "a.png", "b.png", "--checkpoint", str(tmp_path / "other.pt")]
    monkeypatch.setattr(sys, "argv", [*words, "--postprocess.box-thresh", "0.6"])
    cfg = predict.parse()
    assert cfg.images == ("a.png", "b.png")
    assert (cfg.image_size, cfg.shrink_ratio) == (SIZE, 0.5)
    assert (cfg.postprocess.min_size, cfg.postprocess.box_thresh) == (7.0, 0.6)
    monkeypatch.setattr(sys, "argv", [*words[:1], *words[3:], "--image-size", "320"])
    assert predict.parse().image_size == 320


def test_the_weights_are_told_before_the_first_image(cfg, pages, monkeypatch):
    told = io.TextIOWrapper(io.BytesIO())

    def find_texts(*_):
        raise InterruptedError(told.buffer.getvalue().decode())

    monkeypatch.setattr(sys, "stdout", told)
    monkeypatch.setattr(predict, "find_texts", find_texts)
    with pytest.raises(InterruptedError, match=r"^weights: "):
        predict.main(replace(cfg, images=(str(pages / "images/val"),)))


def test_missing_released_weights_are_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without runs/
    monkeypatch.setattr("dbnet.inference.weights._FOLDERS", (tmp_path / "weights",))
    monkeypatch.setattr(sys, "argv", ["predict.py", "a.png"])
    with pytest.raises(ValueError, match=r"efficientnet_lite0\.pt: the released.*--checkpoint"):
        predict.parse()


def test_half_precision_weights_are_used_in_full_precision(cfg, pages, tmp_path):
    payload = load_checkpoint(cfg.checkpoint)
    halved = {k: v.half() if v.is_floating_point() else v for k, v in payload["model"].items()}
    small = tmp_path / "half.pt"
    save_checkpoint(small, payload | {"model": halved})
    assert small.stat().st_size < 0.6 * cfg.checkpoint.stat().st_size
    model = build_model(load_checkpoint(small))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, halved[name].to(tensor.dtype)), name
    predict.main(
        replace(cfg, checkpoint=small, images=(str(pages / "images" / "val" / "page_0.png"),))
    )
    assert words_of(cfg.out)["page_0.png"]
