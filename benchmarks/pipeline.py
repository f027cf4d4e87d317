"""Speed of a validation with a simulated device: how much of a GPU's speed is reached.

    python -m benchmarks.pipeline [--forward 1 20] [--scoring-workers 0 1 2] [--images 404]

The simulated device sleeps X ms per image, like a GPU that takes no CPU time, and returns the maps
of the released weights for the images. Everything else is real: loader and
its worker processes, collate, warm caches, download, post-process, CLEval and IoU. Without --root,
receipts are drawn. A few images are repeated up to --images; ground truth that the metrics keep is
warm, as from the second validation of a training on.

First each stage alone, by processor time in one process on one thread; then whole validations,
in turn. "over forward" is wall time over the device's time; 1.00 is the ceiling. "waiting for a
core" is the time in which the main process could have gone on but other processes had the cores
(Linux only): where it is not near 0, the machine is loaded or has too few cores, and images/s and
"over forward" tell about that. Last, on paper, the cores that keep it at 1.1.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.arguments import positive
from benchmarks.host_overhead import probability_maps
from configs import ProfileConfig
from dbnet.data.annotations.scan import load_records
from dbnet.data.loaders import val_loader
from dbnet.inference.weights import released_weights
from dbnet.metrics import Metric, build_metrics
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.runtime.memory import keep_freed_memory
from dbnet.runtime.profiler import StageTimer, waiting_seconds
from dbnet.settings import EvalDataConfig
from dbnet.structures import Batch, Record
from dbnet.synthetic import dataset as synthetic
from dbnet.training.engine import timed
from dbnet.training.losses import DBLosses
from dbnet.training.predictions import Prediction, score_predictions
from dbnet.training.scoring_pool import ScoringPool

TARGET = 1.1  # wall time over forward
CPU = torch.device("cpu")
NO_LOSS = DBLosses(*[torch.zeros(())] * len(DBLosses._fields))


class Parts(NamedTuple):
    """What a validation is made of, without the network."""

    records: list[Record]
    maps: Tensor  # float32 (distinct images, 1, H, W)
    data: EvalDataConfig
    cfg: ProfileConfig


class Run(NamedTuple):
    """One validation."""

    wall: float  # seconds
    main: float  # processor seconds of the main process
    waiting: float  # seconds in which the main process was ready, and had no core


class SimulatedDevice:
    """Computes one batch after the other, for a given time, while the host continues.

    Args:
        seconds: per image.
        maps: what it returns, image by image, from the start again after the last.
    """

    def __init__(self, seconds: float, maps: Tensor) -> None:
        self.seconds = seconds
        self.maps = maps
        self.busy_until = 0.0
        self.seen = 0

    def predictions(
        self, loader: object, timer: StageTimer, pool: ScoringPool | None
    ) -> Iterator[Prediction]:
        for batch in timed(loader, timer):  # type: ignore[arg-type]
            yield self.forward(batch, pool)

    def forward(self, batch: Batch, pool: ScoringPool | None) -> Prediction:
        images = len(batch.image_ids)
        self.busy_until = max(self.busy_until, time.perf_counter()) + images * self.seconds
        done = self.busy_until
        which = [(self.seen + i) % len(self.maps) for i in range(images)]
        self.seen += images
        host = pool.host_maps((images, *self.maps.shape[1:])) if pool else None

        def download() -> Tensor:
            time.sleep(max(0.0, done - time.perf_counter()))
            if host is None:
                return self.maps[which]
            for place, index in zip(host, which, strict=True):
                place.copy_(self.maps[index])
            return host

        return Prediction(batch, NO_LOSS, download)


def main() -> None:
    args = parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as temporary:
        parts = prepare(args, args.folder or Path(temporary))
        texts = np.mean([len(record.polygons) for record in parts.records])
        print(
            f"images: {len(parts.records)}, different ones: {len(parts.maps)}, pixels: "
            f"{args.image_size}, texts on average: {texts:.0f}\n"
        )
        alone = stages_alone(parts)
        print_stages(alone)
        loader = val_loader(parts.records, parts.data, parts.cfg.targets)
        pools = {n: scorers(parts, n) for n in args.scoring_workers}
        for workers in pools:
            validate(parts, loader, pools[workers], 0.0)  # workers start, ground truth is kept
        print(f"loader workers: {parts.data.num_workers}\n")
        print(
            "| forward | scoring workers | images/s | over forward | main process, ms an image |"
            " waiting for a core, ms an image |"
        )
        print("| ---: | ---: | ---: | ---: | ---: | ---: |")
        main_ms = 0.0
        for forward in args.forward:
            runs: dict[int, list[Run]] = {workers: [] for workers in pools}
            for _ in range(args.repeats):
                for workers, found in runs.items():
                    found.append(validate(parts, loader, pools[workers], forward / 1e3))
            for workers, found in runs.items():
                main_ms = print_runs(len(parts.records), forward, workers, found)
        for _, pool in pools.values():
            if pool:
                pool.close()
        print_cores(alone, main_ms)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="data set; without it, receipts are drawn")
    parser.add_argument("--images", type=positive, default=404, help="images of a validation")
    parser.add_argument("--distinct", type=positive, default=60, help="different images among them")
    parser.add_argument("--image-size", type=positive, default=640, help="longest side in pixels")
    parser.add_argument("--checkpoint", type=Path, help="without it, the released weights")
    parser.add_argument("--forward", type=float, nargs="+", default=[0.5, 1, 2, 5, 20], help="ms")
    parser.add_argument("--scoring-workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--loader-workers", type=int, default=2)
    parser.add_argument("--repeats", type=positive, default=3, help="validations of each, in turn")
    parser.add_argument("--folder", type=Path, help="where receipts, caches and maps are kept")
    return parser.parse_args()


def prepare(args: argparse.Namespace, folder: Path) -> Parts:
    """Images, and the maps that the checkpoint gives of them; kept in `folder`."""
    root = args.root or synthetic.build(
        folder / "drawn", train=0, val=args.distinct, seed=0, workers=0
    )
    data = EvalDataConfig(
        image_size=args.image_size,
        num_workers=args.loader_workers,
        cache="all",
        cache_dir=folder / "cache",
    )
    cfg = ProfileConfig(data=data)
    records = load_records(root, "val", format="auto")[0][: args.distinct]
    file = folder / "maps.npy"
    if not file.exists():
        alone = replace(data, num_workers=0)
        loader = val_loader(records, alone, cfg.targets)
        samples = [loader.dataset[0, index] for index in range(len(records))]
        maps = probability_maps(args.checkpoint or released_weights(), samples)
        np.save(file, np.stack(maps)[:, None])
    maps = torch.from_numpy(np.load(file))
    repeated = [records[index % len(records)] for index in range(args.images)]
    return Parts(repeated, maps, data, cfg)


def scorers(
    parts: Parts, workers: int
) -> tuple[tuple[DBPostprocessor, dict[str, Metric]], ScoringPool | None]:
    """Post-process, metrics, and the pools of worker processes that run them."""
    postprocess = DBPostprocessor(
        parts.cfg.postprocess, shrink_ratio=parts.cfg.targets.shrink_ratio
    )
    metrics = build_metrics(parts.cfg.metric)
    pool = None
    if workers:
        pool = ScoringPool(postprocess, metrics, workers=workers, device=CPU)
    return (postprocess, metrics), pool


def validate(parts: Parts, loader: object, scoring: tuple, seconds: float) -> Run:
    """One validation with a forward pass of so many seconds an image."""
    (postprocess, metrics), pool = scoring
    timer = StageTimer(synchronize=None)
    device = SimulatedDevice(seconds, parts.maps)
    wall, main, waited = time.perf_counter(), time.process_time(), waiting_seconds()
    predictions = device.predictions(loader, timer, pool)
    score_predictions(predictions, postprocess, metrics, timer=timer, pool=pool)
    return Run(
        wall=time.perf_counter() - wall,
        main=time.process_time() - main,
        waiting=waiting_seconds() - waited,
    )


def stages_alone(parts: Parts) -> dict[str, float]:
    """Processor ms per image of each stage, everything in this process."""
    loader = val_loader(parts.records, replace(parts.data, num_workers=0), parts.cfg.targets)
    (postprocess, metrics), _ = scorers(parts, 0)
    for _ in range(2):  # the first one fills the caches
        timer = StageTimer(synchronize=None, clock=time.process_time)
        device = SimulatedDevice(0.0, parts.maps)
        predictions = device.predictions(loader, timer, None)
        score_predictions(predictions, postprocess, metrics, timer=timer)
    totals = timer.totals()
    names = {"loader": "data_wait", "post-process": "postprocess", "metrics": "metric"}
    return {name: 1e3 * totals[stage] / len(parts.records) for name, stage in names.items()}


def print_stages(alone: dict[str, float]) -> None:
    print("| stage alone | processor ms an image | images/s a core |")
    print("| --- | ---: | ---: |")
    for name, ms in [*alone.items(), ("together", sum(alone.values()))]:
        print(f"| {name} | {ms:.2f} | {1e3 / ms:.0f} |")
    print()


def print_runs(images: int, forward: float, workers: int, runs: list[Run]) -> float:
    """One line; returns processor ms of the main process per image."""
    rates = [images / run.wall for run in runs]
    over = [run.wall / (images * forward / 1e3) for run in runs]
    main_ms = median(1e3 * run.main / images for run in runs)
    waiting_ms = median(1e3 * run.waiting / images for run in runs)
    print(
        f"| {forward:g} ms | {workers} | {median(rates):.1f} ({min(rates):.1f} .. {max(rates):.1f})"
        f" | {median(over):.2f} ({min(over):.2f} .. {max(over):.2f})"
        f" | {main_ms:.2f} | {waiting_ms:.2f} |",
        flush=True,
    )
    return main_ms


def print_cores(alone: dict[str, float], main_ms: float) -> None:
    """Computed: processes, each on its own core, for at most 1.1 times the forward pass."""
    scoring_ms = alone["post-process"] + alone["metrics"]
    print(f"\nCores for {TARGET} times the forward pass, on paper:\n")
    print("| forward | main process | loader workers | scoring workers | cores |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for forward in (0.5, 1.0, 2.0, 5.0, 20.0):
        limit = TARGET * forward
        loaders, scoring = (math.ceil(ms / limit) for ms in (alone["loader"], scoring_ms))
        possible = f"{main_ms / limit:.0%}" + ("" if main_ms <= limit else ", too slow")
        cores = 1 + loaders + scoring
        print(f"| {forward:g} ms | {possible} | {loaders} | {scoring} | {cores} |")


if __name__ == "__main__":
    main()
