"""Runs that end early, by steps or patience; the validation check before the first epoch."""

import math
from dataclasses import replace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import train
from dbnet.checkpoint import load_checkpoint
from dbnet.errors import InputError, Stopped
from dbnet.metrics.cleval import CLEval
from dbnet.settings import OptimConfig
from dbnet.training import validation
from dbnet.training.board import tag
from dbnet.training.logger import RunLogger
from dbnet.training.run import Run
from dbnet.training.validation import Validation
from tests.faults.runs import (
    STATE,
    assert_equal_runs,
    lines_of,
    same,
    scalars_of,
    signal_after,
    small,
)


def position(folder) -> tuple[int, int, int]:
    state = load_checkpoint(folder / "last.pt")
    return state["epoch"], state["running"]["images"], state["step"]


def hparams_of(folder) -> dict:
    """The settings in the row of TensorBoard's HParams page."""
    content = EventAccumulator(str(folder)).Reload().PluginTagToContent("hparams")
    start = HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    return dict(start.session_start_info.hparams)


@pytest.mark.faults("--train.max-steps within an epoch", "validated, saved; resumed bit by bit")
def test_steps_end_a_run_within_an_epoch(pages, tmp_path, capsys):
    whole = train.main(small(pages, tmp_path / "whole", epochs=3))
    folder = train.main(small(pages, tmp_path, epochs=3, max_steps=3))
    assert position(folder) == (1, 4, 6), "2 steps are an epoch, of 4 batches"
    lines = lines_of(folder)
    assert [(line["epoch"], line["step"]) for line in lines] == [(0, 4), (1, 6)]
    assert all("val/cleval/hmean" in line for line in lines)
    told = capsys.readouterr().out
    assert "ends after 3 optimizer steps" in told and "\n    2/2 " in told

    with pytest.raises(InputError, match="has 3 optimizer steps already; give a larger"):
        train.main(small(pages, tmp_path, epochs=3, max_steps=3, resume=folder))
    train.main(small(pages, tmp_path, epochs=3, resume=folder))
    a, b = (load_checkpoint(path / "last.pt") for path in (whole, folder))
    assert all(same(a[name], b[name]) for name in (*STATE, "epoch", "step"))
    assert position(whole) == position(folder)
    assert lines_of(whole) == lines_of(folder)
    assert scalars_of(whole) == scalars_of(folder)
    assert hparams_of(folder)["train.max_steps"].string_value == "None", "as it was resumed"


@pytest.mark.faults("--train.max-steps at the end of an epoch", "as if its epochs ended there")
def test_steps_end_a_run_at_the_end_of_an_epoch(pages, whole, tmp_path):
    folder = train.main(small(pages, tmp_path, epochs=9, max_steps=4))
    assert_equal_runs(whole, folder)
    with pytest.raises(InputError, match="has 4 optimizer steps already"):
        train.main(small(pages, tmp_path, epochs=9, max_steps=4, resume=folder))


@pytest.mark.faults("a signal in the last of --train.max-steps", "resumed, it makes the figures")
def test_a_run_stopped_in_its_last_step_resumes_equal(pages, tmp_path, monkeypatch):
    whole = train.main(small(pages, tmp_path / "whole", max_steps=3))
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        signal_after(patch, 6, 15)
        train.main(small(pages, tmp_path, max_steps=3))
    assert len(lines_of(tmp_path / "run")) == 1
    folder = train.main(small(pages, tmp_path, max_steps=3, resume=tmp_path / "run"))
    assert_equal_runs(whole, folder)


def test_the_cosine_schedule_ends_with_the_steps(pages, tmp_path):
    cfg = replace(small(pages, tmp_path, epochs=9, max_steps=3), optim=OptimConfig())
    cfg = replace(cfg, optim=replace(cfg.optim, schedule="cosine", lr=1.0, eps=1.0))
    folder = train.main(cfg)
    rates = [value for _, value in scalars_of(folder)[tag("train/lr")]]
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates[0] == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))
    longer = replace(cfg, train=replace(cfg.train, max_steps=4, resume=folder))
    with pytest.raises(InputError, match=r"train\.max_steps: 3 -> 4 \(the cosine"):
        train.main(longer)


HMEANS = (0.5, 0.4, 0.6, 0.5, 0.5, 0.9)  # two without a better one follow the third


@pytest.fixture
def by_epoch(monkeypatch):
    """Replace the CLEval hmeans of the validations by these, by epoch."""
    evaluate, start_epoch = validation.evaluate, Run.start_epoch
    here = {}

    def scripted(*args, **options):
        figures = evaluate(*args, **options)
        return figures | {"cleval/hmean": HMEANS[here.get("epoch", 0)]}

    def started(run, loader):
        here["epoch"] = run.state.epoch
        return start_epoch(run, loader)

    monkeypatch.setattr(validation, "evaluate", scripted)
    monkeypatch.setattr(Run, "start_epoch", started)


@pytest.mark.faults("no better figures for --train.patience validations", "ends, and says so")
def test_patience_ends_a_run(pages, tmp_path, by_epoch, capsys):
    folder = train.main(small(pages, tmp_path, epochs=6, patience=2))
    assert position(folder)[0] == 5
    told = capsys.readouterr().out
    assert "ends early: 2 validations without a better CLEval hmean" in told
    assert "augment.flip 0.5 mirrors text; the recipes set it to 0" in told
    best = load_checkpoint(folder / "best.pt")
    assert (best["best"], best["epoch"]) == (0.6, 3)
    assert [value for _, value in best_curve(folder)] == pytest.approx([0.5, 0.5, 0.6, 0.6, 0.6])
    with pytest.raises(InputError, match="ended after 2 validations without a better"):
        train.main(small(pages, tmp_path, epochs=6, patience=2, resume=folder))
    train.main(small(pages, tmp_path, epochs=6, resume=folder))
    assert load_checkpoint(folder / "best.pt")["best"] == 0.9


def test_the_best_curve_begins_at_the_first_validation(pages, tmp_path, by_epoch):
    folder = train.main(small(pages, tmp_path, epochs=3, val_every=2))
    assert [step for step, _ in best_curve(folder)] == [8, 12], "4 batches are an epoch"


def best_curve(folder) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag("best/cleval_hmean"))]


@pytest.mark.faults("stopped or killed while patience runs", "resumed, it ends where it would have")
def test_patience_is_counted_over_a_resume(pages, tmp_path, by_epoch, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        signal_after(patch, 14, 15)  # in the fourth epoch
        train.main(small(pages, tmp_path, epochs=6, patience=2))
    train.main(small(pages, tmp_path, epochs=6, patience=2, resume=folder))
    assert position(folder)[0] == 5

    killed, log_end = tmp_path / "killed", RunLogger.end_epoch

    def kill(log, record):  # best.pt of the third epoch is written, last.pt is not
        if log.epoch == 2:
            raise SystemError
        log_end(log, record)

    with monkeypatch.context() as patch, pytest.raises(SystemError):
        patch.setattr(RunLogger, "end_epoch", kill)
        train.main(small(pages, killed, epochs=6, patience=2))
    train.main(small(pages, killed, epochs=6, patience=2, resume=killed / "run"))
    assert position(killed / "run")[0] == 5


@pytest.mark.faults("a metric that is broken", "fails before the first step")
def test_a_broken_metric_fails_before_the_first_step(pages, tmp_path, monkeypatch):
    stepped = []

    def broken(self, *_, **__):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(CLEval, "update_batch", broken)
    monkeypatch.setattr(RunLogger, "on_step", lambda _, report: stepped.append(report))
    with pytest.raises(RuntimeError, match=r"page_0\.png: ZeroDivisionError: on purpose"):
        train.main(small(pages, tmp_path))
    assert not stepped and not (tmp_path / "run" / "last.pt").exists()


def test_the_first_check_changes_nothing(pages, tmp_path, monkeypatch):
    checked = train.main(small(pages, tmp_path / "checked", ema=0.9, epochs=1))
    monkeypatch.setattr(Validation, "check", lambda _: None)
    assert_equal_runs(checked, train.main(small(pages, tmp_path, ema=0.9, epochs=1)))


def test_a_resumed_run_is_not_checked_again(pages, tmp_path, monkeypatch):
    folder = train.main(small(pages, tmp_path, epochs=1))
    monkeypatch.setattr(Validation, "check", None)
    train.main(small(pages, tmp_path, epochs=2, resume=folder))


def test_the_bar_counts_to_where_the_steps_end(pages, tmp_path, monkeypatch):
    totals = []
    start = RunLogger.start_epoch
    monkeypatch.setattr(
        RunLogger,
        "start_epoch",
        lambda log, epoch, batches: (totals.append(batches), start(log, epoch, batches)),
    )
    train.main(small(pages, tmp_path, epochs=3, max_steps=3))
    assert totals == [4, 2], "4 batches are an epoch, 2 a step"
