"""Tiny data sets for tests: dark words on light paper, with exact quads."""

import json
from pathlib import Path

import cv2
import numpy as np


def draw_page(
    rng: np.random.Generator, height: int = 160, width: int = 128, lines: int = 4
) -> tuple[np.ndarray, list[np.ndarray]]:
    """uint8 (H, W, 3) RGB and one quad float32 (4, 2) per dark bar."""
    image = np.full((height, width, 3), 235, np.uint8)
    quads = []
    pitch = height // lines
    for row in range(lines):
        x = int(rng.integers(6, width // 4))
        y = row * pitch + int(rng.integers(3, 8))
        w, h = int(rng.integers(width // 3, width // 2)), int(rng.integers(14, 20))
        cv2.rectangle(image, (x, y), (x + w, y + h), (40, 40, 40), -1)
        quads.append(np.float32([[x, y], [x + w, y], [x + w, y + h], [x, y + h]]))
    return image, quads


def write_dataset(root: Path, *, train: int, val: int, seed: int = 0) -> Path:
    """UFO layout with `draw_page` pages; PNG, so that pixels are exact."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        entries = {}
        folder = root / "images" / split
        folder.mkdir(parents=True)
        for index in range(count):
            image, quads = draw_page(rng)
            name = f"page_{index}.png"
            cv2.imwrite(str(folder / name), image)
            words = {
                f"{n:04d}": {"points": quad.tolist(), "transcription": "word"}
                for n, quad in enumerate(quads)
            }
            entries[name] = {"words": words}
        (root / "jsons").mkdir(exist_ok=True)
        (root / "jsons" / f"{split}.json").write_text(json.dumps({"images": entries}))
    return root
