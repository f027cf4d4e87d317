"""Tiny data sets for tests, with exact quads: dark bars on light paper, drawn receipts."""

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dbnet.synthetic.dataset import draw_receipt


def write(path: Path, content: object) -> None:
    """Write bytes, text, or anything else as JSON, and make the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")


def write_image(path: Path, size: tuple[int, int] = (100, 50), **options) -> None:
    """Write a black image of (width, height), and make the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path, **options)


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder by their relative names."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


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


def write_receipt_windows(root: Path, *, count: int, size: int) -> Path:
    """UFO layout with (size, size) windows of drawn receipts; train and val are the same.

    Words that the window cuts are illegible.
    """
    words_of = {}
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
    for index in range(count):
        image, quads, texts = draw_receipt(np.random.default_rng(index))
        x0, y0 = np.median([quad.mean(axis=0) for quad in quads], axis=0).astype(int) - size // 2
        x0, y0 = np.clip([x0, y0], 0, [image.shape[1] - size, image.shape[0] - size])
        window = image[y0 : y0 + size, x0 : x0 + size]
        words = {}
        for number, (quad, text) in enumerate(zip(quads, texts, strict=True)):
            quad = quad - np.float32([x0, y0])
            if (quad.max(axis=0) < 0).any() or (quad.min(axis=0) > size).any():
                continue
            cut = bool(quad.min() < 0 or quad.max() > size - 1)
            words[f"{number:04d}"] = {
                "points": quad.tolist(),
                "transcription": text,
                "illegibility": cut,
            }
        name = f"receipt_{index}.png"
        words_of[name] = {"words": words}
        for split in ("train", "val"):
            cv2.imwrite(str(root / "images" / split / name), window[:, :, ::-1])
    (root / "jsons").mkdir()
    for split in ("train", "val"):
        text = json.dumps({"images": words_of})
        (root / "jsons" / f"{split}.json").write_text(text, encoding="utf-8")
    return root
