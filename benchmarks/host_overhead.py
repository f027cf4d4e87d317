"""CPU time outside the network: reference and package in turn, on the same maps.

    python -m benchmarks.host_overhead [--root ROOT] [--images N] [--checkpoint FILE]

Without --root, receipts are drawn. Both post-process the probability maps that the checkpoint
gives of the images, and score what they find; ours reads its targets from a warm cache. The ways
take turns: in every repeat each goes over all images once, after one such pass that warms up and
fills the cache. Times are CPU times of one process on one thread: the mean over the images, then
the median of the repeats, the lowest and the highest. Metrics are given a batch at a time, as in
a validation.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from benchmarks.arguments import positive
from configs import ProfileConfig
from dbnet.checkpoint import build_model, load_checkpoint
from dbnet.data.annotations.scan import load_records
from dbnet.data.loaders import val_loader
from dbnet.inference.torch_network import torch_network
from dbnet.inference.weights import released_weights
from dbnet.metrics import Metric, build_metrics
from dbnet.postprocess.frames import to_original
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.reference.pipeline import reference_pipeline
from dbnet.runtime.memory import keep_freed_memory
from dbnet.settings import DataConfig
from dbnet.structures import Detections, Sample, TargetMaps
from dbnet.synthetic import dataset as synthetic

BATCH = DataConfig().batch_size


class Way(NamedTuple):
    """The parts of a validation that are not the network."""

    target_maps: Callable[[Sample], TargetMaps]
    postprocess: Callable[[np.ndarray], Detections]
    metrics: dict[str, Metric]


def main() -> None:
    args = parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or synthetic.build(
            Path(folder), train=0, val=args.images, seed=0, workers=0
        )
        data = DataConfig(
            image_size=args.image_size, num_workers=0, cache_dir=Path(folder) / "cache"
        )
        cfg = ProfileConfig(data=data)
        records = load_records(root, "val", format="auto")[0][: args.images]
        loader, *rest = reference_pipeline(
            records, cfg.data, cfg.targets, cfg.postprocess, cfg.metric
        )
        theirs = Way(loader.collate_fn.target_maps, *rest)
        loader = val_loader(records, cfg.data, cfg.targets)
        ours = Way(
            loader.collate_fn.target_maps,
            DBPostprocessor(cfg.postprocess, shrink_ratio=cfg.targets.shrink_ratio),
            build_metrics(cfg.metric),
        )
        samples = [loader.dataset[0, index] for index in range(len(records))]
        maps = probability_maps(args.checkpoint or released_weights(), samples)
        ways = {"reference": theirs, "here": ours}
        times = [
            {name: measure(way, samples, maps) for name, way in ways.items()}
            for _ in range(1 + args.repeats)
        ][1:]
    texts = np.mean([len(sample.polygons) for sample in samples])
    print(f"images: {len(samples)}, pixels: {args.image_size}, texts on average: {texts:.0f}")
    report(times)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="data set; without it, receipts are drawn")
    parser.add_argument("--images", type=positive, default=30, help="of its validation split")
    parser.add_argument("--checkpoint", type=Path, help="without it, the released weights")
    parser.add_argument("--image-size", type=positive, default=640, help="longest side in pixels")
    parser.add_argument("--repeats", type=positive, default=7, help="passes of each way, in turn")
    return parser.parse_args()


def probability_maps(checkpoint: Path, samples: list[Sample]) -> list[np.ndarray]:
    """One float32 (H, W) map per sample."""
    model = build_model(load_checkpoint(checkpoint))
    network = torch_network(model, device=torch.device("cpu"), dtype=None, compiled=False)
    return [network(sample.image.transpose(2, 0, 1)[None])[0, 0] for sample in samples]


def measure(way: Way, samples: list[Sample], maps: list[np.ndarray]) -> dict[str, float]:
    """Mean milliseconds per image, by part."""
    seconds = dict.fromkeys(["targets", "post-process", *way.metrics, "together"], 0.0)
    now = time.process_time()

    def lap(part: str) -> None:
        nonlocal now
        before, now = now, time.process_time()
        seconds[part] += now - before
        seconds["together"] += now - before

    for first in range(0, len(samples), BATCH):
        batch = samples[first : first + BATCH]
        found = []
        for sample, prob_map in zip(batch, maps[first : first + BATCH], strict=True):
            way.target_maps(sample)
            lap("targets")
            detections = way.postprocess(prob_map)
            found.append(to_original(detections, sample.matrix, sample.orig_size).polygons)
            lap("post-process")
        fields = ("orig_polygons", "ignored", "texts", "orig_size")
        truth = [[getattr(sample, field) for sample in batch] for field in fields]
        for name, metric in way.metrics.items():
            metric.update_batch(found, *truth)
            lap(name)
    return {part: 1e3 * total / len(samples) for part, total in seconds.items()}


def report(times: list[dict[str, dict[str, float]]]) -> None:
    """One row per part, from the times of each repeat."""
    print(f"{'ms per image':14}{'reference':>25}{'here':>25}{'ratio':>25}")
    for part in times[0]["here"]:
        theirs, ours = (
            np.array([each[name][part] for each in times]) for name in ("reference", "here")
        )
        columns = [spread(theirs, 2), spread(ours, 2), spread(theirs / ours, 1)]
        print(f"{part:14}" + "".join(f"{column:>25}" for column in columns))


def spread(values: np.ndarray, digits: int) -> str:
    low, median, high = (f"{value:.{digits}f}" for value in np.percentile(values, [0, 50, 100]))
    return f"{median} ({low} .. {high})"


if __name__ == "__main__":
    main()
