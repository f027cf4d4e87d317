"""Every pair of training options is built and stepped, or refused.

The network is tiny and compiled by aot_eager, which traces and differentiates but generates no
code. Synchronised batch norms exist on GPUs only: here torch's code runs without its collectives.
"""

import gc
import os
from dataclasses import replace
from functools import partial
from itertools import combinations

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import train
from dbnet.checkpoint import load_checkpoint
from dbnet.model import backbone
from dbnet.model.backbone import Encoder
from dbnet.training import network
from tests.faults.runs import same, small

OPTIONS = {
    "compile": {"compile": True},
    "recompute": {"recompute_encoder": True},
    "sync norms": {"sync_batchnorm": True},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "ema": {"ema": 0.9},
    "accumulate": {"accumulate": 3},
    "deterministic": {"deterministic": True},
    "ranks": {},
}
PAIRS = [*combinations(OPTIONS, 2)]
PAIRS.remove(("bf16", "fp16"))  # one setting
COMPILED = [  # compiling takes long: few runs hold all pairs of it
    ("compile", "recompute", "sync norms", "ranks"),
    ("compile", "bf16", "ema"),
    ("compile", "fp16", "accumulate", "deterministic"),
]
CASES = [*(pair for pair in PAIRS if "compile" not in pair), *COMPILED]


class TinyBody(nn.Module):
    """Maps at strides 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, 8, stride, stride, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(inplace=True),
            )
            for channels, stride in ((3, 4), (8, 2), (8, 2), (8, 2))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def tiny_encoder(self: Encoder, *, name: str) -> None:
    nn.Module.__init__(self)
    self.body, self.channels, self.recompute = TinyBody(), [8] * 4, False


def norm_without_collectives(norm: nn.SyncBatchNorm, x: Tensor) -> Tensor:
    """torch's function, for one rank."""
    if norm.training and norm.track_running_stats:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
    return F.batch_norm(
        x, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training,
        norm.momentum, norm.eps,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(Encoder, "__init__", tiny_encoder)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    monkeypatch.setattr(nn.SyncBatchNorm, "forward", norm_without_collectives)
    sync = lambda model, device: backbone.convert_sync_batchnorm(model)  # noqa: E731
    monkeypatch.setattr(network, "sync_batchnorm", sync)
    monkeypatch.setattr(DistributedDataParallel, "_passing_sync_batchnorm_handle", lambda *_: None)
    yield
    torch._dynamo.reset()
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def one_rank(monkeypatch):
    """A process group of one, so that the network goes through DistributedDataParallel."""
    for name, value in {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setitem(os.environ, name, value)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    gc.collect()  # networks in cycles are freed while their group is still there
    dist.destroy_process_group()


def test_the_cases_hold_every_pair_of_options():
    held = {pair for names in CASES for pair in combinations(names, 2)}
    assert set(PAIRS) <= held and ("bf16", "fp16") not in held


@pytest.mark.faults("every pair of training options", "stepped, and resumed")
@pytest.mark.parametrize("names", CASES, ids=" + ".join)
def test_every_pair_of_options_trains_and_resumes(pages, tmp_path, request, names):
    if "ranks" in names:
        request.getfixturevalue("one_rank")
    changes = {}
    for name in names:
        changes |= OPTIONS[name]
    cfg = small(pages, tmp_path, epochs=1, **changes)
    folder = train.main(cfg)
    first = load_checkpoint(folder / "last.pt")
    assert first["step"] == 4, "three full batches and one of a single image"
    assert all(t.isfinite().all() for t in first["model"].values() if t.is_floating_point())
    tracked = [value for name, value in first["model"].items() if name.endswith("tracked")]
    assert tracked and all(int(value) == 4 for value in tracked), "statistics move once a batch"
    if "compile" in names and "ranks" not in names:
        return  # one run that compiles again stands for all
    torch._dynamo.reset()
    longer = replace(cfg.train, epochs=2, resume=folder)
    train.main(replace(cfg, train=longer))
    assert load_checkpoint(folder / "last.pt")["step"] == 8


@pytest.mark.faults("recompute turned on or off when resuming", "the run stays bitwise the same")
def test_recompute_may_change_when_a_run_goes_on(pages, tmp_path):
    whole = train.main(small(pages, tmp_path / "whole"))
    folder = train.main(small(pages, tmp_path, epochs=1))
    train.main(small(pages, tmp_path, epochs=2, resume=folder, recompute_encoder=True))
    a, b = (load_checkpoint(path / "last.pt")["model"] for path in (whole, folder))
    assert same(a, b)
