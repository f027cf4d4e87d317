"""Optimizer, learning-rate schedule, weight averaging."""

import math

from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dbnet.settings import OptimConfig

Tensors = tuple[Tensor, ...] | list[Tensor]


def build_optimizer(
    model: nn.Module, cfg: OptimConfig, *, steps_per_epoch: int, epochs: int, max_steps: int | None
) -> tuple[AdamW, LambdaLR]:
    """AdamW and its schedule, which is stepped once per optimizer step.

    The cosine schedule ends after `epochs` or `max_steps`, whichever comes first.
    """
    optimizer = AdamW(
        model.parameters(), lr=cfg.lr, betas=cfg.betas, eps=cfg.eps, weight_decay=cfg.weight_decay
    )
    warmup_steps = round(cfg.warmup_epochs * steps_per_epoch)
    total_steps = min(epochs * steps_per_epoch, max_steps or math.inf)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return 0.01 + 0.99 * step / warmup_steps
        if cfg.schedule == "step":
            return cfg.gamma ** (step // (cfg.step_size * steps_per_epoch))
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return optimizer, LambdaLR(optimizer, factor)


def build_ema(model: nn.Module, decay: float) -> AveragedModel | None:
    """Exponential moving average of weights and batch-norm statistics; None for decay 0.

    The decay of update n is min(decay, (1 + n) / (10 + n)): it starts low, so that the first
    weights have little influence later.
    """
    if decay == 0:
        return None

    def update(averaged: Tensors, current: Tensors, updates: Tensor | int) -> None:
        warm = (1 + int(updates)) / (10 + int(updates))
        get_ema_multi_avg_fn(min(decay, warm))(averaged, current, updates)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
