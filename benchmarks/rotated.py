"""Makes a rotated copy of a data set: receipts as photographed at an angle on a desk.

    python -m benchmarks.rotated --root DIR --out ROTATED [--degrees 25] [--tilt 0.05]
    python evaluate.py --data.root ROTATED --checkpoint FILE

Each validation image is laid on a desk as one sheet: turned by up to `degrees`, its corners moved
by up to `tilt` of its width, half of the sheets bent, and as large as `fill` of the picture. The
annotation goes through the same warp. The same arguments give the same pictures.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.arguments import positive
from dbnet.data.annotations.scan import load_records
from dbnet.data.images import decode_image
from dbnet.reporting.tables import write_json, write_picture
from dbnet.structures import Record
from dbnet.synthetic.camera import Warp, shoot

_ALONG = np.linspace(0, 1, 5, endpoint=False)[:, None]  # points of an edge, which bends


def main() -> None:
    args = parse_args()
    records = load_records(args.root, "val", format="auto")[0][: args.images]
    notes = {}
    for number, record in enumerate(tqdm(records, "photographing", unit="image")):
        rng = np.random.default_rng([7, number])
        picture, polygons = photographed(record, rng, args.degrees, args.tilt, args.fill)
        name = f"{number:05d}.jpg"
        write_picture(args.out / "images" / "val" / name, picture)
        notes[name] = {
            "words": {
                str(index): {
                    "points": np.round(polygon, 2).tolist(),
                    "transcription": text,
                    "illegibility": bool(ignored),
                }
                for index, (polygon, text, ignored) in enumerate(
                    zip(polygons, record.texts, record.ignored, strict=True)
                )
            }
        }
    write_json(args.out / "jsons" / "val.json", {"images": notes})


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="data set to take them from")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--images", type=positive, default=50, help="of its validation split")
    parser.add_argument("--degrees", type=float, default=25, help="largest turn to either side")
    parser.add_argument("--tilt", type=float, default=0.05, help="largest move of a corner")
    parser.add_argument("--fill", type=float, nargs=2, default=(0.7, 0.98), help="share taken")
    return parser.parse_args()


def photographed(
    record: Record, rng: np.random.Generator, degrees: float, tilt: float, fill: tuple[float, float]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The picture, uint8 (H, W, 3), RGB, 1000 to 1700 pixels high or wide, and the polygons."""
    sheet = decode_image(record.image_path)
    height, width = sheet.shape[:2]
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    longer = int(rng.integers(1000, 1700))
    shape = np.array([longer, int(longer * rng.uniform(0.65, 0.9))])
    shape = shape[::-1] if rng.random() < 0.2 else shape

    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    placed = corners @ turn + rng.uniform(-tilt, tilt, (4, 2)) * max(width, 0.6 * height)
    placed -= (placed.min(axis=0) + placed.max(axis=0)) / 2
    placed *= rng.uniform(*fill) * (shape[::-1] / np.ptp(placed, axis=0)).min()
    spare = shape[::-1] - np.ptp(placed, axis=0)
    placed += shape[::-1] / 2 + rng.uniform(-0.4, 0.4, 2) * spare
    warp = Warp(
        cv2.getPerspectiveTransform(corners, placed.astype(np.float32)),
        height=rng.uniform(0, 0.008) * height * (rng.random() < 0.5),
        waves=rng.uniform(2, 6) / width,
        phase=rng.uniform(0, 2 * np.pi),
    )
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.int32(np.round(outline(warp, corners) * 16))], 255, cv2.LINE_8, 4)
    picture = shoot(rng, warp.image(sheet, tuple(shape)), mask)
    return picture, [outline(warp, polygon) for polygon in record.polygons]


def outline(warp: Warp, polygon: np.ndarray) -> np.ndarray:
    """A closed outline carried through the warp, float64 (5 P, 2)."""
    ways = np.roll(polygon, -1, axis=0) - polygon
    return warp.points((polygon[:, None] + _ALONG * ways[:, None]).reshape(-1, 2))


if __name__ == "__main__":
    main()
