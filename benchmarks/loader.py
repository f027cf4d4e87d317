"""Images per second of the loader alone: full and reduced decoding, in turn.

    python -m benchmarks.loader [--images 48] [--image-size 640] [--workers 1 2] [--repeats 5]

Two kinds of JPEG: drawn receipts as they are, about 1200 pixels high, and the same at 3500 x 2500,
as scanners and phones make them. Target maps are drawn, nothing is cached. In every repeat both
ways go over all images once; the first repeat warms up. The table gives the median, the smallest
and the largest of the repeats, and the ratio of the medians. Then the computed number of cores that
eight GPUs need.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.arguments import positive
from configs import Config
from dbnet.data.collate import Collate, drawn_maps
from dbnet.data.dataset import DetectionDataset
from dbnet.data.samples import load_sample
from dbnet.data.transforms import EvalTransform, Geometry, TrainTransform
from dbnet.data.workers import make_loader
from dbnet.settings import AugmentConfig, TargetsConfig
from dbnet.structures import Record, Sample
from dbnet.synthetic.dataset import draw_receipt

GPUS, IMAGES_PER_SECOND = 8, 300  # of each GPU


def main() -> None:
    args = parse_args()
    augment = AugmentConfig(scale=(0.7, 1.4), rotate=4.0)
    transforms = {
        "eval": EvalTransform(image_size=args.image_size),
        "train": TrainTransform(augment, image_size=args.image_size),
    }
    ways = {"full": load_full, "reduced": load_sample}
    print("| images | pass | workers | full, images/s | reduced, images/s | ratio |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    per_core: dict[tuple[str, str, str], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, height in (("receipts", None), ("3500 x 2500", 3500)):
            records = write_images(Path(folder) / kind, args.images, height)
            for name, transform in transforms.items():
                for workers in args.workers:
                    rates = measure(records, ways, transform, workers, args.repeats)
                    cells = [f"{np.median(r):.1f} ({min(r):.1f} .. {max(r):.1f})" for r in rates]
                    ratio = np.median(rates[1]) / np.median(rates[0])
                    line = [kind, name, str(workers), *cells, f"{ratio:.2f}x"]
                    print(f"| {' | '.join(line)} |", flush=True)
                    if workers == min(args.workers):
                        for way, rate in zip(ways, rates, strict=True):
                            per_core[kind, name, way] = np.median(rate) / max(workers, 1)
    print(f"\nCores for {GPUS} GPUs at {IMAGES_PER_SECOND} images/s each, if all scale as one:\n")
    print("| images | pass | full | reduced |\n| --- | --- | ---: | ---: |")
    for kind, name in dict.fromkeys(key[:2] for key in per_core):
        cores = [f"{GPUS * IMAGES_PER_SECOND / per_core[kind, name, way]:.0f}" for way in ways]
        print(f"| {kind} | {name} | {' | '.join(cores)} |")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=positive, default=48)
    parser.add_argument("--image-size", type=positive, default=Config().data.image_size)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=positive, default=5)
    return parser.parse_args()


def load_full(record: Record, geometry: Geometry) -> Sample:
    """Every pixel is decoded."""
    return load_sample(record, lambda size: np.eye(3))


def write_images(folder: Path, count: int, height: int | None) -> list[Record]:
    """Eight different pictures, each under several names."""
    folder.mkdir()
    records = []
    for number in range(min(count, 8)):
        image, quads, texts = draw_receipt(np.random.default_rng(number))
        if height:
            size = (height * 5 // 7, height)
            scale = np.float32(size) / image.shape[1::-1]
            quads = [((quad + 0.5) * scale - 0.5).astype(np.float32) for quad in quads]
            image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
        path = folder / f"{number}.jpg"
        cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        records.append(Record(str(path), path.name, quads, np.zeros(len(quads), bool), texts))
    return [records[i % len(records)] for i in range(count)]


def measure(
    records: list[Record],
    ways: dict[str, Callable[[Record, Geometry], Sample]],
    transform: EvalTransform | TrainTransform,
    workers: int,
    repeats: int,
) -> list[list[float]]:
    """Images per second of each repeat, by way."""
    loaders = [
        make_loader(
            DetectionDataset(records=records, load=load, transform=transform, seed=0),
            Collate(target_maps=partial(drawn_maps, targets=TargetsConfig())),
            shuffle=False,
            batch_size=4,
            num_workers=workers,
            prefetch_factor=2,
            persistent_workers=True,
            pin_memory=False,
        )
        for load in ways.values()
    ]
    rates: list[list[float]] = [[] for _ in loaders]
    for repeat in range(repeats + 1):
        for loader, found in zip(loaders, rates, strict=True):
            loader.sampler.epoch = repeat
            started = time.perf_counter()
            for _ in loader:
                pass
            found.append(len(records) / (time.perf_counter() - started))
    return [found[1:] for found in rates]


if __name__ == "__main__":
    main()
