"""A run that is stopped at any step and resumed equals an uninterrupted one."""

import os
import shutil
import signal
import time
from dataclasses import replace

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

import train
from dbnet.checkpoint import load_checkpoint, save_checkpoint
from dbnet.errors import InputError, Stopped
from dbnet.training import validation
from dbnet.training.board import tag
from dbnet.training.logger import RunLogger
from dbnet.training.resume import refuse_finished
from tests.faults.runs import PAGES, assert_equal_runs, scalars_of, signal_after, small

VARIANTS = {
    "accumulating": (0, (1, 4), {}),
    "workers, bf16, averaged": (2, (7,), {"precision": "bf16", "ema": 0.9}),
    "one batch a step, clipped": (0, (3,), {"accumulate": 1, "clip": 0.5}),
}


@pytest.mark.faults("SIGTERM at any step", "resumed, the run equals one that was not stopped")
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_run_stopped_at_any_step_resumes_equal(pages, tmp_path, monkeypatch, variant):
    workers, stops, changes = variant
    whole = train.main(small(pages, tmp_path / "whole", workers, **changes))
    group = changes.get("accumulate", 2)
    for batch in stops:
        out = tmp_path / str(batch)
        with monkeypatch.context() as patch, pytest.raises(Stopped) as caught:
            signal_after(patch, batch, signal.SIGTERM)
            train.main(small(pages, out, workers, **changes))
        batches = -(-batch // group) * group  # the step in hand was finished
        seen = min(2 * (batches % 4 or 4), PAGES)
        state = load_checkpoint(out / "run" / "last.pt")
        assert (state["step"], state["running"]["images"]) == (batches, seen)
        assert caught.value.number == signal.SIGTERM
        assert str(caught.value).endswith(f"python train.py --train.resume {out / 'run'}")
        resumed = small(pages, out, workers, **changes, resume=out / "run")
        assert_equal_runs(whole, train.main(resumed))


@pytest.mark.faults("Ctrl-C again and again, other workers", "resumed, all equal")
def test_a_run_stopped_again_and_again_resumes_equal(pages, whole, tmp_path, monkeypatch):
    cfg = small(pages, tmp_path / "part")
    for batch, workers in ((1, 2), (5, 0)):
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            signal_after(patch, batch, signal.SIGINT)
            train.main(cfg)
        cfg = small(pages, tmp_path / "part", workers, resume=tmp_path / "part" / "run")
    assert_equal_runs(whole, train.main(cfg))


@pytest.mark.faults("last.pt of an earlier version, with `seen` alone", "resumed, all equal")
def test_a_run_of_an_earlier_version_resumes_equal(pages, whole, tmp_path):
    folder = train.main(small(pages, tmp_path, epochs=1))
    last = load_checkpoint(folder / "last.pt")
    seen = last.pop("running")["images"]
    save_checkpoint(folder / "last.pt", last | {"seen": seen})
    assert_equal_runs(whole, train.main(small(pages, tmp_path, resume=folder)))


@pytest.mark.parametrize(
    "images", [{"seen": 4}, {"running": {"images": 4}}], ids=["seen", "running"]
)
def test_a_run_stopped_before_its_last_figures_is_not_over(tmp_path, images):
    cfg = small(tmp_path, tmp_path, max_steps=3, resume=tmp_path)
    last = {"epoch": 0, "scheduler": {"last_epoch": 3}}
    refuse_finished(cfg, last | images)
    with pytest.raises(InputError, match="has 3 optimizer steps already"):
        refuse_finished(cfg, last)


@pytest.mark.faults("killed between an epoch's figures and its checkpoint", "logged once")
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_kill_between_figures_and_checkpoint_logs_once(
    pages, whole, tmp_path, monkeypatch, epoch
):
    end_epoch, folder = RunLogger.end_epoch, tmp_path / "run"

    def killed(log, record):
        end_epoch(log, record)
        if log.epoch == epoch:
            raise SystemError

    with monkeypatch.context() as patch, pytest.raises(SystemError):
        patch.setattr(RunLogger, "end_epoch", killed)
        train.main(small(pages, tmp_path, save_minutes=0))
    state = load_checkpoint(folder / "last.pt")
    assert (state["epoch"], state["running"]["images"]) == (epoch, PAGES)
    assert len(scalars_of(folder)[tag("val/cleval/hmean")]) == epoch + 1
    assert_equal_runs(whole, train.main(small(pages, tmp_path, resume=folder)))


def test_what_a_checkpoint_covers_is_logged_on_disk_before(pages, tmp_path, monkeypatch):
    write, fsync = RecordWriter.write, os.fsync
    snapshot = tmp_path / "snapshot"

    def slowly(writer, data):
        time.sleep(0.03)
        write(writer, data)

    def looking(descriptor):
        if not snapshot.exists():
            shutil.copytree(tmp_path / "run", snapshot)
        fsync(descriptor)

    monkeypatch.setattr(RecordWriter, "write", slowly)
    monkeypatch.setattr(os, "fsync", looking)
    train.main(small(pages, tmp_path, epochs=1, save_minutes=0))
    assert [step for step, _ in scalars_of(snapshot)[tag("train/loss_total")]] == [1, 2]
    assert [step for step, _ in scalars_of(snapshot)[tag("train/grad_norm")]] == [2]


@pytest.mark.faults("Ctrl-C during validation", "the trained epoch is kept, resuming validates")
def test_a_stop_during_validation_keeps_the_trained_epoch(pages, tmp_path, monkeypatch):
    whole = train.main(small(pages, tmp_path / "whole", epochs=1))
    evaluate, on_step = validation.evaluate, RunLogger.on_step
    validated, trained = [], []

    def stopped(*args, is_stopped=None, **kwargs):
        if is_stopped is None:  # the check before the first epoch
            return evaluate(*args, **kwargs)

        def first(result):
            if not validated:
                signal.raise_signal(signal.SIGINT)
            validated.append(result)

        return evaluate(*args, **kwargs | {"on_image": first}, is_stopped=is_stopped)

    part = tmp_path / "part" / "run"
    with monkeypatch.context() as patch:
        patch.setattr(validation, "evaluate", stopped)
        with pytest.raises(Stopped, match=f"after {PAGES} of {PAGES} images of epoch 1"):
            train.main(small(pages, tmp_path / "part", epochs=1))
    assert validated and (part / "metrics.jsonl").read_text() == ""
    monkeypatch.setattr(RunLogger, "on_step", lambda log, r: (trained.append(r), on_step(log, r)))
    train.main(small(pages, tmp_path / "part", epochs=1, resume=part))
    assert not trained
    assert_equal_runs(whole, part)


@pytest.mark.faults("too little memory: half the batch, twice the accumulation", "resumed")
def test_a_smaller_batch_with_more_accumulation_resumes(pages, tmp_path, capsys):
    folder = train.main(small(pages, tmp_path, epochs=1))
    cfg = small(pages, tmp_path, epochs=2, resume=folder, accumulate=4)
    with pytest.raises(InputError, match=r"train\.accumulate: 2 -> 4"):
        train.main(cfg)
    train.main(replace(cfg, data=replace(cfg.data, batch_size=1)))
    assert "resumed with data.batch_size: 2 -> 1" in capsys.readouterr().out
    state = load_checkpoint(folder / "last.pt")
    assert (state["epoch"], state["step"]) == (2, 4 + PAGES)
