"""Folded batch norms give the same results; unusual modules are not changed."""

import copy

import pytest
import torch
from torch import Tensor, nn

from dbnet.model.fuse import fuse_batch_norms
from tests.networks import with_random_statistics


def images() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=generator)


def norms(module: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in module.modules())


@pytest.mark.parametrize(
    ("encoder", "folded"),
    [
        ("resnet18", "all"),
        ("mobilenetv3_small_050", "all"),  # two kinds of batch norm
        ("repghostnet_050", "some"),  # others follow no convolution
        ("mobilevit_xxs", "none"),  # cannot be traced
    ],
)
@torch.inference_mode()
def test_folded_equals_unfolded(encoder, folded):
    model = with_random_statistics(encoder)
    expected = model.predict(images())
    assert expected.std() > 0.05
    fused = fuse_batch_norms(model)
    assert (fused.predict(images()) - expected).abs().max() < 1e-4
    before, left = norms(model.encoder), norms(fused.encoder)
    assert {"all": left == 0, "some": 0 < left < before, "none": left == before}[folded]
    assert norms(fused.head) == 0


def test_the_trained_model_is_untouched():
    model = with_random_statistics("resnet18").train()
    before = copy.deepcopy(model.state_dict())
    fused = fuse_batch_norms(model)
    assert model.training and not fused.training
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(p.requires_grad for p in model.parameters())
    assert not any(p.requires_grad for p in fused.parameters())


class Knot(nn.Module):
    """A convolution and a batch norm in a structure that must not be folded."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.act = nn.ReLU()
        self.norm = nn.BatchNorm2d(3)
        if kind == "hooked":
            self.conv.register_forward_hook(lambda module, args, output: output * 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.kind == "read twice":
            return self.norm(y) + y
        if self.kind == "called twice":
            return self.norm(y) + self.conv(x + 1).relu()
        if self.kind == "norm called twice":
            return self.norm(y) + self.norm(x)
        if self.kind == "weight read":
            return self.norm(y) + self.conv.weight.sum() * x
        if self.kind == "something between":
            return self.norm(self.act(y))
        return self.norm(y)


@pytest.mark.parametrize(
    "kind",
    [
        "hooked",
        "read twice",
        "called twice",
        "norm called twice",
        "weight read",
        "something between",
    ],
)
@torch.inference_mode()
def test_knots_are_left_alone(kind):
    model = with_random_statistics("mobilenetv3_small_050")
    model.encoder = Knot(kind).eval()
    nn.init.uniform_(model.encoder.norm.running_var, 0.5, 2.0)
    x = torch.randn(1, 3, 8, 8)
    fused = fuse_batch_norms(model)
    assert norms(fused.encoder) == 1
    assert torch.equal(fused.encoder(x), model.encoder(x))
