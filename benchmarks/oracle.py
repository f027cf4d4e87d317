"""Accuracy of polygons -> target maps -> polygons, without a network.

python -m benchmarks.oracle [--root ROOT] [--image-size 640 1024]

IoU of each text with the detection that overlaps it most, 0 where there is none.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import shapely

from benchmarks.arguments import positive
from configs import Config
from dbnet import geometry
from dbnet.data import images
from dbnet.data.annotations import scan as annotations
from dbnet.data.targets import MIN_SIDE, make_targets
from dbnet.data.transforms import letterbox
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.synthetic import dataset as synthetic

UNCLIP = {"1.5": 1.5, "2.0": 2.0, "exact": None}
MODES = {"box": False, "polygon": True}


def data_root(root: Path | None, count: int) -> Path:
    """The given data set, or drawn receipts."""
    return root or synthetic.build(Config().data.drawn_dir, train=0, val=count, seed=0, workers=0)


def load_texts(root: Path, size: int, count: int) -> Iterator[list[np.ndarray]]:
    """Legible validation texts of up to `count` images, as the network sees them."""
    records, _ = annotations.load_records(root, "val", format="auto")
    for record in records[:count]:
        matrix = letterbox(images.image_size(record.image_path), size)
        polygons = geometry.transform(record.polygons, matrix)
        yield [p for p, ignored in zip(polygons, record.ignored, strict=True) if not ignored]


def draw_texts(kind: str, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Texts 8 to 20 pixels high that do not touch, at random places of a page."""
    height = rng.uniform(8, 20, 200)
    aspect = rng.uniform(1.5, 5, 200) if "words" in kind else rng.uniform(6, 16, 200)
    taken = np.zeros((size, size), np.uint8)
    texts = []
    for h, w in zip(height, aspect * height, strict=True):
        if "curved" in kind:
            bend = np.linspace(-0.5, 0.5, 8) * rng.uniform(0.5, 2.2)
            arc = np.stack([np.sin(bend), -np.cos(bend)], axis=1)
            radius = w / (bend[-1] - bend[0])
            polygon = np.vstack([arc * (radius + h / 2), arc[::-1] * (radius - h / 2)])
            polygon -= arc[[0, -1]].mean(axis=0) * radius
        else:
            polygon = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
        angle = 0.0 if "straight" in kind else rng.uniform(0, 2 * np.pi)
        cos, sin = np.cos(angle), np.sin(angle)
        polygon = polygon @ np.array([[cos, sin], [-sin, cos]]) + rng.uniform(0, size, 2)
        mask = cv2.fillPoly(np.zeros_like(taken), [polygon.round().astype(np.int32)], 1)
        inside = polygon.min() >= 0 and polygon.max() <= size - 1
        if inside and not (taken & mask).any():
            taken |= cv2.dilate(mask, np.ones((5, 5), np.uint8))
            texts.append(polygon.astype(np.float32))
    return texts


def best_iou(truths: list[np.ndarray], detections: list[np.ndarray]) -> np.ndarray:
    """IoU of each truth with its best detection, (n,)."""
    truth = shapely.make_valid([shapely.Polygon(polygon) for polygon in truths])
    found = shapely.make_valid([shapely.Polygon(polygon) for polygon in detections])
    best = np.zeros(len(truths))
    i, j = shapely.STRtree(found).query(truth)
    shared = shapely.area(shapely.intersection(truth[i], found[j]))
    np.maximum.at(best, i, shared / (shapely.area(truth[i]) + shapely.area(found[j]) - shared))
    return best


def kernel_map(polygons: list[np.ndarray], size: int) -> np.ndarray:
    """The probability map of a network without errors, float32 (size, size)."""
    ignored = np.zeros(len(polygons), bool)
    maps = make_targets(polygons, ignored, size, size, **vars(Config().targets))
    return maps.shrink_map.astype(np.float32)


def report(name: str, pages: list[list[np.ndarray]], size: int) -> None:
    """One row per mode and offset."""
    cfg = Config()
    pages = [[p for p in page if min(cv2.minAreaRect(p)[1]) >= MIN_SIDE] for page in pages]
    pages = [page for page in pages if page]
    maps = [kernel_map(page, size) for page in pages]
    for mode, use_polygon in MODES.items():
        for unclip, unclip_ratio in UNCLIP.items():
            settings = replace(cfg.postprocess, use_polygon=use_polygon, unclip_ratio=unclip_ratio)
            postprocess = DBPostprocessor(settings, shrink_ratio=cfg.targets.shrink_ratio)
            ious = [
                best_iou(page, postprocess(prob_map).polygons)
                for page, prob_map in zip(pages, maps, strict=True)
            ]
            iou = np.concatenate(ious)
            shares = [(iou > 0.7).mean(), (iou > 0.9).mean()]
            print(
                f"{name:18} {size:5} {mode:8} {unclip:7} {iou.mean():.4f}  "
                f"{shares[0]:7.2%}  {shares[1]:7.2%}  {len(iou):6}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="data set; without it, receipts are drawn")
    parser.add_argument("--image-size", type=positive, nargs="+", default=[640, 1024])
    parser.add_argument("--images", type=positive, default=100)
    args = parser.parse_args()

    root = data_root(args.root, args.images)
    print("texts               size mode     unclip    mean    > 0.7    > 0.9   texts")
    for size in args.image_size:
        report(
            "data set" if args.root else "drawn receipts",
            list(load_texts(root, size, args.images)),
            size,
        )
    for kind in (
        "straight lines",
        "straight words",
        "rotated lines",
        "rotated words",
        "curved lines",
    ):
        rng = np.random.default_rng(0)
        report(kind, [draw_texts(kind, 640, rng) for _ in range(10)], 640)


if __name__ == "__main__":
    main()
