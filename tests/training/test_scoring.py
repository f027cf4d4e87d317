"""Worker processes give the same scores and the same errors as this process."""

import multiprocessing.pool
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dbnet.data.loaders import val_loader
from dbnet.data.splits import load_records
from dbnet.errors import InputError
from dbnet.metrics import build_metrics
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.runtime.profiler import StageTimer
from dbnet.runtime.shared_memory import shared_memory
from dbnet.settings import DataConfig, MetricConfig, PostprocessConfig, TargetsConfig
from dbnet.structures import Batch, Detections
from dbnet.training import scoring_pool
from dbnet.training.predictions import evaluate_oracle
from dbnet.training.scoring import BatchScores, score_batch, truth_of
from dbnet.training.scoring_pool import ScoringPool, choose_workers
from tests.drawing import write_dataset

CPU = torch.device("cpu")
PAGES = 13


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> DataConfig:
    folder = tmp_path_factory.mktemp("scoring")
    root = write_dataset(folder / "pages", train=1, val=PAGES)
    return DataConfig(
        root=root, image_size=96, batch_size=2, num_workers=0, cache_dir=folder / "cache"
    )


@pytest.fixture(scope="module")
def batches(data) -> list[Batch]:
    records = load_records(data, ["val"])["val"]
    return list(val_loader(records, data, TargetsConfig()))


def postprocessor() -> DBPostprocessor:
    return DBPostprocessor(PostprocessConfig(), shrink_ratio=0.4)


def noisy_maps(batch: Batch, seed: int) -> Tensor:
    """Float32 (N, 1, H, W): kernels with soft edges that differ from map to map."""
    noise = torch.rand(batch.shrink_map.shape, generator=torch.Generator().manual_seed(seed))
    return batch.shrink_map * (0.4 + 0.5 * noise) + 0.1 * noise


def serial(batches: list[Batch], postprocess=None) -> list[BatchScores]:
    metrics = build_metrics(MetricConfig())
    timer = StageTimer(synchronize=None)
    return [
        score_batch(
            truth_of(batch), noisy_maps(batch, number)[:, 0].numpy(),
            postprocess or postprocessor(), metrics, timer,
        )
        for number, batch in enumerate(batches)
    ]  # fmt: skip


def pairs(pool: ScoringPool, batches: list[Batch]):
    for number, batch in enumerate(batches):
        maps = noisy_maps(batch, number)
        yield truth_of(batch), pool.host_maps(tuple(maps.shape)).copy_(maps)


def pooled(pool: ScoringPool, batches: list[Batch], timer=None) -> list[BatchScores]:
    return list(pool.scored(pairs(pool, batches), timer or StageTimer(synchronize=None)))


def make_pool(workers: int = 2, *, postprocess=None, metrics=None) -> ScoringPool:
    return ScoringPool(
        postprocess or postprocessor(),
        metrics or build_metrics(MetricConfig()),
        workers=workers,
        device=CPU,
    )


def assert_equal(found: list[BatchScores], expected: list[BatchScores]) -> None:
    """Check that scores are equal bit by bit, types included."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in other.sums:
            assert np.array_equal(one.sums[name], other.sums[name])
        assert len(one.images) == len(other.images)
        for a, b in zip(one.images, other.images, strict=True):
            assert (a.image_id, a.scores) == (b.image_id, b.scores)
            assert a.detections.capped == b.detections.capped
            assert a.detections.scores.dtype == b.detections.scores.dtype
            assert np.array_equal(a.detections.scores, b.detections.scores)
            assert len(a.detections.polygons) == len(b.detections.polygons) > 0
            for p, q in zip(a.detections.polygons, b.detections.polygons, strict=True):
                assert p.dtype == q.dtype and np.array_equal(p, q)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_score_as_this_process_does(batches, workers):
    expected = serial(batches)
    with make_pool(workers) as pool:
        for _ in range(2):  # the second pass finds the workers there
            assert_equal(pooled(pool, batches), expected)
        processes = [worker.process for worker in pool._workers]
    assert len(processes) == workers
    assert not any(process.is_alive() for process in processes)


def test_spawned_workers_score_as_forked_ones(batches, monkeypatch):
    monkeypatch.setattr(scoring_pool, "START_METHOD", "spawn")
    with make_pool() as pool:
        assert_equal(pooled(pool, batches), serial(batches))


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_and_scoring_workers_run_side_by_side(data, batches, workers):
    records = load_records(data, ["val"])["val"]
    loader = val_loader(
        records, DataConfig(**{**vars(data), "num_workers": workers}), TargetsConfig()
    )
    metrics = build_metrics(MetricConfig())
    expected = evaluate_oracle(batches, postprocessor(), metrics)
    with make_pool() as pool:
        figures = evaluate_oracle(loader, postprocessor(), metrics, pool)
    assert figures == expected
    assert figures["cleval/num_images"] == PAGES


def test_batches_grow_and_shrink_in_the_same_memory(batches):
    small = [batches[-1], *batches[:3], batches[-1]]
    with make_pool(1) as pool:
        assert_equal(pooled(pool, small), serial(small))


def test_images_without_texts_or_detections_are_scored(batches):
    nothing = [
        batch._replace(orig_polygons=[[] for _ in batch.texts], texts=[[] for _ in batch.texts],
                       ignored=[np.zeros(0, bool) for _ in batch.texts])
        for batch in batches[:3]
    ]  # fmt: skip
    found = Detections([], np.zeros(0, np.float32), 0)
    with make_pool(postprocess=lambda _: found) as pool:
        scores = pooled(pool, nothing)
    assert [image.detections.polygons for batch in scores for image in batch.images] == [[]] * 6
    assert all(image.scores["cleval"]["hmean"] == 1 for b in scores for image in b.images)


def test_at_most_two_batches_per_worker_are_in_hand(batches):
    taken = 0

    def counted():
        nonlocal taken
        for pair in pairs(pool, batches):
            taken += 1
            yield pair

    with make_pool(1) as pool:
        scored = pool.scored(counted(), StageTimer(synchronize=None))
        for done, _ in enumerate(scored):
            assert taken - done <= 2 + 1  # those in hand, and the one that waits for its place


def test_stages_of_both_sides_are_timed(batches):
    timer = StageTimer(synchronize=None)
    with make_pool() as pool:
        pooled(pool, batches, timer)
    stages = ["submit", "score_wait", "worker/postprocess", "worker/metric"]
    assert {name: len(values) for name, values in timer.durations.items()} == dict.fromkeys(
        stages, len(batches)
    )


class FailsOnce:
    """A post-processor that raises `error` for one map."""

    def __init__(self, bad_map: np.ndarray, error: Exception) -> None:
        self.bad_map, self.error = bad_map, error

    def __call__(self, prob_map):
        if np.array_equal(prob_map, self.bad_map):
            raise self.error
        return postprocessor()(prob_map)


@pytest.mark.parametrize(
    ("error", "raised", "line"),
    [
        (ValueError("bad map"), InputError, "page_2.png: bad map"),
        (ZeroDivisionError("oh"), RuntimeError, "page_2.png: ZeroDivisionError: oh"),
    ],
)
def test_an_error_names_the_image(batches, error, raised, line):
    fails = FailsOnce(noisy_maps(batches[2], 2)[1, 0].numpy(), error)
    with pytest.raises(raised) as caught:
        serial(batches, fails)
    assert str(caught.value) == line
    with make_pool(postprocess=fails) as pool:
        for _ in range(2):  # a pass that has failed does not disturb the next one
            scored = pool.scored(pairs(pool, batches), StageTimer(synchronize=None))
            assert_equal([next(scored), next(scored)], serial(batches[:2]))
            with pytest.raises(raised) as caught:
                next(scored)
            assert str(caught.value) == line


def test_a_map_that_is_not_finite_names_the_image(batches):
    maps = noisy_maps(batches[0], 0)[:, 0].numpy()
    maps[1, 3, 3] = np.nan
    timer = StageTimer(synchronize=None)
    metrics = build_metrics(MetricConfig())
    with pytest.raises(InputError, match=r"^page_1\.png: prob_map"):
        score_batch(truth_of(batches[0]), maps, postprocessor(), metrics, timer)


def test_an_error_of_a_metric_names_the_image(batches):
    broken = [list(polygons) for polygons in batches[1].orig_polygons]
    broken[1][0] = np.float32([[0, 0], [1, np.inf], [1, 1]])
    batch = batches[1]._replace(orig_polygons=broken)
    with pytest.raises(InputError, match=r"^page_11\.png: "):
        serial([batch])
    with make_pool() as pool, pytest.raises(InputError, match=r"^page_11\.png: "):
        pooled(pool, [batch])


@dataclass
class Slow:
    """Writes its process id, then takes an hour."""

    started: Path

    def __call__(self, prob_map):
        self.started.with_suffix(f".{os.getpid()}").touch()
        time.sleep(3600)


def test_a_lost_worker_ends_the_pass_with_one_line(batches, tmp_path):
    with make_pool(postprocess=Slow(tmp_path / "started")) as pool:
        scored = pool.scored(pairs(pool, batches), StageTimer(synchronize=None))

        def kill_first():
            while not list(tmp_path.iterdir()):
                time.sleep(0.01)
            os.kill(pool._workers[0].process.pid, signal.SIGKILL)

        killer = multiprocessing.pool.ThreadPool(1)
        killer.apply_async(kill_first)
        with pytest.raises(InputError) as caught:
            next(scored)
        killer.terminate()
        told = str(caught.value)
        assert "scoring worker (pid" in told and "page_0.png, page_1.png" in told
        assert "--data.scoring-workers" in told and "\n" not in told
        assert not pool._workers


def test_a_pass_that_ends_early_leaves_no_worker(batches):
    with make_pool() as pool:
        scored = pool.scored(pairs(pool, batches), StageTimer(synchronize=None))
        next(scored)
        processes = [worker.process for worker in pool._workers]
        scored.close()
        assert not any(process.is_alive() for process in processes)
        assert_equal(pooled(pool, batches), serial(batches))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_ignore_what_is_sent_to_all_processes(batches, number):
    with make_pool() as pool:
        scored = pool.scored(pairs(pool, batches), StageTimer(synchronize=None))
        first = next(scored)
        workers = [str(worker.process.pid) for worker in pool._workers]
        subprocess.run(["kill", f"-{number.value}", *workers], check=True)
        assert_equal([first, *scored], serial(batches))


def test_shared_memory_keeps_its_values_when_it_grows():
    shared = shared_memory()
    shared.array((3,), np.float32)[:] = 1, 2, 3
    assert shared.tensor((5,), pinned=False).tolist() == [1, 2, 3, 0, 0]
    assert shared.array((2, 2), np.float32).tolist() == [[1, 2], [3, 0]]
    shared.close()


@pytest.mark.parametrize(
    ("asked", "device", "cores", "ranks", "workers"),
    [
        (None, "cpu", 64, 1, 0),
        (3, "cpu", 2, 1, 3),
        (0, "cuda", 16, 1, 0),
        (None, "cuda", 16, 1, 8),
        (None, "cuda", 64, 8, 4),
        (None, "cuda", 64, 1, 8),
        (None, "mps", 2, 1, 1),
        (None, "cuda", 1, 1, 1),
    ],
)
def test_the_number_of_workers_follows_device_and_cores(
    monkeypatch, asked, device, cores, ranks, workers
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert choose_workers(asked, torch.device(device), ranks) == workers
