"""Losses: values computed by hand, finite on extreme batches, independent of other images."""

import numpy as np
import pytest
import torch

from dbnet.settings import LossConfig
from dbnet.structures import Batch, DBOutputs
from dbnet.training.losses import (
    DBLoss,
    _sums_on_device,
    _sums_on_host,
    balanced_bce,
    binarize,
    dice,
    masked_l1,
)

EPS = 1e-6


def maps(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows)[:, None, None, :]  # (N, 1, 1, W)


def batch_of(shrink, mask, thresh, thresh_mask) -> Batch:
    empty = [[] for _ in shrink]
    return Batch(
        torch.zeros(len(shrink), 3, *shrink.shape[2:], dtype=torch.uint8),
        shrink, mask, thresh, thresh_mask, empty, empty, [np.zeros(0, bool)] * len(shrink),
        empty, [""] * len(shrink), np.tile(np.eye(3), (len(shrink), 1, 1)),
        [(1, 1)] * len(shrink), {},
    )  # fmt: skip


def loss() -> DBLoss:
    return DBLoss(
        LossConfig(
            prob_weight=5.0,
            thresh_weight=10.0,
            binary_weight=1.0,
            negative_ratio=3.0,
            k=50.0,
            eps=EPS,
        )
    )


def test_binarize_is_the_formula_of_the_paper_and_never_overflows():
    prob, thresh = torch.tensor([0.2, 0.5, 0.9]), torch.tensor([0.25, 0.5, 0.3])
    expected = 1 / (1 + torch.exp(-50 * (prob - thresh)))
    assert torch.allclose(binarize(prob, thresh, 50), expected)
    extreme = binarize(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), 5000)
    assert extreme.tolist() == [0.0, 1.0]


def test_balanced_bce_keeps_positives_and_the_hardest_negatives():
    logits = maps([2.0, -1.0, 0.5, 3.0, -4.0, 1.0])
    target = maps([1.0, 0, 0, 0, 0, 0])
    mask = maps([1.0, 1, 1, 1, 1, 0])  # the last pixel, a hard negative, is masked out
    softplus = torch.nn.functional.softplus
    # One positive, ratio 2: the negatives with logits 3.0 and 0.5 are the hardest.
    kept = softplus(torch.tensor([-2.0, 3.0, 0.5])).sum()
    value = balanced_bce(logits, target, mask, negative_ratio=2.0, eps=0.0)
    assert value.tolist() == pytest.approx([kept.item() / 3])


def test_balanced_bce_has_negatives_on_images_without_text():
    logits = torch.randn(1, 1, 20, 20)
    zeros, ones = torch.zeros_like(logits), torch.ones_like(logits)
    value = balanced_bce(logits, zeros, ones, negative_ratio=3.0, eps=0.0)
    hardest = torch.nn.functional.softplus(logits).flatten().topk(12).values  # 3 x 1 % of 400
    assert value.item() == pytest.approx(hardest.mean().item())


def test_masked_l1_and_dice_are_those_made_by_hand():
    value, target = maps([0.5, 1.0, 0.0]), maps([0.0, 1.0, 1.0])
    assert masked_l1(value, target, maps([1.0, 1, 0]), eps=0.0).item() == pytest.approx(0.25)
    # overlap 1, |B| 1.5, |G| 1 under the mask
    assert dice(value, target, maps([1.0, 1, 0]), eps=0.0).item() == pytest.approx(1 - 2 / 2.5)
    assert dice(value, torch.zeros_like(value), torch.ones_like(value), eps=EPS).item() == 0


@pytest.mark.parametrize("mask", [0.0, 1.0])
@pytest.mark.parametrize("text", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_losses_without_any_text_are_finite(mask, text, dtype):
    logits = torch.full((2, 1, 8, 8), 60.0, dtype=dtype, requires_grad=True)
    full = torch.ones(2, 1, 8, 8)
    losses = loss()(DBOutputs(logits, -logits), batch_of(full * text, full * mask, full, full * 0))
    losses.total.backward()
    assert all(torch.isfinite(part) for part in losses)
    assert losses.total.dtype == torch.float32
    assert torch.isfinite(logits.grad).all()
    if mask == 0:
        assert losses.prob == 0 and losses.binary == 0 and losses.thresh == 0


def test_total_is_the_weighted_sum():
    torch.manual_seed(0)
    shape = (2, 1, 16, 16)
    truth = [(torch.rand(shape) > 0.6).float() for _ in range(4)]
    parts = loss()(DBOutputs(torch.randn(shape), torch.randn(shape)), batch_of(*truth))
    expected = 5 * parts.prob + 10 * parts.thresh + parts.binary
    assert parts.total.item() == pytest.approx(expected.item())


def test_an_image_does_not_feel_its_neighbours():
    torch.manual_seed(1)
    shape = (3, 1, 16, 16)
    outputs = DBOutputs(torch.randn(shape), torch.randn(shape))
    truth = [(torch.rand(shape) > 0.7).float() for _ in range(4)]
    truth[0][1] = 0  # one image without text
    together = loss()(outputs, batch_of(*truth))
    alone = [
        loss()(
            DBOutputs(*(o[i : i + 1] for o in outputs)), batch_of(*(t[i : i + 1] for t in truth))
        )
        for i in range(3)
    ]
    for name in together._fields:
        mean = sum(getattr(part, name).item() for part in alone) / 3
        assert getattr(together, name).item() == pytest.approx(mean, rel=1e-5)


def test_inputs_stay_as_they_are_and_no_gradient_reaches_the_targets():
    shape = (1, 1, 8, 8)
    truth = [torch.rand(shape) > 0.5 for _ in range(4)]
    truth = [t.float() if i == 2 else t.byte() for i, t in enumerate(truth)]
    copies = [t.clone() for t in truth]
    logits = torch.randn(shape, requires_grad=True)
    loss()(DBOutputs(logits, logits * 0.5), batch_of(*truth)).total.backward()
    assert all(torch.equal(a, b) for a, b in zip(truth, copies, strict=True))
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("seed", range(5))
def test_balanced_bce_equals_the_formula(seed):
    torch.manual_seed(seed)
    logits = (torch.randn(3, 1, 24, 24) * 3).requires_grad_()
    target = (torch.rand(3, 1, 24, 24) > 0.95).float()
    mask = (torch.rand(3, 1, 24, 24) > 0.3).float()
    values = balanced_bce(logits, target, mask, negative_ratio=3.0, eps=EPS)
    (gradient,) = torch.autograd.grad(values.sum(), logits)

    plain = []
    for row, truth, looked_at in zip(logits, target, mask, strict=True):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(row, truth, reduction="none")
        positives = loss[(truth == 1) & (looked_at == 1)]
        negatives = loss[(truth == 0) & (looked_at == 1)].sort(descending=True).values
        kept = torch.cat([positives, negatives[: 3 * len(positives)]])
        plain.append(kept.mean())
    assert torch.allclose(values, torch.stack(plain), rtol=1e-5)
    (expected,) = torch.autograd.grad(sum(plain), logits)
    assert torch.allclose(gradient, expected, atol=1e-7)


def test_host_and_device_sum_the_same_pixels():
    torch.manual_seed(0)
    logits = torch.randn(4, 300, dtype=torch.float64, requires_grad=True)
    positive = torch.rand(4, 300) > 0.9
    negative = ~positive & (torch.rand(4, 300) > 0.2)
    counts = torch.tensor([0, 5, 100, int(negative[3].sum())])
    results = []
    for sums in (_sums_on_host, _sums_on_device):
        value = sums(logits, positive, negative, counts)
        results.append((value, torch.autograd.grad(value.sum(), logits)[0]))
    assert torch.allclose(results[0][0], results[1][0])
    assert torch.allclose(results[0][1], results[1][1])
