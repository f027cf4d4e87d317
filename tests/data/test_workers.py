"""Loader workers: little shared memory, signals, start methods, errors."""

import errno
import gc
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections import deque
from functools import partial
from multiprocessing import resource_sharer
from multiprocessing.connection import Client

import numpy as np
import pytest
import torch
from torch.utils.data._utils import signal_handling

from dbnet.data import shared_batches, workers
from dbnet.data.annotations import scan as annotations
from dbnet.data.collate import Collate, drawn_maps
from dbnet.data.dataset import DetectionDataset
from dbnet.data.samples import load_sample
from dbnet.data.transforms import EvalTransform
from dbnet.data.workers import Loader, make_loader
from dbnet.errors import InputError, one_line
from dbnet.settings import TargetsConfig
from dbnet.structures import Batch
from tests.drawing import write_dataset

COLLATE = Collate(target_maps=partial(drawn_maps, targets=TargetsConfig()))
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    root = write_dataset(tmp_path_factory.mktemp("pages"), train=7, val=1)
    return annotations.load_records(root, "train", format="ufo")[0]


def loader_of(records, *, workers: int = 1, collate=COLLATE) -> Loader:
    return make_loader(
        DetectionDataset(
            records=records, load=load_sample, transform=EvalTransform(image_size=96), seed=1
        ),
        collate,
        shuffle=False, batch_size=3, num_workers=workers, prefetch_factor=2,
        persistent_workers=True, pin_memory=False,
    )  # fmt: skip


def assert_same(ours: list, expected: list) -> None:
    for a, b in zip(ours, expected, strict=True):
        assert a.image_ids == b.image_ids
        for name in ("images", "shrink_map", "shrink_mask", "thresh_map", "thresh_mask"):
            x, y = getattr(a, name), getattr(b, name)
            assert torch.equal(x, y) and x.stride() == y.stride()
        for name in ("polygons", "orig_polygons"):
            for x, y in zip(getattr(a, name), getattr(b, name), strict=True):
                assert len(x) == len(y) > 0
                assert all(
                    np.array_equal(p, q) and p.dtype == q.dtype for p, q in zip(x, y, strict=True)
                )
        assert a.texts == b.texts and a.orig_sizes == b.orig_sizes
        assert all(map(np.array_equal, a.ignored, b.ignored))


def fields_of(batch) -> list[torch.Tensor]:
    return [value for value in batch if isinstance(value, torch.Tensor)]


def in_one_memory(batch) -> bool:
    """Whether the batch came through a SharedRing."""
    return len({tensor.untyped_storage().data_ptr() for tensor in fields_of(batch)}) == 1


def ends_within(seconds: float, pid: int) -> bool:
    deadline = time.monotonic() + seconds
    while pid in (child.pid for child in multiprocessing.active_children()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def terminated_by_another(pid: int) -> None:
    subprocess.run(["kill", "-TERM", str(pid)], check=True)


@pytest.mark.faults("no room in shared memory (a real limit)", "batches are copied, and equal")
@linux
def test_without_shared_memory_batches_are_copied(records):
    expected = list(loader_of(records, workers=0))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # of /dev/shm's files too
    try:
        copied = list(loader_of(records))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_same(copied, expected)
    assert any(not tensor.is_shared() for batch in copied for tensor in fields_of(batch))
    shared = list(loader_of(records))
    assert_same(shared, expected)
    assert all(in_one_memory(batch) for batch in shared)
    for batch in shared:
        for outlines in (batch.polygons, batch.orig_polygons):
            bases = {id(polygon.base) for image in outlines for polygon in image}
            assert len(bases) == 1, "sent as one array: hundreds of small ones are slow"


def unsendable(samples):
    return lambda: samples


@pytest.mark.faults("a batch that a worker cannot send", "ends the run, and is not waited for")
def test_a_batch_that_cannot_be_sent_is_an_error(records):
    with pytest.raises((AttributeError, RuntimeError), match="in a DataLoader worker, sending"):
        list(loader_of(records, collate=unsendable))


@pytest.mark.faults("workers that cannot be started", "one line with the flag")
def test_workers_that_cannot_start_are_one_line(records, monkeypatch):
    def refuse():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    loader = loader_of(records, workers=2)
    with pytest.raises(InputError, match=r"--data.num-workers 2: .*\(Resource temporarily unav"):
        iter(loader)
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.faults("no room for a semaphore in /dev/shm", "one line with what to set")
def test_without_room_for_semaphores_workers_are_refused(records, monkeypatch):
    def refuse():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(multiprocessing, "Semaphore", refuse)
    with pytest.raises(InputError, match=r"workers 2: .*\(No space left on device\).*--shm-size"):
        iter(loader_of(records, workers=2))
    assert len(list(loader_of(records, workers=0))) == 3, "no workers need none"


@pytest.mark.faults("too few file descriptors", "one line that names ulimit -n")
@linux
def test_too_few_open_files_are_one_line(records, monkeypatch):
    monkeypatch.setattr(workers, "reduce_batch", lambda batch, ring: (Batch, tuple(batch)))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    loader = loader_of(records)
    batches = iter(loader)
    next(batches)
    gc.collect()
    lowest_free = os.dup(0)  # the limit is on numbers: numbers below it may be free
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 2, limits[1]))
    try:
        with pytest.raises((RuntimeError, OSError)) as caught:
            kept = list(batches)
            assert not kept
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert "ulimit -n" in one_line(caught.value)


@pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="needs sigtimedwait")
def test_a_worker_signalled_at_its_start_serves_on(records, monkeypatch):
    prepare = signal_handling._set_worker_signal_handlers

    def signalled():
        prepare()  # torch's handler ends a worker on SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)

    expected = list(loader_of(records, workers=0))
    monkeypatch.setattr(signal_handling, "_set_worker_signal_handlers", signalled)
    assert_same(list(loader_of(records, workers=2)), expected)
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.faults("SIGTERM to all: no sigtimedwait, or workers spawned", "workers serve on")
@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_workers_outlive_a_sigterm_as_on_macos(records, monkeypatch, start_method):
    """On macOS workers are spawned, and without sigtimedwait the sender of a signal is unknown."""
    expected = list(loader_of(records, workers=0))
    monkeypatch.delattr(signal, "sigtimedwait", raising=False)
    loader = loader_of(records)
    if start_method == "spawn":
        loader.multiprocessing_context = None
        monkeypatch.setattr(multiprocessing.context._default_context, "_actual_context", None)
        multiprocessing.set_start_method("spawn")
    batches = iter(loader)
    [worker] = batches._workers
    terminated_by_another(worker.pid)  # before a spawned one has imported anything
    assert_same(list(batches), expected)
    if start_method == "fork":
        terminated_by_another(worker.pid)
        assert ends_within(10, worker.pid), "the second one ends it"
    del batches, loader
    gc.collect()
    assert ends_within(10, worker.pid)


def test_a_worker_ends_where_its_parent_says_so(records):
    loader = loader_of(records)
    list(loader)
    [worker] = loader._iterator._workers
    worker.terminate()
    assert ends_within(10, worker.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="tensors travel otherwise")
def test_a_broken_hand_over_prints_no_traceback(records, monkeypatch, capfd):
    fetch, left = resource_sharer.DupFd.detach, []

    def leave_and_come_back(handle):
        Client(handle._id[0], authkey=multiprocessing.current_process().authkey).close()
        left.append(handle)
        return fetch(handle)

    loader = loader_of(records)
    expected = list(loader)
    monkeypatch.setattr(resource_sharer.DupFd, "detach", leave_and_come_back)
    assert_same(list(loader), expected)
    assert left and capfd.readouterr().err == ""


@pytest.mark.parametrize("places", [1, 2, 5])
def test_batches_stay_as_they_are_however_many_are_held(records, monkeypatch, places):
    monkeypatch.setattr(shared_batches, "_HELD", places - 2)
    expected = list(loader_of(list(records) * 4, workers=0))
    assert_same(list(loader_of(list(records) * 4)), expected)  # all are held
    assert_same(list(loader_of(list(records) * 4, workers=2)), expected)


def test_the_memory_of_a_batch_is_used_again(records):
    loader = loader_of(list(records) * 4)
    places = set()
    for batch in loader:
        assert in_one_memory(batch)
        places.add(batch.images.untyped_storage().data_ptr())
    assert len(places) <= loader.prefetch_factor + 2  # this one and the next are held
    [ring] = loader._rings
    del batch
    assert not ring.flags().any()


def test_a_part_of_a_batch_keeps_its_memory(records):
    loader = loader_of(list(records) * 4)
    batches = iter(loader)
    kept = next(batches).thresh_map[1, 0, 2:5]
    before = kept.clone()
    deque(batches, maxlen=0)
    assert torch.equal(kept, before)
    [ring] = loader._rings
    assert ring.flags().sum() == 1


def test_a_forked_process_frees_no_place(records):
    loader = loader_of(records)
    batch = next(iter(loader))

    def drop():
        nonlocal batch
        del batch

    process = multiprocessing.get_context("fork").Process(target=drop)
    process.start()
    process.join()
    [ring] = loader._rings
    assert process.exitcode == 0 and ring.flags().any()


def test_there_are_no_more_workers_than_cores(monkeypatch, capsys, recwarn):
    monkeypatch.setattr("dbnet.data.workers.usable_cores", lambda: 2)
    options = {"shuffle": False, "batch_size": 1, "prefetch_factor": 2}
    options |= {"persistent_workers": False, "pin_memory": False}
    dataset = DetectionDataset(records=[], load=None, transform=None, seed=0)
    for asked, used in ((4, 2), (4, 2), (1, 1), (0, 0)):
        assert make_loader(dataset, list, num_workers=asked, **options).num_workers == used
    assert capsys.readouterr().out.splitlines() == [
        "loader processes: 2 of 4, one a core (--data.num-workers)"
    ]
    assert not recwarn.list
