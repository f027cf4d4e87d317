"""Scoring processes within a training: killed, signalled, and without effect on the run."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

import train
from dbnet.errors import InputError
from dbnet.training.scoring_pool import ScoringPool
from tests.faults.runs import assert_equal_runs, small
from tests.faults.scripts import Script, flags


def with_scorers(cfg, workers: int = 2):
    return replace(cfg, data=replace(cfg.data, scoring_workers=workers))


def test_a_run_with_scoring_workers_equals_one_without(pages, whole, tmp_path):
    assert_equal_runs(whole, train.main(with_scorers(small(pages, tmp_path, workers=2))))


@pytest.mark.faults("a scoring worker killed", "one line with its images and the command")
def test_a_killed_scoring_worker_is_one_line(pages, tmp_path, monkeypatch):
    submit, folder = ScoringPool._submit, tmp_path / "run"

    def kill_first(pool, truth, maps):
        if (folder / "last.pt").exists():  # not in the check before the first epoch
            os.kill(pool._workers[0].process.pid, signal.SIGKILL)
        submit(pool, truth, maps)

    monkeypatch.setattr(ScoringPool, "_submit", kill_first)
    with pytest.raises(InputError) as caught:
        train.main(with_scorers(small(pages, tmp_path, save_minutes=0)))
    told = str(caught.value)
    assert told.startswith("scoring worker (pid ") and "\n" not in told
    assert "page_0.png" in told and "--data.scoring-workers" in told
    assert told.endswith(f"resume with: python train.py --train.resume {folder}")


@pytest.mark.faults("SIGTERM to all, scoring processes too", "stops in order, none is left")
def test_a_signal_to_all_stops_scoring_workers_in_order(pages, tmp_path):
    cfg = small(pages, tmp_path, workers=1, epochs=500, save_minutes=0)
    script = Script(*flags(cfg), "--data.scoring-workers", "2", output=Path(tmp_path / "told"))
    log = tmp_path / "run" / "metrics.jsonl"
    script.wait_for(lambda: log.exists() and log.read_text().count("\n") >= 1)
    os.killpg(script.pid, signal.SIGTERM)
    status, told = script.end()
    assert status == 143, told
    assert "Traceback" not in told
    assert told.strip().splitlines()[-1].startswith("train.py: stopped by SIGTERM after ")
