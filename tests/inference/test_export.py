"""The ONNX file gives the results of PyTorch at any size, and is written whole or not at all."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dbnet.errors import InputError
from dbnet.export import ExportConfig, check, main
from dbnet.inference import onnx_export as export
from dbnet.inference.networks import checkpoint_settings
from dbnet.inference.onnx import OnnxNetwork
from tests.networks import ENCODER, save_trained, with_random_statistics

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SETTINGS = {
    "image_size": 320,
    "shrink_ratio": 0.45,
    "postprocess": {"bin_thresh": 0.25, "unclip_ratio": None, "use_polygon": False},
}


@pytest.fixture(scope="module")
def model():
    return with_random_statistics(ENCODER)


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "net.onnx"
    export.write(path, model, SETTINGS)
    assert [p.name for p in path.parent.iterdir()] == ["net.onnx"]
    return path


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    return save_trained(tmp_path_factory.mktemp("trained") / "best.pt", model, **SETTINGS)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (2, 3, 64, 96), (3, 3, 160, 64)])
@torch.inference_mode()
def test_any_batch_and_size_equals_pytorch(model, file, shape):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    expected = model.predict(images)
    assert expected.std() > 0.05
    found = OnnxNetwork(path=file)(images.numpy())
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert np.abs(found - expected.numpy()).max() <= 1e-4


def test_settings_come_back_as_they_were(file):
    assert OnnxNetwork(path=file).settings == SETTINGS


def test_other_weights_do_not_pass_the_check(file):
    other = with_random_statistics("mobilenetv3_small_050", seed=1)
    assert export.largest_difference(other, OnnxNetwork(path=file)) > 1e-2


@pytest.mark.parametrize("wrong", [2e-4, float("nan")])
def test_a_file_that_fails_the_check_is_not_left(model, tmp_path, monkeypatch, wrong):
    monkeypatch.setattr(export, "largest_difference", lambda *_: wrong)
    with pytest.raises(InputError, match="not written"):
        export.write(tmp_path / "net.onnx", model, SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_two_exports_to_one_file_do_not_meet(model, tmp_path, monkeypatch):
    out = tmp_path / "net.onnx"

    def let_another_pass(*_) -> float:
        monkeypatch.setattr(export, "largest_difference", lambda *_: 0.0)
        export.write(out, model, SETTINGS | {"image_size": 640})
        assert OnnxNetwork(path=out).settings["image_size"] == 640
        return 0.0

    monkeypatch.setattr(export, "largest_difference", let_another_pass)
    export.write(out, model, SETTINGS)
    assert OnnxNetwork(path=out).settings == SETTINGS
    assert list(tmp_path.iterdir()) == [out]


def test_the_command_prints_the_difference_and_never_overwrites(checkpoint, tmp_path, capsys):
    out = tmp_path / "new" / "net.onnx"
    main(ExportConfig(out, checkpoint))
    assert "differs from PyTorch by at most" in capsys.readouterr().out
    assert OnnxNetwork(path=out).settings == SETTINGS
    before = out.read_bytes()
    with pytest.raises(InputError, match=r"net\.onnx: is there already"):
        main(ExportConfig(out, checkpoint))
    assert out.read_bytes() == before


def test_a_missing_checkpoint_is_one_line(tmp_path):
    out, checkpoint = str(tmp_path / "net.onnx"), str(tmp_path / "none.pt")
    done = subprocess.run(
        [sys.executable, "-m", "dbnet.export", "--checkpoint", checkpoint, "--out", out],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "none.pt: no such checkpoint" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(checkpoint, tmp_path):
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "deep" / "net.onnx")
    done = subprocess.run(
        [sys.executable, "-m", "dbnet.export", "--checkpoint", str(checkpoint), "--out", out],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"python -m dbnet.export: {tmp_path}/file: cannot be written (Not a directory); "
        "choose another --out\n"
    )


def test_a_missing_package_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="pip install onnx onnxruntime"):
        check(ExportConfig(tmp_path / "net.onnx", tmp_path / "none.pt"))


def test_a_checkpoint_without_settings_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"best\.pt: lacks its settings"):
        checkpoint_settings({"config": {"data": {}}}, tmp_path / "best.pt")


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "foreign"])
def test_damaged_files_are_refused_by_name(file, tmp_path, damage):
    path = tmp_path / "net.onnx"
    whole = file.read_bytes()
    if damage == "foreign":
        proto = onnx.load_model_from_string(whole)
        del proto.metadata_props[:]
        path.write_bytes(proto.SerializeToString())
    elif damage != "missing":
        path.write_bytes(whole[: len(whole) // 2] if damage == "half" else b"")
    with pytest.raises(InputError, match=r"net\.onnx") as caught:
        OnnxNetwork(path=path)
    assert "\n" not in str(caught.value)
