"""evaluate.py --tile auto: the texts that predict.py finds, with the usual metrics."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import evaluate
import predict
from configs import EvaluateConfig, PredictConfig
from dbnet.inference.weights import released_weights
from dbnet.runtime.unused import refuse_unused
from dbnet.settings import PostprocessConfig, SplitDataConfig
from dbnet.synthetic.dataset import draw_receipt
from tests.drawing import write_receipt_windows
from tests.programs import run_program, torchrun

SIZE = 384
WEIGHTS = released_weights().with_name("dbnet-mobilenetv3_small_075.pt")
BOXES = PostprocessConfig(use_polygon=False)


def write_strips(root: Path, strips: dict[str, list[int]]) -> Path:
    """A data set whose val split has drawn receipts, by their seeds, below one another."""
    (root / "images" / "val").mkdir(parents=True)
    (root / "jsons").mkdir()
    entries = {}
    for name, seeds in strips.items():
        receipts = [draw_receipt(np.random.default_rng(seed)) for seed in seeds]
        width = max(image.shape[1] for image, _, _ in receipts)
        pages, words, top = [], {}, 0
        for image, quads, texts in receipts:
            border = [(0, 0), (0, width - image.shape[1]), (0, 0)]
            pages.append(np.pad(image, border, constant_values=235))
            for quad, text in zip(quads, texts, strict=True):
                points = (quad + np.array([0, top])).tolist()
                words[f"{len(words):04d}"] = {"points": points, "transcription": text}
            top += image.shape[0]
        cv2.imwrite(str(root / "images" / "val" / name), np.vstack(pages)[:, :, ::-1])
        entries[name] = {"words": words}
    (root / "jsons" / "val.json").write_text(json.dumps({"images": entries}))
    return root


@pytest.fixture(scope="module")
def strips(tmp_path_factory) -> Path:
    """val: a strip of three drawn receipts, and one receipt alone."""
    seeds = {"long.png": [0, 1, 2], "short.png": [3]}
    return write_strips(tmp_path_factory.mktemp("strips"), seeds)


@pytest.fixture(scope="module")
def cfg(strips, tmp_path_factory) -> EvaluateConfig:
    cache = tmp_path_factory.mktemp("cache")
    data = SplitDataConfig(
        root=strips, image_size=SIZE, batch_size=2, num_workers=0, cache_dir=cache
    )
    return EvaluateConfig(
        checkpoint=WEIGHTS,
        data=data,
        postprocess=BOXES,
        tile="auto",
        device="cpu",
        precision="fp32",
        draw_worst=1,
    )


@pytest.fixture(scope="module")
def tiled(cfg, tmp_path_factory) -> tuple[dict[str, float], Path]:
    """The figures of the strips, and the folder of results."""
    out = tmp_path_factory.mktemp("results") / "auto"
    return evaluate.main(replace(cfg, out=out)), out


def words_of(folder: Path) -> dict[str, list]:
    images = json.loads((folder / "predictions.json").read_text())["images"]
    return {
        name: [word["points"] for word in each["words"].values()] for name, each in images.items()
    }


def test_long_receipts_are_scored_at_the_scale_of_their_text(cfg, tiled, tmp_path, capsys):
    fitted = evaluate.main(replace(cfg, tile="off", out=tmp_path / "off"))
    told = capsys.readouterr().out
    assert (
        "2 of 2 images: predict.py reads them at another scale or turned" in told
        and "--tile auto" in told
    )

    figures, out = tiled
    assert (figures["images"], figures["in_windows"], figures["turned"]) == (2, 2, 0)
    assert figures["empty"] == 0
    for name in ("cleval/recall", "iou/recall", "cleval_quads/hmean", "iou_quads/hmean"):
        assert figures[name] > fitted[name] + 0.05, name
    kept = json.loads((out / "metrics.json").read_text())
    assert {name: kept[name] for name in figures} == figures
    assert set(kept) - set(figures) == {"time/detect", "time/metric"}
    by_fitting = json.loads((tmp_path / "off" / "metrics.json").read_text())
    missing = {name.split("/")[0] for name in by_fitting if name not in kept}
    assert missing == {"loss", "oracle", "time"}


def test_the_results_are_the_files_of_the_fitted_way(tiled):
    figures, out = tiled
    assert set(evaluate.WRITTEN) == {path.name for path in out.iterdir()}
    images = json.loads((out / "per_image.json").read_text())
    assert list(images) == ["long.png", "short.png"]
    mean = np.mean([image["cleval"]["hmean"] for image in images.values()])
    assert mean == pytest.approx(figures["cleval/hmean_per_image"])


def test_what_is_scored_is_what_predict_finds(tiled, strips, tmp_path):
    predict.main(
        PredictConfig(
            images=(str(strips / "images" / "val"),),
            checkpoint=WEIGHTS,
            out=tmp_path / "found",
            image_size=SIZE,
            postprocess=BOXES,
            batch_size=2,
            num_workers=1,
            device="cpu",
            precision="fp32",
        )
    )
    scored, found = words_of(tiled[1]), words_of(tmp_path / "found")
    assert len(scored["long.png"]) > 100
    assert scored == found


def test_figures_do_not_depend_on_threads_and_batches(cfg, tiled, tmp_path, capsys):
    data = replace(cfg.data, num_workers=2, batch_size=1)
    several = evaluate.main(replace(cfg, data=data, out=tmp_path / "several"))
    assert several == pytest.approx(tiled[0], abs=1e-3)
    told = capsys.readouterr().out
    assert "2 images, of which 2 in windows\n" in told
    assert "oracle" not in told and "loss" not in told and "--tile auto" not in told


def test_two_ranks_have_the_figures_of_one_process(strips, tmp_path):
    words = ["--data.root", str(strips), "--data.image-size", str(SIZE), "--data.num-workers", "0"]
    words += ["--checkpoint", str(WEIGHTS), "--device", "cpu", "--precision", "fp32"]
    figures = {}
    for name, start in (("one", run_program), ("two", torchrun)):
        out = tmp_path / name
        ended = start("evaluate.py", *words, "--tile", "auto", "--out", str(out))
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr.count("warning: val: ") == 1, "one rank warns of small texts"
        found = json.loads((out / "metrics.json").read_text())
        figures[name] = {n: value for n, value in found.items() if not n.startswith("time/")}
    assert figures["one"]["in_windows"] == 2
    assert figures["two"] == pytest.approx(figures["one"], rel=1e-9)
    assert words_of(tmp_path / "two") == words_of(tmp_path / "one")


def test_images_with_large_text_have_the_figures_of_the_fitted_way(cfg, tmp_path):
    root = write_receipt_windows(tmp_path / "square", count=2, size=SIZE)  # without padding
    cfg = replace(cfg, data=replace(cfg.data, root=root))
    fitted = evaluate.main(replace(cfg, tile="off", out=tmp_path / "off"))
    figures = evaluate.main(replace(cfg, out=tmp_path / "auto"))
    assert figures.pop("in_windows") == figures.pop("reduced") == figures.pop("turned") == 0
    assert figures == pytest.approx({name: fitted[name] for name in figures}, abs=1e-6)
    assert sum(map(len, words_of(tmp_path / "auto").values())) > 3
    assert words_of(tmp_path / "auto") == words_of(tmp_path / "off")


def test_a_broken_image_ends_the_evaluation_with_its_name(cfg, strips, tmp_path):
    root = tmp_path / "broken"
    shutil.copytree(strips, root)
    whole = (root / "images" / "val" / "short.png").read_bytes()
    (root / "images" / "val" / "short.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"short\.png"):
        evaluate.main(replace(cfg, data=replace(cfg.data, root=root), out=tmp_path / "out"))


def test_the_sweep_and_flags_of_target_maps_are_refused_beside_tiles(cfg):
    with pytest.raises(ValueError, match=r"--sweep and --tile auto: .*leave one out"):
        replace(cfg, sweep=True)
    refuse_unused(cfg, "evaluate", ["--data.cache-dir", "where the index goes"])
    for flag in ("--data.cache", "--data.scoring-workers", "--loss.k", "--targets.thresh-min"):
        with pytest.raises(ValueError, match=f"{flag}: changes nothing with --tile auto"):
            refuse_unused(cfg, "evaluate", [flag, "1"])
        refuse_unused(replace(cfg, tile="off"), "evaluate", [flag, "1"])


def test_tilted_images_are_counted_and_gain(cfg, tmp_path, capsys):
    image, quads, texts = draw_receipt(np.random.default_rng(3), level="lines")
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 25, 1)
    turn[:, 2] += 250
    tilted = cv2.warpAffine(image, turn, (width + 500, height + 500), borderValue=(90,) * 3)
    root = tmp_path / "data"
    (root / "images" / "val").mkdir(parents=True)
    (root / "jsons").mkdir()
    cv2.imwrite(str(root / "images" / "val" / "a.png"), tilted[:, :, ::-1])
    points = [(quad @ turn[:, :2].T + turn[:, 2]).tolist() for quad in quads]
    words = {
        str(number): {"points": outline, "transcription": text}
        for number, (outline, text) in enumerate(zip(points, texts, strict=True))
    }
    (root / "jsons" / "val.json").write_text(json.dumps({"images": {"a.png": {"words": words}}}))
    cfg = replace(cfg, data=replace(cfg.data, root=root, image_size=1024))
    fitted = evaluate.main(replace(cfg, tile="off", out=tmp_path / "off"))
    assert "1 of 1 images: predict.py reads them at another scale or turned" in (
        capsys.readouterr().out
    )
    figures = evaluate.main(replace(cfg, out=tmp_path / "auto"))
    assert "1 image, of which 1 in windows, 1 turned\n" in capsys.readouterr().out
    assert (figures["turned"], figures["in_windows"], figures["reduced"]) == (1, 1, 0)
    assert figures["iou_quads/hmean"] > fitted["iou_quads/hmean"] + 0.02
