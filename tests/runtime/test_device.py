"""Which device is chosen."""

import pytest
import torch

from dbnet.errors import InputError
from dbnet.runtime import distributed
from dbnet.runtime.device import resolve_device


@pytest.mark.faults("torchrun on a Mac", "ranks compute on the processor, --device mps is refused")
def test_several_ranks_do_not_take_apple_s_gpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(distributed, "world", lambda: 2)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(InputError, match="device mps: several ranks cannot use it"):
        resolve_device("mps")
