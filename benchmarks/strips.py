"""Images of unusual scale: receipts stitched to strips, on a large photo, and close-ups of them.

python -m benchmarks.strips --root ROOT [--weights FILE] [--images 20] [--counts 5 10]

Receipts of the validation split are scored as they are; then stacked to strips of 5 and of 10, and
pasted into a photo of four times their sides, each of these fitted into the network's size
(`--tile off`) and at the scale that the text needs (`--tile auto`). Strips keep the receipts' own
pixels: narrower receipts are centred on white. These rows hold the same texts, so that they can be
compared. Last come close-ups: squares of a half and a quarter of each receipt's longest side, where
texts that the border cuts are ignored. Detections are scored as their smallest rectangles.

"cut": annotated texts inside which two or more detections lie. "doubled": pairs of detections of
which one lies inside the other by half. Both also count what the network does without any seam, as
the rows of single receipts show. CPU seconds add up over threads.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from benchmarks.arguments import positive
from dbnet import Detector, geometry
from dbnet.data.annotations.scan import load_records
from dbnet.data.images import decode_image
from dbnet.metrics import build_metrics
from dbnet.metrics.quads import AsQuads
from dbnet.reporting.tables import table
from dbnet.settings import CLEvalConfig, MetricConfig

WHITE = 255
PHOTO = 4  # times the sides of the receipt
CLOSE_UPS = {"a half": 1 / 2, "a quarter": 1 / 4}  # of the longest side
HEAD = ["CLEval R", "CLEval P", "IoU R", "IoU P", "cut", "doubled", "CPU s per receipt"]


class Scene(NamedTuple):
    """An image with its true texts."""

    image: np.ndarray  # uint8 (H, W, 3)
    polygons: list[np.ndarray]  # n x float32 (P, 2), pixels of the image
    ignored: np.ndarray  # bool (n,)
    texts: list[str]  # n


def main() -> None:
    args = parse_args()
    records = load_records(args.root, "val", format="auto")[0][: args.images]
    receipts = [Scene(decode_image(r.image_path), r.polygons, r.ignored, r.texts) for r in records]
    fitted = Detector(args.weights, tile="off", max_candidates=5000)
    tiled = Detector(args.weights, tile="auto")
    print(f"receipts: {len(receipts)}; {tiled.description}", flush=True)
    rows = [row("single", fitted, receipts, len(receipts))]
    for count in args.counts:
        strips = [stack(receipts[i : i + count]) for i in range(0, len(receipts), count)]
        rows.append(row(f"{count} in a strip, fitted", fitted, strips, len(receipts)))
        rows.append(row(f"{count} in a strip, --tile auto", tiled, strips, len(receipts)))
    if photos := [on_photo(receipt) for receipt in receipts[: args.photos]]:
        first, single = f"first {len(photos)}", receipts[: len(photos)]
        rows.append(row(f"{first}, single", fitted, single, len(photos)))
        rows.append(row(f"{first}, on a photo, fitted", fitted, photos, len(photos)))
        rows.append(row(f"{first}, on a photo, --tile auto", tiled, photos, len(photos)))
    for name, share in CLOSE_UPS.items():
        parts = [close_up(receipt, share) for receipt in receipts]
        rows.append(row(f"{name} of each, fitted", fitted, parts, len(parts)))
        rows.append(row(f"{name} of each, --tile auto", tiled, parts, len(parts)))
    print(table(["", *HEAD], rows))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="data set with a val split")
    parser.add_argument("--weights", type=Path, help=".pt or .onnx; the released ones if left out")
    parser.add_argument("--images", type=positive, default=20, help="receipts, the first ones")
    parser.add_argument("--counts", type=positive, nargs="+", default=[5, 10], help="in a strip")
    parser.add_argument("--photos", type=int, default=12, help="receipts to paste into photos")
    return parser.parse_args()


def stack(receipts: Sequence[Scene]) -> Scene:
    """The receipts below one another, each centred on white, in their own pixels."""
    width = max(r.image.shape[1] for r in receipts)
    images, polygons, top = [], [], 0
    for image, outlines, _, _ in receipts:
        left = (width - image.shape[1]) // 2
        right = width - image.shape[1] - left
        images.append(
            cv2.copyMakeBorder(image, 0, 0, left, right, cv2.BORDER_CONSTANT, value=[WHITE] * 3)
        )
        polygons += [(p + np.array([left, top])).astype(np.float32) for p in outlines]
        top += image.shape[0]
    ignored = np.concatenate([r.ignored for r in receipts])
    return Scene(np.vstack(images), polygons, ignored, [t for r in receipts for t in r.texts])


def on_photo(receipt: Scene) -> Scene:
    """The receipt in the middle of a grey table top with grain, PHOTO times its sides."""
    height, width = receipt.image.shape[:2]
    noise = np.random.default_rng(0).integers(-12, 13, (PHOTO * height, PHOTO * width, 1))
    image = np.repeat(110 + noise, 3, axis=2).astype(np.uint8)
    top, left = (PHOTO - 1) * height // 2, (PHOTO - 1) * width // 2
    image[top : top + height, left : left + width] = receipt.image
    polygons = [(p + np.array([left, top])).astype(np.float32) for p in receipt.polygons]
    return receipt._replace(image=image, polygons=polygons)


def close_up(receipt: Scene, share: float) -> Scene:
    """The middle of the receipt, in a square of `share` of its longest side."""
    height, width = receipt.image.shape[:2]
    side = round(share * max(height, width))
    rows, columns = min(side, height), min(side, width)
    top, left = (height - rows) // 2, (width - columns) // 2
    image = receipt.image[top : top + rows, left : left + columns]
    last = np.array([columns - 1, rows - 1])
    polygons, ignored, texts = [], [], []
    for outline, mark, text in zip(receipt.polygons, receipt.ignored, receipt.texts, strict=True):
        moved = outline - np.array([left, top])
        inside = np.clip(moved, 0, last).astype(np.float32)
        if np.ptp(inside, axis=0).min() >= 2:
            polygons.append(inside)
            ignored.append(bool(mark) or bool((inside != moved).any()))
            texts.append(text)
    return Scene(np.ascontiguousarray(image), polygons, np.array(ignored, bool), texts)


def row(name: str, detector: Detector, scenes: Sequence[Scene], receipts: int) -> list[str]:
    started = time.process_time()
    found = [detector(scene.image) for scene in scenes]
    seconds = (time.process_time() - started) / receipts
    settings = MetricConfig(cleval=CLEvalConfig(max_polygons=5000))
    figures = []
    for metric in map(AsQuads, build_metrics(settings).values()):
        for scene, each in zip(scenes, found, strict=True):
            metric.update_batch(
                [each.polygons],
                [scene.polygons],
                [scene.ignored],
                [scene.texts],
                [scene.image.shape[:2]],
            )
        result = metric.compute()
        figures += [f"{result['recall']:.4f}", f"{result['precision']:.4f}"]
    pairs = [(scene.polygons, list(each.quads)) for scene, each in zip(scenes, found, strict=True)]
    cut = sum(count_cut(true, quads) for true, quads in pairs)
    doubled = sum(count_doubled(quads) for _, quads in pairs)
    return [name, *figures, str(cut), str(doubled), f"{seconds:.2f}"]


def count_cut(true: list[np.ndarray], found: list[np.ndarray]) -> int:
    """Annotated texts with two or more detections that lie inside them by at least 0.7."""
    inside = shares(found, true) >= 0.7
    return int((inside.sum(axis=0) >= 2).sum())


def count_doubled(found: list[np.ndarray]) -> int:
    """Pairs of detections of which one lies inside the other by half."""
    overlap = shares(found, found) >= 0.5
    np.fill_diagonal(overlap, False)
    return int((overlap | overlap.T).sum() // 2)


def shares(first: list[np.ndarray], second: list[np.ndarray]) -> np.ndarray:
    """Share of each of n convex outlines that lies in each of m others: (n, m), 0..1."""
    result = np.zeros((len(first), len(second)))
    if not first or not second:
        return result
    low = np.array([p.min(axis=0) for p in second])  # (m, 2)
    high = np.array([p.max(axis=0) for p in second])
    for index, outline in enumerate(first):
        area = max(float(cv2.contourArea(outline.astype(np.float32))), 1.0)
        touches = (outline.max(axis=0) > low).all(axis=1) & (outline.min(axis=0) < high).all(axis=1)
        for other in np.flatnonzero(touches):
            quad = geometry.min_area_quads([second[other]])[0]
            common, _ = cv2.intersectConvexConvex(outline.astype(np.float32), quad)
            result[index, other] = common / area
    return result


if __name__ == "__main__":
    main()
