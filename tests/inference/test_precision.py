"""Lower precisions: named in the file, measured on a data set, refused if they lose too much."""

import hashlib
import sys

import cv2
import numpy as np
import pytest

from dbnet import Detector
from dbnet.errors import InputError
from dbnet.evaluation import runtimes
from dbnet.evaluation.runtimes import Figures
from dbnet.export import ExportConfig, main
from dbnet.inference.networks import load_network
from dbnet.inference.onnx import OnnxNetwork
from dbnet.synthetic.dataset import draw_receipt
from tests.drawing import write_dataset
from tests.networks import ENCODER, save_trained, with_random_statistics

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIZE = 128


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data"), train=2, val=3)


@pytest.fixture
def checkpoint(tmp_path):
    return save_trained(
        tmp_path / "best.pt",
        with_random_statistics(ENCODER),
        image_size=SIZE,
        shrink_ratio=0.4,
        postprocess={"bin_thresh": 0.5, "box_thresh": 0.3},
    )


@pytest.fixture
def receipt(tmp_path):
    path = tmp_path / "receipt.png"
    cv2.imwrite(str(path), draw_receipt(np.random.default_rng(0))[0][:, :, ::-1])
    return path


# ---- Beside its checkpoint


def test_an_export_beside_its_checkpoint_is_taken_by_itself(checkpoint, receipt):
    by_torch = Detector(checkpoint, device="cpu", precision="fp32")
    assert by_torch.description == f"{checkpoint} on cpu in fp32 by PyTorch"
    main(ExportConfig(checkpoint=checkpoint))
    exported = checkpoint.with_suffix(".onnx")
    by_onnx = Detector(checkpoint, device="cpu", precision="fp32")
    assert by_onnx.description == f"{exported} on CPU in fp32 by onnxruntime"
    one, other = by_torch(receipt), by_onnx(receipt)
    assert len(one.polygons) == len(other.polygons) > 0
    for a, b in zip(one.polygons, other.polygons, strict=True):
        np.testing.assert_allclose(a, b, atol=0.05)  # pixels
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)


def test_an_export_of_other_weights_is_not_taken(checkpoint):
    main(ExportConfig(checkpoint=checkpoint))
    with checkpoint.open("ab") as file:
        file.write(b"\0")
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() != _hash(checkpoint)
    loaded = load_network(checkpoint, device="cpu", precision="fp32")
    assert loaded.description.endswith("by PyTorch")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_lower_precision_is_not_taken_by_itself(checkpoint, data, precision):
    out = checkpoint.with_suffix(".onnx")
    main(_config(checkpoint, data, precision, out=out))
    loaded = load_network(checkpoint, device="cpu", precision="fp32")
    assert loaded.description.endswith("by PyTorch")


def _hash(checkpoint):
    return OnnxNetwork(path=checkpoint.with_suffix(".onnx")).checkpoint_sha256


# ---- Lower precisions


def _config(checkpoint, data, precision, *, out=None, max_loss=1.0):
    calibrate = data / "images" / "train" if precision == "int8" else None
    return ExportConfig(
        out, checkpoint, precision, calibrate=calibrate, evaluate=data, max_loss=max_loss
    )


@pytest.mark.parametrize("precision, share, apart", [("fp16", 0.6, 0.01), ("int8", 0.55, 0.2)])
def test_a_lower_precision_is_small_and_named_in_the_file(
    checkpoint, data, capsys, precision, share, apart
):
    main(ExportConfig(checkpoint=checkpoint))
    main(_config(checkpoint, data, precision))
    fp32, out = checkpoint.with_suffix(".onnx"), checkpoint.with_suffix(f".{precision}.onnx")
    assert out.stat().st_size < share * fp32.stat().st_size
    exact, network = OnnxNetwork(path=fp32), OnnxNetwork(path=out)
    assert (exact.precision, network.precision) == ("fp32", precision)
    assert network.settings == exact.settings
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert network.checkpoint_sha256 == exact.checkpoint_sha256 == digest
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 96), np.uint8)
    found = network(images)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact(images)).mean() < apart
    printed = capsys.readouterr().out
    assert "CLEval hmean" in printed and f"onnxruntime on CPU in {precision}" in printed
    assert load_network(out).description == f"{out} on CPU in {precision} by onnxruntime"


@pytest.mark.parametrize("after", [0.89, float("nan")])
def test_a_file_that_loses_more_than_asked_is_not_written(
    checkpoint, data, monkeypatch, capsys, after
):
    def figures(networks, *_):
        hmeans = [0.9] * (len(networks) - 1) + [after]
        return {n: Figures(0.9, h, 1.0, 1.0) for n, h in zip(networks, hmeans, strict=True)}

    monkeypatch.setattr("dbnet.export.compare", figures)
    before = sorted(checkpoint.parent.iterdir())
    with pytest.raises(InputError, match=r"best\.fp16\.onnx: not written, for the hmean falls"):
        main(_config(checkpoint, data, "fp16", max_loss=0.005))
    assert "loss of hmean" in capsys.readouterr().out
    assert sorted(checkpoint.parent.iterdir()) == before
    if after == 0.89:
        main(_config(checkpoint, data, "fp16", max_loss=0.02))
        assert checkpoint.with_suffix(".fp16.onnx").is_file()


def test_the_loss_is_that_of_the_metric_that_falls_further():
    before = Figures(0.95, 0.90, 1.0, 1.0)
    assert runtimes.loss(before, Figures(0.94, 0.88, 1.0, 1.0)) == pytest.approx(0.02)
    assert runtimes.loss(before, Figures(0.96, 0.92, 1.0, 1.0)) == pytest.approx(-0.01)


# ---- Refusals


@pytest.mark.parametrize(
    "settings, line",
    [
        ({"precision": "fp16"}, "--precision fp16: needs --evaluate"),
        ({"precision": "int8", "evaluate": "x"}, "--precision int8: needs --calibrate"),
        ({"calibrate": "x"}, "--calibrate: is for --precision int8"),
        ({"images": 3}, "--images: is for --evaluate"),
        ({"max_loss": -0.1}, "--max-loss -0.1: must lie in 0..1"),
        ({"max_loss": float("nan")}, "--max-loss nan: must lie in 0..1"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(settings, line):
    with pytest.raises(InputError, match=line):
        ExportConfig(**settings)


@pytest.mark.parametrize(
    "precision, module",
    [("fp16", "onnxruntime.transformers.float16"), ("int8", "onnxruntime.quantization")],
)
def test_missing_tools_of_a_precision_are_one_line(
    checkpoint, data, monkeypatch, precision, module
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"{module} is not installed: pip install onnx onnxr"):
        main(_config(checkpoint, data, precision))


@pytest.mark.parametrize("folder", ["none", "empty"])
def test_a_folder_without_images_cannot_calibrate(checkpoint, data, tmp_path, folder):
    (tmp_path / "empty").mkdir()
    cfg = ExportConfig(None, checkpoint, "int8", calibrate=tmp_path / folder, evaluate=data)
    with pytest.raises(InputError, match=folder):
        main(cfg)
    assert not checkpoint.with_suffix(".int8.onnx").exists()


def test_a_wrong_data_set_to_evaluate_on_is_one_line(checkpoint, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        main(ExportConfig(checkpoint=checkpoint, evaluate=tmp_path / "nowhere"))
