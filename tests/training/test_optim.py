"""Schedules and weight averages computed by hand."""

import pytest
import torch
from torch import nn

from dbnet.settings import OptimConfig
from dbnet.training.optim import build_ema, build_optimizer


def schedule(steps: int, **changes) -> list[float]:
    values = dict(
        lr=1.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, schedule="step", step_size=2,
        gamma=0.1, warmup_epochs=0.0,
    )  # fmt: skip
    optimizer, scheduler = build_optimizer(
        nn.Linear(1, 1),
        OptimConfig(**values | changes),
        steps_per_epoch=2,
        epochs=5,
        max_steps=None,
    )
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_step_schedule_drops_after_every_step_size_epochs():
    assert schedule(9) == pytest.approx([1] * 4 + [0.1] * 4 + [0.01])


def test_cosine_runs_to_zero_over_all_epochs():
    rates = schedule(11, schedule="cosine")
    assert rates[0] == 1 and rates[5] == pytest.approx(0.5) and rates[10] == pytest.approx(0)
    assert rates == sorted(rates, reverse=True)


def test_warm_up_is_linear_from_a_hundredth():
    assert schedule(5, warmup_epochs=2.0)[:5] == pytest.approx([0.01, 0.2575, 0.505, 0.7525, 0.1])


def test_average_loses_its_first_weights_and_covers_buffers():
    model = nn.BatchNorm1d(1)
    ema = build_ema(model, 0.5)
    expected = 8.0
    for updates, value in enumerate((8.0, 4.0, 2.0)):
        with torch.no_grad():
            model.weight.fill_(value)
            model.running_mean.fill_(-value)
        ema.update_parameters(model)
        decay = min(0.5, (1 + updates) / (10 + updates))
        if updates:  # the first one copies
            expected = decay * expected + (1 - decay) * value
    assert ema.module.weight.item() == pytest.approx(expected)
    assert ema.module.running_mean.item() == pytest.approx(-expected)
    assert build_ema(model, 0.0) is None
