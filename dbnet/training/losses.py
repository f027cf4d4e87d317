"""DBNet losses (Liao et al., AAAI 2020, section 3.5), in float32 and finite for any batch.

Hard negatives are selected per image, and losses are normalised per image, then averaged. The loss
of an image does not depend on the other images of its batch, so a batch may be split over steps or
devices.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dbnet.settings import LossConfig
from dbnet.structures import Batch, DBOutputs

_EMPTY_SHARE = 0.01  # of the pixels: an image without text gets negatives as for so much text


def binarize(prob: Tensor, thresh: Tensor, k: float) -> Tensor:
    """Approximate binary map B = 1 / (1 + exp(-k (P - T))), as a sigmoid, which cannot overflow."""
    return torch.sigmoid(k * (prob - thresh))


def balanced_bce(
    logits: Tensor, target: Tensor, mask: Tensor, *, negative_ratio: float, eps: float
) -> Tensor:
    """Cross-entropy over all P positives and the min(N, negative_ratio P) hardest negatives.

    The hardest negatives are those with the highest logits. They are selected first, so that the
    logarithm is computed for the selected pixels only. An image without positives gets as many
    negatives as if 1 % of it were text: empty paper must be learned too.

    Args:
        logits, target, mask: (N, 1, H, W); target and mask are binary. Pixels with mask 0 are left
            out.

    Returns:
        (N,)
    """
    looked_at = mask > 0
    positive = ((target > 0) & looked_at).flatten(1)  # (N, HW)
    negative = ((target == 0) & looked_at).flatten(1)
    num_positive = positive.sum(1)  # (N,)
    text = torch.where(num_positive > 0, num_positive, positive.shape[1] * _EMPTY_SHARE)
    num_negative = torch.minimum(negative.sum(1), (text * negative_ratio).ceil()).long()
    sums = _sums_on_host if logits.device.type == "cpu" else _sums_on_device
    total = sums(logits.flatten(1), positive, negative, num_negative)
    return total / (num_positive + num_negative + eps)


def _sums_on_host(logits: Tensor, positive: Tensor, negative: Tensor, counts: Tensor) -> Tensor:
    """Cross-entropy of all positives and the `counts` hardest negatives, summed per row.

    numpy.argpartition is eight times as fast as torch.topk. (N, M), counts (N,) -> (N,)
    """
    candidates = logits.detach().masked_fill(~negative, -torch.inf).numpy()
    sums = []
    for row, where, others, count in zip(
        logits, positive, candidates, counts.tolist(), strict=True
    ):
        first = len(others) - count
        hardest = torch.from_numpy(np.argpartition(others, min(first, len(others) - 1))[first:])
        sums.append(F.softplus(-row[where]).sum() + F.softplus(row[hardest]).sum())
    return torch.stack(sums)


def _sums_on_device(logits: Tensor, positive: Tensor, negative: Tensor, counts: Tensor) -> Tensor:
    """The same by sorting, which does not transfer the counts from the device."""
    ranked = logits.masked_fill(~negative, -torch.inf).sort(dim=1, descending=True).values
    is_hard = torch.arange(ranked.shape[1], device=ranked.device) < counts[:, None]
    return (F.softplus(-logits) * positive).sum(1) + (F.softplus(ranked) * is_hard).sum(1)


def masked_l1(value: Tensor, target: Tensor, mask: Tensor, *, eps: float) -> Tensor:
    """Mean difference where the mask is 1; 0 if the mask is empty. (N, 1, H, W) -> (N,)"""
    difference = ((value - target).abs() * mask).flatten(1).sum(1)
    return difference / (mask.flatten(1).sum(1) + eps)


def dice(value: Tensor, target: Tensor, mask: Tensor, *, eps: float) -> Tensor:
    """1 - 2 |B G| / (|B| + |G|) under the mask. (N, 1, H, W) -> (N,)

    0 for an image without text: there it would be 1 for any prediction.
    """
    overlap = (value * target * mask).flatten(1).sum(1)
    truth = (target * mask).flatten(1).sum(1)
    union = (value * mask).flatten(1).sum(1) + truth
    return (1 - 2 * overlap / (union + eps)) * (truth > 0)


class DBLosses(NamedTuple):
    """Means over the batch, scalars. `total` is the loss to minimise; the parts are unweighted."""

    total: Tensor
    prob: Tensor
    thresh: Tensor
    binary: Tensor


class DBLoss(nn.Module):
    """total = prob_weight Ls + thresh_weight Lt + binary_weight Lb.

    Ls is the balanced cross-entropy of P. Lt is the masked L1 of T, weighted by beta in the paper.
    Lb is the dice loss of B, weighted by alpha. Logits are converted to float32 first, and autocast
    is disabled.
    """

    def __init__(self, cfg: LossConfig) -> None:
        super().__init__()
        self.cfg = cfg

    def forward(self, outputs: DBOutputs, batch: Batch) -> DBLosses:
        cfg = self.cfg
        with torch.autocast(outputs.prob_logits.device.type, enabled=False):
            prob_logits = outputs.prob_logits.float()
            thresh = outputs.thresh_logits.float().sigmoid()
            binary = binarize(prob_logits.sigmoid(), thresh, cfg.k)
            prob_loss = balanced_bce(
                prob_logits,
                batch.shrink_map,
                batch.shrink_mask,
                negative_ratio=cfg.negative_ratio,
                eps=cfg.eps,
            ).mean()
            thresh_loss = masked_l1(thresh, batch.thresh_map, batch.thresh_mask, eps=cfg.eps).mean()
            binary_loss = dice(binary, batch.shrink_map, batch.shrink_mask, eps=cfg.eps).mean()
            total = (
                cfg.prob_weight * prob_loss
                + cfg.thresh_weight * thresh_loss
                + cfg.binary_weight * binary_loss
            )
        return DBLosses(total, prob_loss, thresh_loss, binary_loss)
