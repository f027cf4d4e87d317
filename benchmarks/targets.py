"""Target maps: reference against make_targets against a warm cache, in turn, on the same images.

    python -m benchmarks.targets [--root ROOT] [--images N] [--image-size 640] [--repeats 7]

Without --root, receipts are drawn. Times are of one process on one thread: for each image the best
of the repeats, then the median and the quartiles over the images.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.arguments import positive
from dbnet.data.annotations.scan import load_records
from dbnet.data.images import image_size
from dbnet.data.storage.caches import TargetCache
from dbnet.data.targets import make_targets
from dbnet.data.transforms import letterbox
from dbnet.geometry import transform
from dbnet.reference import targets as reference
from dbnet.settings import TargetsConfig
from dbnet.structures import TargetMaps
from dbnet.synthetic import dataset as synthetic

PARAMETERS = vars(TargetsConfig())
TOLERANCE = 1e-4  # of the threshold map
PIXELS = 1e-3  # share of pixels in which a binary map may differ

Texts = tuple[list[np.ndarray], np.ndarray]


def main() -> None:
    args = parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        images = load(args.root or drawn(Path(folder), args.images), args.images, args.image_size)
        cache = TargetCache(folder=Path(folder) / "cache", targets=TargetsConfig(**PARAMETERS))
        makers = {
            "reference": lambda *a: reference.make_targets(*a, **PARAMETERS),
            "make_targets": lambda *a: make_targets(*a, **PARAMETERS),
            "cache, warm": cache,
        }
        check(images, args.image_size, makers)
        seconds = measure(images, args.image_size, args.repeats, makers)
        stored = cache.counts().bytes_stored / len(images)
    texts = np.mean([len(polygons) for polygons, _ in images])
    print(f"images: {len(images)}, pixels: {args.image_size}, texts on average: {texts:.0f}")
    for name, best in seconds.items():
        low, median, high = np.percentile(1e3 * best, [25, 50, 75])
        ratio = np.median(seconds["reference"] / best)
        print(f"{name:14}{median:8.2f} ms ({low:.2f} .. {high:.2f}){ratio:8.1f}x")
    print(f"an entry of the cache takes {stored / 1000:.0f} kB")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="data set; without it, receipts are drawn")
    parser.add_argument("--images", type=positive, default=40, help="of its validation split")
    parser.add_argument("--image-size", type=positive, default=640, help="longest side in pixels")
    parser.add_argument("--repeats", type=positive, default=7, help="runs of which the best counts")
    return parser.parse_args()


def drawn(folder: Path, images: int) -> Path:
    return synthetic.build(folder, train=0, val=images, seed=0, workers=0)


def load(root: Path, images: int, size: int) -> list[Texts]:
    """Polygons at the network's input, and which of them are ignored."""
    records, _ = load_records(root, "val", format="auto")
    loaded = []
    for record in records[:images]:
        matrix = letterbox(image_size(record.image_path), size)
        loaded.append((transform(record.polygons, matrix), record.ignored))
    return loaded


def check(images: list[Texts], size: int, makers: dict[str, Callable[..., TargetMaps]]) -> None:
    """All agree, or AssertionError. Fills the cache on the way."""
    worst_error, worst_share = 0.0, 0.0
    half_step = (PARAMETERS["thresh_max"] - PARAMETERS["thresh_min"]) / 510
    for polygons, ignored in images:
        expected, ours, cached = (make(polygons, ignored, size, size) for make in makers.values())
        error = np.abs(ours.thresh_map - expected.thresh_map).max()
        share = max(
            np.mean(getattr(ours, name) != getattr(expected, name))
            for name in ("shrink_map", "shrink_mask", "thresh_mask")
        )
        assert error <= TOLERANCE and share <= PIXELS, (error, share)
        assert np.abs(cached.thresh_map - ours.thresh_map).max() <= half_step + 1e-6
        assert all(np.array_equal(cached[i], ours[i]) for i in (0, 1, 3))
        worst_error, worst_share = max(worst_error, error), max(worst_share, share)
    print(f"equal: threshold map within {worst_error:.0e}, binary maps {worst_share:.0e} of pixels")


def measure(
    images: list[Texts], size: int, repeats: int, makers: dict[str, Callable[..., TargetMaps]]
) -> dict[str, np.ndarray]:
    """Best seconds of each image. The makers take turns from image to image."""
    best = {name: np.full(len(images), np.inf) for name in makers}
    for index, (polygons, ignored) in enumerate(images):
        for name, make in makers.items():
            for _ in range(repeats):
                start = time.perf_counter()
                make(polygons, ignored, size, size)
                best[name][index] = min(best[name][index], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
