"""Scoring in worker processes, several batches at a time.

Processes instead of threads, because scoring consists of many short numpy and OpenCV calls. On two
cores, two threads score 0.7 times as many images per second as one, two processes 1.9 times.
"""

import multiprocessing
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.connection import Connection, wait
from multiprocessing.queues import Queue
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dbnet.errors import InputError
from dbnet.metrics import Metric
from dbnet.ragged import pack_images, unpack_images
from dbnet.runtime import distributed
from dbnet.runtime.profiler import StageTimer
from dbnet.runtime.shared_memory import SharedMemory, shared_memory
from dbnet.runtime.workers import START_METHOD, sigterm_blocked, start_worker, usable_cores
from dbnet.structures import Detections, ImageResult
from dbnet.training.scoring import BatchScores, Postprocess, Truth, score_batch

_MOST_WORKERS = 8  # post-process and metrics take about three times as long as a GPU's forward pass
_BATCHES_PER_WORKER = 2  # one being scored, one waiting
_AHEAD = 2  # batches downloaded or being downloaded, not yet submitted

Pair = tuple[Truth, Tensor]  # the maps are float32 (N, 1, H, W) on the host


def choose_workers(asked: int | None, device: torch.device, ranks: int) -> int:
    """Number of scoring processes of this rank.

    Args:
        asked: the setting. None: 0 if the network runs on the CPU, whose cores are busy, else half
            of the cores of this rank, at least 1 and at most 8.
        ranks: number of ranks on this machine.
    """
    if asked is not None:
        return asked
    if device.type == "cpu":
        return 0
    return min(max(usable_cores() // (2 * ranks), 1), _MOST_WORKERS)


def open_pool(
    asked: int | None, postprocess: Postprocess, metrics: dict[str, Metric], device: torch.device
) -> "AbstractContextManager[ScoringPool | None]":
    """A pool of `choose_workers` processes; None if this process scores."""
    workers = choose_workers(asked, device, distributed.local_world())
    if workers == 0:
        return nullcontext()
    return ScoringPool(postprocess, metrics, workers=workers, device=device)


class ScoringPool:
    """Worker processes that call `score_batch`.

    Batch i goes to worker i modulo their number. A worker thus gets the same images in every
    validation, and the caches of its metrics have values for them. Each worker has at most two
    batches. Maps are in unnamed shared memory, which is not part of /dev/shm.

    The workers start at the first batch. They run until `close`, or until a pass over the batches
    ends early, and are started again when needed.

    Args:
        workers: number of processes, at least 1.
        device: the device that maps are downloaded from. For CUDA, shared memory is page-locked, so
            that downloads are asynchronous.
    """

    def __init__(
        self,
        postprocess: Postprocess,
        metrics: dict[str, Metric],
        *,
        workers: int,
        device: torch.device,
    ) -> None:
        self._parts = (postprocess, metrics)
        self._device = device
        self._count = workers
        self._slots: list[SharedMemory] = []
        self._workers: list[_Worker] = []
        self._free: deque[int] = deque()  # slots
        self._filled: deque[int] = deque()  # slots given out by host_maps
        self._pending: deque[_Pending] = deque()
        self._submitted = 0

    def __enter__(self) -> "ScoringPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def host_maps(self, shape: tuple[int, ...]) -> Tensor:
        """A float32 tensor in shared memory to which the maps of the next batch are downloaded.

        `scored` must get the batches in the order of these calls.
        """
        slot = self._free.popleft()
        self._filled.append(slot)
        return self._slots[slot].tensor(shape, pinned=self._device.type == "cuda")

    def scored(self, pairs: Iterable[Pair], timer: StageTimer) -> Iterator[BatchScores]:
        """The scores of every batch, in order, identical to those of `score_batch` bit by bit.

        The timer gets the stages "submit" and "score_wait" of this process, and the stages
        "worker/postprocess" and "worker/metric" of the workers, which run in parallel.

        Args:
            pairs: batches and their maps, which are the tensors of `host_maps`.

        Raises:
            InputError: from `score_batch`, or a worker was lost.
            RuntimeError: from `score_batch`.
        """
        if not self._workers:
            self._start()
        is_done = False
        try:
            for truth, maps in pairs:
                while self._is_full() or self._is_next_done():
                    yield self._next(timer)
                with timer("submit"):
                    self._submit(truth, maps)
            while self._pending:
                yield self._next(timer)
            is_done = True
        finally:
            if not is_done:  # batches are left with the workers
                self.close()

    def close(self) -> None:
        """End the workers, even while they score a batch."""
        for worker in self._workers:
            worker.jobs.cancel_join_thread()
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.jobs.close()
            worker.results.close()
        for slot in self._slots:
            slot.close()
        self._workers, self._slots = [], []
        for line in (self._free, self._filled, self._pending):
            line.clear()

    def _start(self) -> None:
        """Start all workers before the first job: with their first job, queues start threads."""
        context: Any = multiprocessing.get_context(START_METHOD)
        self._slots = [shared_memory() for _ in range(self._count * _BATCHES_PER_WORKER + _AHEAD)]
        self._free.extend(range(len(self._slots)))
        self._submitted = 0
        with sigterm_blocked():
            for _ in range(self._count):
                jobs = context.Queue()
                results, sender = context.Pipe(duplex=False)
                process = context.Process(
                    target=_serve, args=(jobs, sender, self._slots, *self._parts), daemon=True
                )
                process.start()
                sender.close()  # only the worker holds it: this process sees its end
                self._workers.append(_Worker(process, jobs, results))

    def _is_full(self) -> bool:
        return len(self._pending) >= self._count * _BATCHES_PER_WORKER

    def _is_next_done(self) -> bool:
        return bool(self._pending) and self._pending[0].worker.results.poll()

    def _submit(self, truth: Truth, maps: Tensor) -> None:
        worker = self._workers[self._submitted % self._count]
        slot = self._filled.popleft()
        worker.jobs.put((slot, tuple(maps[:, 0].shape), _pack_truth(truth)))
        self._pending.append(_Pending(worker, slot, truth.image_ids))
        self._submitted += 1

    def _next(self, timer: StageTimer) -> BatchScores:
        """Wait for the scores of the oldest pending batch."""
        worker, slot, image_ids = self._pending[0]
        with timer("score_wait"):
            answer = _receive(worker, image_ids)
            if isinstance(answer, Exception):
                raise answer
            packed, seconds = answer
            scores = _unpack_scores(packed)
        self._pending.popleft()
        self._free.append(slot)
        for stage, value in seconds.items():
            timer.add(f"worker/{stage}", value)
        return scores


class _Worker(NamedTuple):
    process: Any  # of the context that started it
    jobs: "Queue[Any]"
    results: Connection


class _Pending(NamedTuple):
    worker: _Worker
    slot: int
    image_ids: list[str]


def _receive(worker: _Worker, image_ids: list[str]) -> Any:
    """The next answer of the worker.

    Raises:
        InputError: the worker is lost; names the images of its batch.
    """
    wait([worker.results, worker.process.sentinel])
    try:
        if worker.results.poll():
            return worker.results.recv()
    except (EOFError, OSError):
        pass
    worker.process.join()
    raise InputError(
        f"scoring worker (pid {worker.process.pid}) was lost (exit status "
        f"{worker.process.exitcode}) with {', '.join(image_ids)}; if memory is short, set fewer "
        "--data.scoring-workers"
    )


def _serve(
    jobs: "Queue[Any]",
    results: Connection,
    slots: list[SharedMemory],
    postprocess: Postprocess,
    metrics: dict[str, Metric],
) -> None:
    """The main function of a worker: score batches until the process is ended."""
    start_worker()
    while True:
        slot, shape, packed = jobs.get()
        timer = StageTimer(synchronize=None)
        answer: Any
        try:
            truth = _unpack_truth(packed)
            scores = score_batch(
                truth, slots[slot].array(shape, np.float32), postprocess, metrics, timer
            )
            answer = _pack_scores(scores), timer.totals()
        except Exception as error:
            error.add_note(f"in a scoring worker:\n{traceback.format_exc()}")
            answer = error
        results.send(answer)


def _pack_truth(truth: Truth) -> tuple[Any, ...]:
    return tuple(truth._replace(orig_polygons=pack_images(truth.orig_polygons)))  # type: ignore[arg-type]


def _unpack_truth(packed: tuple[Any, ...]) -> Truth:
    truth = Truth(*packed)
    return truth._replace(orig_polygons=unpack_images(truth.orig_polygons))  # type: ignore[arg-type]


def _pack_scores(scores: BatchScores) -> tuple[Any, ...]:
    found = [image.detections for image in scores.images]
    names = [image.image_id for image in scores.images]
    figures = [(image.scores, image.size, image.seconds) for image in scores.images]
    polygons = pack_images([each.polygons for each in found])
    return names, polygons, [each[1:] for each in found], figures, scores.sums


def _unpack_scores(packed: tuple[Any, ...]) -> BatchScores:
    names, polygons, rest, figures, sums = packed
    images = [
        ImageResult(name, Detections(outlines, *others), *measured)
        for name, outlines, others, measured in zip(
            names, unpack_images(polygons), rest, figures, strict=True
        )
    ]
    return BatchScores(images, sums)
