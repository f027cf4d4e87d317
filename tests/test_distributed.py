"""Two ranks equal one process: engine and scripts, by gloo on the processor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from dbnet import distributed
from dbnet.data.dataset import EpochSampler
from dbnet.engine import evaluate, train_one_epoch
from dbnet.profiler import StageTimer
from dbnet.structures import Detections
from tests.drawing import write_dataset
from tests.test_engine import CPU, Count, Dot, Square, batch_of

ROOT = Path(__file__).parents[1]
VALUES = [100, 200, 50, 250, 220, 30, 90]


def on_ranks(work, world: int, *args) -> list:
    """What `work` returns on each of so many ranks."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    multiprocessing.spawn(_rank, (world, store.port, queue, work, args), nprocs=world)
    return [value for _, value in sorted(queue.get() for _ in range(world))]


def _rank(rank, world, port, queue, work, args) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    torch.set_num_threads(1)
    with distributed.process_group():
        queue.put((rank, work(*args)))


def trained(batch: int, start: int) -> tuple[float, list]:
    """The weight and the reports after one pass in steps of two batches."""
    sampler = EpochSampler(length=len(VALUES), shuffle=True, seed=0)
    sampler.split, sampler.start = batch, start
    own = [VALUES[index] for _, index in sampler]
    batches = [batch_of(own[first : first + batch]) for first in range(0, len(own), batch)]
    size = batch * distributed.world()
    left = len(VALUES) - start
    model, reports = Dot(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train_one_epoch(
        distributed.parallel(model, CPU), Square(), batches, optimizer,
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0),
        torch.amp.GradScaler("cpu", enabled=False),
        batch_sizes=[min(size, left - first) for first in range(0, left, size)], device=CPU,
        dtype=None, accumulate=2, clip=0.0, ema=None, timer=StageTimer(synchronize=None),
        on_step=reports.append,
    )  # fmt: skip
    assert len(sampler) == len(own)
    return model.weight.item(), [(r.losses, r.images, r.grad_norm) for r in reports]


@pytest.mark.parametrize("start", [0, 4, 6])
def test_two_ranks_train_as_one_process_does(start):
    weight, reports = trained(2, start)
    for other, told in on_ranks(trained, 2, 1, start):
        assert other == pytest.approx(weight, rel=1e-6)
        assert [images for _, images, _ in told] == [images for _, images, _ in reports]
        for (losses, _, norm), (expected, _, expected_norm) in zip(told, reports, strict=True):
            assert losses == pytest.approx(expected, rel=1e-6)
            assert norm == (expected_norm and pytest.approx(expected_norm, rel=1e-5))


def validated(count: int) -> dict[str, float]:
    own = distributed.share(VALUES[:count])
    return evaluate(
        Dot(), Square(), [batch_of([value]) for value in own],
        lambda _: Detections([], np.zeros(0, np.float32), 2),
        {"count": Count()}, device=CPU, dtype=None, timer=StageTimer(synchronize=None),
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 7])
def test_every_image_is_validated_once(count):
    expected = validated(count)
    for figures in on_ranks(validated, 2, count):
        assert figures == pytest.approx(expected, rel=1e-6)
        assert (figures["images"], figures["count/hmean"]) == (count, count)


SIZES = "--data.image-size 96 --data.batch-size 2 --data.num-workers 0 --model.fpn-channels 16"
NETWORK = "--model.no-pretrained --model.encoder mobilenetv3_small_050 --train.precision fp32"
RUN = "--train.epochs 1 --train.accumulate 1 --train.device cpu --train.name run"
FLAGS = f"{SIZES} {NETWORK} {RUN}".split()


def torchrun(script: str, *words: str) -> subprocess.CompletedProcess:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*launcher, "--nproc-per-node", "2", str(ROOT / script), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def test_the_scripts_run_and_evaluate_the_same_on_two_ranks(tmp_path):
    pages = write_dataset(tmp_path / "pages", train=7, val=5)
    data = ["--data.root", str(pages), "--data.cache-dir", str(tmp_path / "cache")]
    words = [*data, *FLAGS, "--train.out", str(tmp_path)]
    ended = torchrun("train.py", *words)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("epoch 1/1 |") == 1, "one rank prints"
    best = ["--checkpoint", str(tmp_path / "run" / "best.pt"), "--device", "cpu"]
    ended = torchrun("evaluate.py", *best, "--out", str(tmp_path / "two"))
    assert ended.returncode == 0, ended.stderr
    words = [sys.executable, str(ROOT / "evaluate.py"), *best, "--out", str(tmp_path / "one")]
    subprocess.run(words, check=True, capture_output=True)
    one, two = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("one", "two"))
    kept = [name for name in one if not name.startswith("time/")]
    assert {n: two[n] for n in kept} == pytest.approx({n: one[n] for n in kept}, rel=1e-5)
    one, two = ((tmp_path / n / "predictions.json").read_text() for n in ("one", "two"))
    assert list(json.loads(one)["images"]) == list(json.loads(two)["images"])

    refused = torchrun("train.py", *data, *FLAGS, "--train.out", str(tmp_path))
    assert refused.returncode != 0
    assert refused.stderr.count("exists; choose another --train.name") == 1
