"""Losses and gradients that are not finite; figures that count every image."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import train
from dbnet.checkpoint import load_checkpoint
from dbnet.errors import NonFiniteError
from dbnet.metrics.cleval import CLEval
from dbnet.runtime.profiler import StageTimer
from dbnet.structures import Detections
from dbnet.training.engine import evaluate, train_one_epoch
from dbnet.training.losses import DBLoss, DBLosses
from tests.faults.runs import small
from tests.training.test_engine import CPU, Count, Dot, Square, batch_of, state_of


@pytest.mark.faults("a loss that is no number", "stops, files named, the last good state kept")
def test_a_poisoned_batch_stops_the_run_and_is_named(pages, tmp_path, monkeypatch):
    forward, calls = DBLoss.forward, []

    def poisoned(self, outputs, batch):
        losses = forward(self, outputs, batch)
        if torch.is_inference_mode_enabled():  # the check before the first epoch
            return losses
        calls.append(batch.image_ids)
        return DBLosses(*(loss * math.nan for loss in losses)) if len(calls) == 3 else losses

    monkeypatch.setattr(DBLoss, "forward", poisoned)
    with pytest.raises(NonFiniteError) as caught:
        train.main(small(pages, tmp_path, save_minutes=0))
    told = str(caught.value)
    assert f"files: {calls[2]}" in told and "'total': nan" in told and "\n" not in told
    assert f"--model.weights {tmp_path / 'run' / 'last.pt'}" in told
    state = load_checkpoint(tmp_path / "run" / "last.pt")
    assert state["step"] == 2
    assert all(t.isfinite().all() for t in state["model"].values() if t.is_floating_point())


class Overflow(torch.nn.Module):
    """A finite loss whose gradient is finite only where it is scaled by less than `limit`."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, outputs, batch):
        value = outputs.prob_logits.mean()
        value.register_hook(lambda g: g * math.inf if g.abs().max() >= self.limit else g)
        return DBLosses(value, value.detach(), value.detach() * 0, value.detach() * 0)


def train_scaled(limit: float, batches: int):
    model, reports = Dot(), []
    state = state_of(model, scales=True)
    train_one_epoch(
        model, Overflow(limit), [batch_of([100])] * batches, state,
        batch_sizes=[1] * batches, device=CPU, dtype=None, accumulate=1, grad_clip=0.0,
        timer=StageTimer(synchronize=None), on_step=reports.append,
    )  # fmt: skip
    return model.weight.item(), state.scaler.get_scale(), reports


@pytest.mark.faults(
    "half precision overflows now and then", "the step is skipped, the scale halved"
)
def test_an_overflow_is_survived():
    weight, scale, reports = train_scaled(limit=2.0**14, batches=6)
    assert scale == 2.0**13
    finite = [math.isfinite(report.grad_norm) for report in reports]
    assert finite == [False, False, False, True, True, True]
    assert weight == pytest.approx(2.0 - 3 * 0.1 * 100 / 255, rel=1e-5)


@pytest.mark.faults("half precision overflows again and again", "stops, files named")
def test_overflow_after_overflow_stops():
    with pytest.raises(NonFiniteError, match=r"gradient is not finite.*100\.png"):
        train_scaled(limit=0.0, batches=40)


@pytest.mark.faults("images without a detection", "counted, and they count")
def test_coverage_is_stated():
    batches = [batch_of([100, 200]), batch_of([50])]
    one = Detections([np.float32([[0, 0], [3, 0], [3, 3]])], np.float32([0.9]), 0)
    answers = iter([one, Detections([], np.zeros(0, np.float32), 0), one])
    figures = evaluate(
        Dot(), Square(), batches, lambda _: next(answers), {"count": Count()},
        device=CPU, dtype=None, timer=StageTimer(synchronize=None),
    )  # fmt: skip
    assert (figures["images"], figures["empty"], figures["count/hmean"]) == (3, 1, 3)


@pytest.mark.faults("a validation that breaks off", "no figure is logged, no best.pt written")
def test_a_partial_validation_gives_no_figures(pages, tmp_path, monkeypatch):
    calls = []

    def breaks(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == 3:  # the first one is the check before the first epoch
            raise RuntimeError("on purpose")
        return update(self, *args, **kwargs)

    update = CLEval.update_batch
    monkeypatch.setattr(CLEval, "update_batch", breaks)
    cfg = small(pages, tmp_path)
    cfg = replace(cfg, data=replace(cfg.data, batch_size=1))
    with pytest.raises(RuntimeError, match="on purpose"):
        train.main(cfg)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == ""
    assert not (tmp_path / "run" / "best.pt").exists()
