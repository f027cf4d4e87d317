"""Post-processing against the reference, in turn, on the same maps.

python -m benchmarks.postprocess [--root ROOT] [--images N]
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.arguments import positive
from benchmarks.oracle import MODES, data_root, kernel_map, load_texts
from configs import Config
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.reference.postprocess import difference, postprocess
from dbnet.settings import PostprocessConfig, TargetsConfig

CORNERS, SCORES = 1e-3, 1e-6  # what may differ, in pixels and as probability
SHRINK_RATIO = TargetsConfig().shrink_ratio


def soft_map(polygons: list[np.ndarray], size: int) -> np.ndarray:
    """Kernels as in the map of a network: below 1 inside, with soft edges."""
    return 0.95 * cv2.GaussianBlur(kernel_map(polygons, size), (0, 0), 0.7)


def speck_map(size: int) -> np.ndarray:
    """10,000 specks of 3 x 3 pixels."""
    prob_map = np.zeros((size, size), np.float32)
    y, x = np.mgrid[0:100, 0:100] * (size // 100) + 1
    for dy, dx in np.ndindex(3, 3):
        prob_map[y + dy, x + dx] = 0.9
    return prob_map


def clock(call: Callable[[], object]) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def compare(name: str, maps: list[np.ndarray], cfg: PostprocessConfig, repeats: int) -> None:
    """One row: milliseconds per map of both (median, quartiles), their ratio, differences."""
    ours = DBPostprocessor(cfg, shrink_ratio=SHRINK_RATIO)
    settings = vars(cfg) | {"shrink_ratio": SHRINK_RATIO}
    found, differences = 0, np.zeros(2)
    for prob_map in maps:
        detections = ours(prob_map)
        found += len(detections.polygons)
        other = difference(detections, postprocess(prob_map, **settings))
        differences = np.maximum(differences, other)
    equal = "equal" if (differences <= [CORNERS, SCORES]).all() else "NOT EQUAL"
    times = np.array(
        [
            [
                np.mean([clock(lambda m=m: ours(m)) for m in maps]),
                np.mean([clock(lambda m=m: postprocess(m, **settings)) for m in maps]),
            ]
            for _ in range(repeats)
        ]
    )
    (a, low_a, high_a), (b, low_b, high_b) = np.percentile(times, [50, 25, 75], axis=0).T
    print(
        f"{name:22} {found / len(maps):6.1f}  {a:7.2f} ({low_a:.2f}-{high_a:.2f})"
        f"  {b:7.2f} ({low_b:.2f}-{high_b:.2f})  {np.median(times[:, 1] / times[:, 0]):5.1f}x"
        f"  {equal}: {differences[0]:.0e} px, {differences[1]:.0e}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="data set; without it, receipts are drawn")
    parser.add_argument("--images", type=positive, default=20)
    parser.add_argument("--image-size", type=positive, default=640)
    parser.add_argument("--repeats", type=positive, default=15)
    args = parser.parse_args()
    cv2.setNumThreads(1)

    cfg, size = Config(), args.image_size
    texts = list(load_texts(data_root(args.root, args.images), size, args.images))
    hard = [kernel_map(polygons, size) for polygons in texts]
    soft = [soft_map(polygons, size) for polygons in texts]
    print("maps                    found  ours, ms           reference, ms        ratio")
    for mode, use_polygon in MODES.items():
        settings = replace(cfg.postprocess, use_polygon=use_polygon)
        compare(f"kernels, {mode}", hard, settings, args.repeats)
        compare(f"soft kernels, {mode}", soft, settings, args.repeats)
        compare(f"10,000 specks, {mode}", [speck_map(size)], settings, 3)
        compare(f"all white, {mode}", [np.ones((size, size), np.float32)], settings, 3)


if __name__ == "__main__":
    main()
