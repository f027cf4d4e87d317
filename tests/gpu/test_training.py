"""Training on a GPU: precisions, resuming, compiling, ranks."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import train
from dbnet.checkpoint import load_checkpoint
from dbnet.errors import Stopped
from tests.faults.runs import assert_equal_runs, signal_after, small

ROOT = Path(__file__).parents[2]
ALL = {"accumulate": 2, "clip": 1.0, "ema": 0.9}


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["train/loss_total"] for line in lines]


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 5e-4), ("bf16", 1e-3), ("fp16", 1e-3)]
)
def test_losses_follow_those_of_the_cpu(pages, tmp_path, device, precision, tolerance):
    """The loss falls by 2e-3 from the first epoch to the second: a missing step would show."""
    if precision == "fp16" and device.type == "cpu":
        pytest.skip("needs CUDA itself")
    kept = replace(small(pages, tmp_path / "cpu", **ALL))
    expected = losses(train.main(kept))
    cfg = small(pages, tmp_path, device=str(device), precision=precision, **ALL)
    folder = train.main(cfg)
    assert losses(folder) == pytest.approx(expected, rel=tolerance)
    state = load_checkpoint(folder / "last.pt")
    assert state["ema_updates"] == state["step"] // 2
    assert bool(state["scaler"]) == (precision == "fp16")


def test_a_resumed_run_equals_the_whole_one(pages, tmp_path, device, monkeypatch):
    options = {"device": str(device), "deterministic": True, "ema": 0.9}
    whole = train.main(small(pages, tmp_path / "whole", **options))
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        signal_after(patch, 4, signal.SIGTERM)
        train.main(small(pages, tmp_path, **options))
    folder = tmp_path / "run"
    assert_equal_runs(whole, train.main(small(pages, tmp_path, resume=folder, **options)))


def test_deterministic_runs_are_equal(pages, tmp_path, device):
    options = {"device": str(device), "deterministic": True}
    runs = [train.main(small(pages, tmp_path / name, **options)) for name in ("one", "two")]
    assert_equal_runs(*runs)


@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_training_follows_the_eager_one(pages, tmp_path, cuda, recompute):
    """Seven pages in batches of two: the last batch of an epoch is a partial one."""
    options = {"device": "cuda", "recompute_encoder": recompute}
    eager = train.main(small(pages, tmp_path / "eager", device="cuda"))
    compiled = train.main(small(pages, tmp_path, compile=True, **options))
    assert losses(compiled) == pytest.approx(losses(eager), rel=1e-3)


@pytest.mark.parametrize("extra", [[], ["--train.sync-batchnorm"], ["--train.compile"]])
def test_ranks_on_all_devices_train_and_validate(pages, tmp_path, cuda, extra):
    words = (
        f"--data.root {pages} --data.image-size 96 --data.batch-size 2 --data.num-workers 1 "
        f"--data.cache-dir {tmp_path / 'cache'} --model.encoder mobilenetv3_small_050 "
        "--model.no-pretrained --model.fpn-channels 16 --train.epochs 1 --train.accumulate 1 "
        f"--train.out {tmp_path} --train.name run"
    ).split()
    ranks = str(torch.cuda.device_count())
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", ranks, "train.py"]
    done = subprocess.run(
        [sys.executable, *command, *words, *extra], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["val/images"] == 5
