"""Killed loader workers, damaged images, deleted caches, constant memory."""

import multiprocessing
import os
import shutil
import signal
import sys
from dataclasses import replace

import pytest

import train
from dbnet.checkpoint import load_checkpoint
from dbnet.data.transforms import TrainTransform
from dbnet.errors import InputError
from dbnet.training.logger import RunLogger
from tests.drawing import write_dataset
from tests.faults.runs import PAGES, assert_equal_runs, small
from tests.runtime.test_memory import resident


def after_batch(monkeypatch, number: int, act) -> None:
    """Call `act()` after a batch of the run, counted from 1, is logged."""
    on_step = RunLogger.on_step

    def acting(log, report):
        on_step(log, report)
        if log.step == number:
            act()

    monkeypatch.setattr(RunLogger, "on_step", acting)


@pytest.mark.faults("a loader worker killed", "one line within seconds, resumed bit by bit")
def test_a_killed_worker_is_one_line(pages, whole, tmp_path, monkeypatch):
    def kill():
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(InputError) as caught:
        after_batch(patch, 3, kill)
        train.main(small(pages, tmp_path, workers=2, save_minutes=0))
    told = str(caught.value)
    assert "DataLoader worker (pid" in told and "\n" not in told
    assert told.endswith(f"resume with: python train.py --train.resume {folder}")
    assert_equal_runs(whole, train.main(small(pages, tmp_path, resume=folder)))


@pytest.mark.faults("any error in a worker", "names the image")
@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_names_the_image(pages, tmp_path, monkeypatch, workers):
    def fail(self, sample, geometry, rng):
        if sample.image_id == "page_4.png":
            raise ZeroDivisionError("on purpose")
        return transform(self, sample, geometry, rng)

    transform = TrainTransform.__call__
    monkeypatch.setattr(TrainTransform, "__call__", fail)
    with pytest.raises(RuntimeError, match=r"page_4\.png: ZeroDivisionError: on purpose"):
        train.main(small(pages, tmp_path, workers))


@pytest.mark.faults("an image truncated in mid-epoch", "one line with its name; mended, resumed")
@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_goes_bad_is_told_and_resumed(whole, tmp_path, monkeypatch, workers):
    pages = write_dataset(tmp_path / "pages", train=PAGES, val=2)
    image = pages / "images" / "train" / "page_2.png"
    good = image.read_bytes()
    folder = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(InputError) as caught:
        after_batch(patch, 4, lambda: image.write_bytes(good[:-100]))
        train.main(small(pages, tmp_path, workers))
    told = str(caught.value)
    assert told.startswith(f"{image}: ") and "\n" not in told
    assert told.endswith(f"resume with: python train.py --train.resume {folder}")
    assert load_checkpoint(folder / "last.pt")["epoch"] == 1
    image.write_bytes(good)
    assert_equal_runs(whole, train.main(small(pages, tmp_path, workers, resume=folder)))


@pytest.mark.faults("the cache deleted while running", "results are unchanged")
def test_a_cache_that_vanishes_changes_no_result(pages, whole, tmp_path, monkeypatch):
    after_batch(monkeypatch, 6, lambda: shutil.rmtree(tmp_path / "cache"))
    assert_equal_runs(whole, train.main(small(pages, tmp_path)))
    assert list((tmp_path / "cache").rglob("*")), "it is filled anew"


@pytest.mark.faults("six epochs with workers", "no file, no shared memory, no MiB more")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("persistent", [True, False])
def test_epochs_leave_nothing_behind(pages, tmp_path, monkeypatch, persistent):
    files, memory, shared = [], [], []
    end_epoch = RunLogger.end_epoch

    def counted(log, record):
        end_epoch(log, record)
        files.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - counts, not paths
        memory.append(resident())
        mine = f"_{os.getpid()}_"
        shared.append([name for name in os.listdir("/dev/shm") if mine in name])  # noqa: PTH208

    monkeypatch.setattr(RunLogger, "end_epoch", counted)
    cfg = small(pages, tmp_path, workers=2, epochs=6)
    cfg = replace(cfg, data=replace(cfg.data, persistent_workers=persistent))
    before = set(multiprocessing.active_children())
    train.main(cfg)
    assert min(files[3:]) <= max(files[:3]), files  # torch closes some of them in a thread
    assert min(memory[4:]) - max(memory[1:3]) < 8, memory
    assert not any(shared)
    assert set(multiprocessing.active_children()) <= before
