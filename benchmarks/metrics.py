"""The metrics' time per image: the published CLEval and a plain IoU loop against ours, in turn.

    python -m benchmarks.metrics [--root ROOT] [--images N] [--repeats 5]

Without --root, receipts are drawn. Detections are made from the annotation: jittered, split,
merged, doubled, dropped, and false ones. In every repeat each implementation goes over all images
once. Times are CPU times of one process: for each image the best of the repeats, then the median
and the 10 % and 90 % quantiles over the images. All counts are compared; a difference is an error.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.arguments import positive
from dbnet.data.annotations.scan import load_records
from dbnet.geometry import min_area_quad
from dbnet.metrics.cleval import CLEval
from dbnet.metrics.iou import IoUMetric
from dbnet.reference import iou as reference_iou
from dbnet.settings import CLEvalConfig, IoUConfig
from dbnet.synthetic.dataset import draw_receipt

try:
    from dbnet.reference import cleval_package
except ImportError:
    cleval_package = None

Scene = tuple[list[np.ndarray], list[np.ndarray], np.ndarray, list[str]]
Update = Callable[..., dict[str, float]]


def main() -> None:
    args = parse_args()
    rng = np.random.default_rng(0)
    scenes = [(detections(gts, rng), gts, *rest) for gts, *rest in annotations(args)]
    sizes = [(len(dets), len(gts), sum(map(len, texts))) for dets, gts, _, texts in scenes]
    dets, gts, chars = np.median(sizes, axis=0)
    print(
        f"images: {len(scenes)}, detections: {dets:.0f}, texts: {gts:.0f}, characters: {chars:.0f}"
    )

    best, results = measure(scenes, args.repeats)
    if cleval_package is None:
        print("cleval is not installed (pip install cleval==0.1.1): ours is compared with nothing")
    report(best, ["cleval 0.1.1", "CLEval", "CLEval, truth reused"])
    report(best, ["IoU double loop", "IoU"])
    compare(results, ["cleval 0.1.1", "CLEval", "CLEval, truth reused"])
    compare(results, ["IoU double loop", "IoU"])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="data set; without it, receipts are drawn")
    parser.add_argument("--images", type=positive, default=100, help="of its validation split")
    parser.add_argument("--repeats", type=positive, default=5, help="runs of which the best counts")
    return parser.parse_args()


def annotations(args: argparse.Namespace) -> list[tuple[list[np.ndarray], np.ndarray, list[str]]]:
    """Quads (the package knows no others), which are ignored, and texts of each image."""
    if args.root is None:
        drawn = [draw_receipt(np.random.default_rng(seed)) for seed in range(args.images)]
        return [(quads, np.zeros(len(quads), bool), texts) for _, quads, texts in drawn]
    records, _ = load_records(args.root, "val", format="auto")
    return [
        ([p if len(p) == 4 else min_area_quad(p) for p in r.polygons], r.ignored, r.texts)
        for r in records[: args.images]
    ]


def detections(gts: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Detections as of a detector with errors, made from these texts."""
    found = []
    for quad, following in zip(gts, [*gts[1:], None], strict=True):
        height = np.linalg.norm(quad[3] - quad[0])
        kind = rng.choice(["found", "dropped", "split", "merged"], p=[0.74, 0.08, 0.1, 0.08])
        if kind == "split":
            cut = rng.uniform(0.3, 0.7)
            top, bottom = quad[0] + (quad[1] - quad[0]) * cut, quad[3] + (quad[2] - quad[3]) * cut
            found += [np.stack([quad[0], top, bottom, quad[3]])]
            found += [np.stack([top, quad[1], quad[2], bottom])]
        elif kind == "merged" and following is not None:
            found.append(min_area_quad(np.concatenate([quad, following])))
        elif kind == "found":
            found.append(quad)
        if rng.random() < 0.05:  # a second detection, shifted
            found.append(quad + rng.normal(0, 0.1 * height, 2))
        if rng.random() < 0.05:  # a false detection
            found.append(quad + rng.normal(0, 5 * height, 2))
    jittered = [quad + rng.normal(0, 1, (4, 2)) for quad in found]
    return [jittered[i].astype(np.float32) for i in rng.permutation(len(jittered))]


def measure(
    scenes: list[Scene], repeats: int
) -> tuple[dict[str, np.ndarray], dict[str, list[dict[str, float]]]]:
    """Best seconds of each image, and its results, by contender. One repeat more warms up."""
    seconds: dict[str, list[list[float]]] = {}
    results: dict[str, list[dict[str, float]]] = {}
    for _ in range(repeats + 1):
        ours = CLEval(CLEvalConfig())
        contenders: dict[str, Update] = {
            "CLEval": ours.update,
            "CLEval, truth reused": ours.update,
            "IoU double loop": iou_double_loop,
            "IoU": IoUMetric(IoUConfig()).update,
        }
        if cleval_package is not None:
            contenders = {"cleval 0.1.1": cleval_package.evaluate, **contenders}
        for name, update in contenders.items():
            times, results[name] = [], []
            for scene in scenes:
                start = time.process_time()
                results[name].append(update(*scene))
                times.append(time.process_time() - start)
            seconds.setdefault(name, []).append(times)
    return {name: np.min(runs[1:], axis=0) for name, runs in seconds.items()}, results


def iou_double_loop(
    dets: list[np.ndarray], gts: list[np.ndarray], ignored: np.ndarray, texts: list[str]
) -> dict[str, int]:
    return reference_iou.evaluate(dets, gts, ignored, iou_thresh=IoUConfig().iou_thresh)


def report(best: dict[str, np.ndarray], names: list[str]) -> None:
    """Milliseconds, and how many times faster than the first one, image by image."""
    for name in filter(best.__contains__, names):
        low, median, high = np.percentile(1e3 * best[name], [10, 50, 90])
        line = f"{name:22}{median:8.2f} ms ({low:.2f} .. {high:.2f})"
        if names[0] in best:
            low, median, high = np.percentile(best[names[0]] / best[name], [10, 50, 90])
            line += f"{median:8.1f}x ({low:.1f} .. {high:.1f})"
        print(line)


def compare(results: dict[str, list[dict[str, float]]], names: list[str]) -> None:
    """Equal counts for every image, or AssertionError."""
    expected, *others = [name for name in names if name in results]
    for name in others:
        for index, (one, two) in enumerate(zip(results[expected], results[name], strict=True)):
            counts = [
                key for key in one if key in two and key not in ("precision", "recall", "hmean")
            ]
            different = {key: (one[key], two[key]) for key in counts if one[key] != two[key]}
            assert not different, f"image {index}, {expected} against {name}: {different}"
        print(f"{expected} = {name}: {len(counts)} counts are equal on every image")


if __name__ == "__main__":
    main()
