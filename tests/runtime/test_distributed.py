"""Two ranks equal one process: engine and scripts, by gloo on the processor."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import profile_val
import train
from configs import Config, ProfileConfig, TrainConfig
from dbnet.checkpoint import load_checkpoint
from dbnet.data.sampler import EpochSampler
from dbnet.errors import InputError, NonFiniteError, OtherRankError
from dbnet.runtime import distributed
from dbnet.runtime.profiler import StageTimer
from dbnet.settings import AugmentConfig, DataConfig, ModelConfig, OptimConfig, PostprocessConfig
from dbnet.structures import Detections
from dbnet.training import signals as stopping
from dbnet.training.engine import evaluate, train_one_epoch
from dbnet.training.signals import StopSignals
from tests.drawing import write_dataset
from tests.programs import CONTEXT, LAUNCHER, run_program, torchrun
from tests.training.test_engine import CPU, Count, Dot, Square, batch_of, state_of

ROOT = Path(__file__).parents[2]
VALUES = [100, 200, 50, 250, 220, 30, 90]


def on_ranks(work, world: int, *args) -> list:
    """Results of `work` on each of several ranks."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    queue = CONTEXT.SimpleQueue()
    given = (world, store.port, queue, work, args)
    multiprocessing.start_processes(_rank, given, nprocs=world, start_method="forkserver")
    return [value for _, value in sorted(queue.get() for _ in range(world))]


def _rank(rank, world, port, queue, work, args) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    torch.set_num_threads(1)
    distributed._TIMEOUT = timedelta(minutes=5)  # for what must not happen: ranks that wait
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
    train_one_epoch(
        distributed.parallel(model, CPU), Square(), batches, state_of(model),
        batch_sizes=[min(size, left - first) for first in range(0, left, size)], device=CPU,
        dtype=None, accumulate=2, grad_clip=0.0, timer=StageTimer(synchronize=None),
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
    own = distributed.shard(VALUES[:count])
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


class MeetingNorm(nn.SyncBatchNorm):
    """The collective of a synchronised batch norm, which torch supports on GPUs only."""

    def forward(self, x):
        if self.training:
            distributed.all_gather(float(x.detach().mean()))
        return x


class DotWithNorm(Dot):
    def __init__(self) -> None:
        super().__init__()
        self.norm = MeetingNorm(3, affine=False)

    def forward(self, images):
        return super().forward(self.norm(images.float()))


ENDS = (NonFiniteError, OtherRankError)


class Poisoned(Square):
    def forward(self, outputs, batch):
        losses = super().forward(outputs, batch)
        return losses._replace(total=losses.total * (np.nan if "7.png" in batch.image_ids else 1))


def refused(values: list[int], network: type[Dot], accumulate: int) -> tuple[str, float]:
    """What ends a pass over batches of one image, and the weight it leaves; 7 is no number."""
    batches = [batch_of([value]) for value in distributed.shard(values)]
    model = network()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ENDS) as ended:
        patch.setattr(DistributedDataParallel, "_passing_sync_batchnorm_handle", lambda *_: None)
        train_one_epoch(
            distributed.parallel(model, CPU), Poisoned(), batches, state_of(model),
            batch_sizes=[2] * len(batches), device=CPU, dtype=None, accumulate=accumulate,
            grad_clip=0.0,
            timer=StageTimer(synchronize=None), on_step=lambda _: None,
        )  # fmt: skip
    return f"{ended.type.__name__}: {ended.value}", model.weight.item()


@pytest.mark.faults("NaN on one rank, at the end of a step or before", "all ranks end together")
@pytest.mark.parametrize("network", [Dot, DotWithNorm])
@pytest.mark.parametrize("place", [0, 1])
def test_a_loss_that_is_no_number_ends_all_ranks(network, place):
    own = [200, 90, 7, 60] if place == 0 else [200, 90, 60, 7]
    results = on_ranks(refused, 2, [100, 50, 30, 80, *own], network, 2)
    (here, weight), (there, other) = results
    assert here.startswith("OtherRankError") and there.startswith("NonFiniteError")
    assert "7.png" in there
    assert weight == other and np.isfinite(weight) and weight != Dot().weight.item()


def test_a_restart_finds_nothing_of_the_start_before():
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    found: dict[int, list[bytes]] = {}

    def start(rank: int, mark: str, delay: float) -> None:
        time.sleep(delay)
        store = dist.TCPStore("127.0.0.1", server.port, is_master=False)
        own = distributed.store_of_this_start(store, rank, 3)
        own.set(f"at {rank}", mark)
        found[rank] = [own.get(f"at {other}") for other in range(3)]

    for mark in ("first", "again", "last"):
        delays = [0.3 * (mark == "again"), 0.1, 0.3 * (mark == "last")]  # who comes first varies
        ranks = [
            threading.Thread(target=start, args=(n, mark, delays[n]), daemon=True) for n in range(3)
        ]
        for thread in ranks:
            thread.start()
        for thread in ranks:
            thread.join(60)
        assert list(found.values()) == [[mark.encode()] * 3] * 3
        found.clear()


def test_rank_0_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(distributed, "_TIMEOUT", timedelta(seconds=0.1))
    store = dist.HashStore()
    with pytest.raises(TimeoutError, match="not all of the 2 ranks have started within 0:00:00"):
        distributed.store_of_this_start(store, 0, 2)


def frozen(cfg: Config) -> Path:
    """A run with batch norms that keep their statistics: those in use are each rank's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.BatchNorm2d, "train", lambda norm, _=True: nn.Module.train(norm, False))
        return train.main(cfg)


def test_two_ranks_train_a_run_as_one_process_does(tmp_path):
    pages = write_dataset(tmp_path / "pages", train=7, val=5)
    one = Config(
        data=DataConfig(
            root=pages, image_size=96, batch_size=2, num_workers=0, cache_dir=tmp_path / "cache"
        ),
        augment=AugmentConfig(rotate=5.0, color=0.3),
        model=ModelConfig(
            encoder="efficientnet_lite0", fpn_channels=96,
            weights=ROOT / "weights" / "dbnet-efficientnet_lite0.pt",
        ),
        optim=OptimConfig(lr=3e-4, eps=1e-3),  # by 1e-8, noise is worth a full step
        train=TrainConfig(
            epochs=2, accumulate=2, ema=0.9, precision="fp32", device="cpu", out=tmp_path,
            name="one",
        ),
    )  # fmt: skip
    two = replace(one, data=replace(one.data, batch_size=1), train=replace(one.train, name="two"))
    whole, (shared, _) = frozen(one), on_ranks(frozen, 2, two)
    a, b = (load_checkpoint(folder / "last.pt") for folder in (whole, shared))
    start = load_checkpoint(one.model.weights)["model"]
    for part in ("model", "ema"):
        moved = sum((a[part][n].float() - start[n].float()).abs().sum() for n in start)
        apart = sum((a[part][n].float() - b[part][n].float()).abs().sum() for n in start)
        assert apart < 1e-3 * moved
    lines = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (whole, shared)]
    for one_line, other in zip(*lines, strict=True):
        one_line, other = json.loads(one_line), json.loads(other)
        kept = [n for n in one_line if n.startswith(("epoch", "step", "train/loss", "val/"))]
        kept.remove("val/seconds")
        # As near as the weights: k makes the binary map 50 times as steep.
        expected = {name: pytest.approx(one_line[name], rel=1e-3, abs=1e-6) for name in kept}
        assert {name: other[name] for name in kept} == expected
        assert one_line["val/cleval/hmean"] > 0.1, "there is something to count"


def launched(cfg: Config, restarts: list[int]) -> Path:
    """A run under torchrun, each rank with the count of restarts of a machine of its own."""
    os.environ["TORCHELASTIC_RUN_ID"] = "big"
    os.environ["TORCHELASTIC_RESTART_COUNT"] = str(restarts[distributed.rank()])
    return train.main(cfg)


def test_a_run_goes_on_when_another_machine_lost_a_rank(tmp_path):
    pages = write_dataset(tmp_path / "pages", train=4, val=2)
    cfg = Config(
        data=DataConfig(
            root=pages, image_size=96, batch_size=2, num_workers=0, cache_dir=tmp_path / "cache"
        ),
        model=ModelConfig(encoder="mobilenetv3_small_050", fpn_channels=16, pretrained=False),
        train=TrainConfig(
            epochs=1, accumulate=1, precision="fp32", device="cpu", out=tmp_path, name="run"
        ),
    )
    on_ranks(launched, 2, cfg, [0, 0])
    longer = replace(cfg, train=replace(cfg.train, epochs=2))
    on_ranks(launched, 2, longer, [0, 1])
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]


def _profile_in(folder: Path, cfg: ProfileConfig) -> dict:
    os.chdir(folder)
    return profile_val.main(cfg)


def test_profile_val_counts_every_image_once(tmp_path):
    one = ProfileConfig(
        checkpoint=ROOT / "weights" / "dbnet-efficientnet_lite0.pt",
        data=DataConfig(
            root=write_dataset(tmp_path / "pages", train=1, val=5), image_size=96, batch_size=2,
            num_workers=0, cache_dir=tmp_path / "cache",
        ),
        postprocess=PostprocessConfig(box_thresh=0.1),  # the pages are drawn very small
        device="cpu", precision="fp32", warmup=1, train_steps=1, trace=True,
        out=tmp_path / "one",
    )  # fmt: skip
    alone = profile_val.main(one)
    shared, other = on_ranks(_profile_in, 2, tmp_path, replace(one, out=None))
    [out] = (tmp_path / "runs").iterdir()
    assert other == {}, "rank 0 tells and writes"
    assert shared["metrics"] == pytest.approx(alone["metrics"], rel=1e-5)
    assert shared["metrics"]["cleval/hmean"] > 0.1, "there is something to count"
    assert (shared["images"], shared["ranks"]) == (5, 2)
    assert shared["cache"] == alone["cache"]
    assert shared["performance/val_num_batches"] == 2, "rank 0 has three images, in twos"
    rate = 5 / shared["performance/val_epoch_time"]
    assert shared["performance/images_per_second"] == pytest.approx(rate)
    assert "Validation of 5 images on 2 ranks" in (out / "report.md").read_text()
    assert (out / "trace.json").is_file()


SIZES = "--data.image-size 96 --data.batch-size 2 --data.num-workers 0 --model.fpn-channels 16"
NETWORK = "--model.no-pretrained --model.encoder mobilenetv3_small_050 --train.precision fp32"
RUN = "--train.epochs 1 --train.accumulate 1 --train.device cpu --train.name run"
FLAGS = f"{SIZES} {NETWORK} {RUN}".split()


def torchrun_anew(script: str, *words: str) -> subprocess.CompletedProcess:
    """Run torchrun with two ranks as a new process, as a user does."""
    return subprocess.run(
        [sys.executable, *LAUNCHER, str(ROOT / script), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip


def test_the_scripts_run_and_evaluate_the_same_on_two_ranks(tmp_path):
    pages = write_dataset(tmp_path / "pages", train=7, val=5)
    data = ["--data.root", str(pages), "--data.cache-dir", str(tmp_path / "cache")]
    words = [*data, *FLAGS, "--train.out", str(tmp_path)]
    ended = torchrun_anew("train.py", *words)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("    1/1 ") == 1, "one rank prints"
    best = ["--checkpoint", str(tmp_path / "run" / "best.pt"), "--device", "cpu"]
    ended = torchrun("evaluate.py", *best, "--out", str(tmp_path / "two"))
    assert ended.returncode == 0, ended.stderr
    alone = run_program("evaluate.py", *best, "--out", tmp_path / "one")
    assert alone.returncode == 0, alone.stderr
    one, two = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("one", "two"))
    kept = [name for name in one if not name.startswith("time/")]
    assert {n: two[n] for n in kept} == pytest.approx({n: one[n] for n in kept}, rel=1e-5)
    one, two = ((tmp_path / n / "predictions.json").read_text() for n in ("one", "two"))
    assert list(json.loads(one)["images"]) == list(json.loads(two)["images"])

    refused = torchrun("train.py", *data, *FLAGS, "--train.out", str(tmp_path))
    assert refused.returncode != 0
    assert refused.stderr.count("exists; choose another --train.name") == 1


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_rank_that_fails_says_why_before_torchrun_ends_it(monkeypatch, ranks):
    monkeypatch.setattr(stopping, "world", lambda: ranks)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with StopSignals():
            pass
        assert signal.getsignal(signal.SIGTERM) == before
        with pytest.raises(InputError), StopSignals():
            raise InputError
        deaf = signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        assert deaf == (ranks == 2)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_killed_rank_ends_the_run_or_is_started_again(tmp_path):
    pages = write_dataset(tmp_path / "pages", train=7, val=2)
    words = ["--data.root", str(pages), "--data.cache-dir", str(tmp_path / "cache"), *FLAGS]
    words += ["--train.epochs", "2", "--train.save-minutes", "0", "--train.out"]

    ended = torchrun_anew("tests/train_rank_killed.py", *words, str(tmp_path / "dead"))
    assert ended.returncode != 0
    assert "Signal 9 (SIGKILL)" in ended.stderr, "torchrun names the cause"
    assert ended.stderr.count("another rank has ended") == 1, "rank 0 ends too, and says so"
    left = load_checkpoint(tmp_path / "dead" / "run" / "last.pt")
    assert (left["step"], left["epoch"]) == (2, 1)

    ended = torchrun("tests/train_rank_killed.py", *words, str(tmp_path / "risen"), restarts=1)
    assert ended.returncode == 0, ended.stderr
    ended = torchrun("train.py", *words, str(tmp_path / "whole"))
    assert ended.returncode == 0, ended.stderr
    whole, risen = (load_checkpoint(tmp_path / n / "run" / "last.pt") for n in ("whole", "risen"))
    assert (risen["step"], risen["epoch"]) == (whole["step"], whole["epoch"]) == (4, 2)
    trained = {n for n, t in whole["model"].items() if t.is_floating_point() and "running" not in n}
    assert {n for n in trained if torch.equal(whole["model"][n], left["model"][n])} == set()
    for name in trained:
        torch.testing.assert_close(risen["model"][name], whole["model"][name])

    ranks = ["--train.resume", str(tmp_path / "dead" / "run"), "--train.name", "run"]
    refused = run_program("train.py", *ranks)
    assert "an optimizer step was over 4 images, now it is 1 ranks x 2 x 1 = 2" in refused.stderr
    resumed = run_program("train.py", *ranks, "--train.accumulate", "2")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed with ranks: 2 -> 1" in resumed.stdout
    alone = load_checkpoint(tmp_path / "dead" / "run" / "last.pt")
    assert (alone["step"], alone["epoch"]) == (6, 2), "4 batches of an epoch, two of them a step"
