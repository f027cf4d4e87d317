"""Checkpoints are written whole or not at all, and code in them is never executed."""

import os
import pickle

import pytest
import torch

from dbnet import checkpoint
from dbnet.model.dbnet import DBNet

ARGS = {"encoder": "mobilenetv3_small_050", "fpn_channels": 16}


@pytest.fixture(scope="module")
def payload():
    torch.manual_seed(0)
    return {"model_args": ARGS, "model": DBNet(**ARGS).state_dict(), "ema": None, "epoch": 3}


def test_a_checkpoint_rebuilds_the_model(payload, tmp_path):
    path = tmp_path / "best.pt"
    checkpoint.save_checkpoint(path, payload)
    loaded = checkpoint.load_checkpoint(path)
    assert loaded["epoch"] == 3
    model = checkpoint.build_model(loaded)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, payload["model"][name])
    assert list(tmp_path.iterdir()) == [path]


def test_averaged_weights_win(payload, tmp_path):
    averaged = {name: torch.zeros_like(tensor) for name, tensor in payload["model"].items()}
    model = checkpoint.build_model(payload | {"ema": averaged})
    assert all((tensor == 0).all() for tensor in model.state_dict().values())


@pytest.mark.faults("write that fails")
def test_a_failed_write_keeps_the_earlier_file(payload, tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save_checkpoint(path, payload)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=r"last\.pt: .*No space left"):
        checkpoint.save_checkpoint(path, payload | {"epoch": 4})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class Bomb:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('exploded').write_text('x')",))


@pytest.mark.faults("checkpoint with code in it")
def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bomb.pt"
    torch.save({"format": 1, "model": Bomb()}, path)
    with pytest.raises(ValueError, match=r"bomb\.pt"):
        checkpoint.load_checkpoint(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"bomb\.pt"):
        checkpoint.load_checkpoint(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.faults("damaged checkpoint")
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "text", "foreign"])
def test_damage_is_one_line_naming_the_file(payload, tmp_path, damage):
    path = tmp_path / "last.pt"
    checkpoint.save_checkpoint(path, payload)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "foreign":
        torch.save({"state_dict": {}}, path)
    else:
        path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "text": b"hello"}[damage])
    with pytest.raises(ValueError, match=r"last\.pt") as caught:
        checkpoint.load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.faults("another encoder's checkpoint")
def test_another_architecture_is_refused_with_the_difference(payload):
    other = DBNet(encoder="mobilenetv3_small_050", fpn_channels=32)
    with pytest.raises(ValueError, match=r"fpn\.lateral\.0\.weight"):
        checkpoint.load_weights(other, payload)
