"""Which device is chosen."""

from pathlib import Path

import pytest
import torch

from configs import Config, TrainConfig
from dbnet.errors import InputError
from dbnet.runtime import distributed
from dbnet.runtime.device import resolve_device
from dbnet.training.folder import StoredRun
from dbnet.training.setup import named_device


@pytest.mark.faults("torchrun on a Mac", "ranks compute on the processor, --device mps is refused")
def test_several_ranks_do_not_take_apple_s_gpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(distributed, "world", lambda: 2)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(InputError, match="device mps: several ranks cannot use it"):
        resolve_device("mps")


@pytest.mark.faults("--device cuda:1 under torchrun", "refused: each rank has its own GPU")
def test_several_ranks_do_not_take_one_gpu(monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 2)
    with pytest.raises(InputError, match=r"device cuda:1: each rank has a GPU of its own"):
        resolve_device("cuda:1")


def test_a_run_of_several_ranks_goes_on_with_its_stored_gpu():
    stored = Config(train=TrainConfig(device="cuda:0"))  # by an earlier version
    folder = Path("runs/a")
    assert named_device(stored, StoredRun(folder, stored, {"ranks": 2})) == "cuda"
    assert named_device(stored, StoredRun(folder, stored, {"ranks": 1})) == "cuda:0"
    other = Config(train=TrainConfig(device="cuda:1"))
    assert named_device(other, StoredRun(folder, stored, {"ranks": 2})) == "cuda:1"
    assert named_device(other, None) == "cuda:1"
