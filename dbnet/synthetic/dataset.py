"""Receipts drawn from nothing: a data set for those who have none yet.

`draw_receipt` makes one, `build` a folder of them in the UFO layout. No fonts, textures or
downloads are needed; about 30 ms of one core go into an image.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from dbnet.errors import InputError
from dbnet.runtime.files import remove_leftovers, replacing
from dbnet.synthetic.camera import photograph
from dbnet.synthetic.sheet import Level, typeset
from dbnet.synthetic.text import write_receipt

VERSION = 1
"""Part of the folder's name: count it up with every change to what is drawn."""

_STREAMS = {"train": 0, "val": 1}
_START, _COMMENT, _END = b"\xff\xd8", b"\xff\xfe", b"\xff\xd9"  # JPEG markers


def draw_receipt(
    rng: np.random.Generator, *, level: Level = "words"
) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """Draw one receipt, scanned or photographed. The state of `rng` alone decides which.

    Returns the image, uint8 (H, W, 3), RGB, longest side about 900-1400 pixels; one quad a word,
    float32 (4, 2), convex, clockwise from the word's top left, about 1 px outside its ink and
    inside the image; and the words as strings without whitespace, 40 to 200 of them. With `level`
    "lines" the receipt is the same, and words that follow each other closely share one quad.
    """
    length = float(rng.uniform(950, 1400))
    sheet = typeset(write_receipt(rng), rng, length=length, level=level)
    return photograph(sheet, rng, length=length)


def build(
    root: Path, *, train: int, val: int, seed: int, workers: int, level: Level = "words"
) -> Path:
    """Draw a data set in the UFO layout under `root` and return its folder.

    images/{train,val}/drawn_00000.jpg and jsons/{train,val}.json, in a folder named after VERSION,
    the seed, the level and the two counts. Image i of a split depends on VERSION, the seed, the
    split and i alone; images that another count has drawn already are copied. What is there and
    whole stays, so an interrupted call may be repeated, and a complete folder returns at once.
    Several processes may build the same folder at the same time.

    `workers` processes draw; 0 or 1 draws in this one. Raises ValueError for negative numbers.
    """
    for name, value in (("train", train), ("val", val), ("seed", seed), ("workers", workers)):
        if value < 0:
            raise InputError(f"drawn receipts: {name} is {value}, must be 0 or more")
    family = f"v{VERSION}-seed{seed}" + ("-lines" if level == "lines" else "")
    folder = root / f"{family}-train{train}-val{val}"
    remove_leftovers(folder)
    for split, count in (("train", train), ("val", val)):
        names = [f"drawn_{i:05d}.jpg" for i in range(count)]
        notes = _fill(folder / "images" / split, names, family, seed, workers, level)
        entries = ",\n".join(f'"{name}": {note}' for name, note in zip(names, notes, strict=True))
        listing = f'{{"images": {{\n{entries}\n}}}}\n'.encode()
        path = folder / "jsons" / f"{split}.json"
        if not path.is_file() or path.read_bytes() != listing:
            _write(path, listing)
    return folder


def _fill(
    images: Path, names: list[str], family: str, seed: int, workers: int, level: Level
) -> list[str | None]:
    """Copy or draw the images that are missing; the annotations of all."""
    split, root = images.name, images.parents[2]
    notes = [_annotation(images / name) for name in names]
    for i, name in enumerate(names):
        if notes[i] is None:
            for twin in sorted(root.glob(f"{family}-train*-val*/images/{split}/{name}")):
                if _annotation(twin) is not None:
                    _write(images / name, twin.read_bytes())
                    break
            notes[i] = _annotation(images / name)
    missing = [i for i, note in enumerate(notes) if note is None]
    bar = tqdm(missing, f"drawing {split}", unit="receipt", disable=not missing)
    with closing(_draw_all([(seed, split, i, level) for i in missing], workers)) as jpegs:
        for i, jpeg in zip(bar, jpegs, strict=True):
            _write(images / names[i], jpeg)
            notes[i] = _annotation(images / names[i])
    return notes


def _draw_all(
    tasks: list[tuple[int, str, int, Level]], workers: int
) -> Generator[bytes, None, None]:
    """JPEG files in the order of the tasks."""
    if min(workers, len(tasks)) <= 1:
        yield from map(_draw_jpeg, tasks)
        return
    pool = ProcessPoolExecutor(
        min(workers, len(tasks)), multiprocessing.get_context("spawn"), _start_worker
    )
    try:
        yield from pool.map(_draw_jpeg, tasks)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends the pool
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's workers would wait for ever where their parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _draw_jpeg(task: tuple[int, str, int, Level]) -> bytes:
    """A JPEG file that carries its annotation, a JSON object, as its comment."""
    seed, split, index, level = task
    rng = np.random.default_rng([seed, _STREAMS[split], index])
    image, quads, texts = draw_receipt(rng, level=level)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))]
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1].tobytes()
    words = {
        f"{number:04d}": {
            "points": [[round(float(x), 2), round(float(y), 2)] for x, y in quad],
            "transcription": text,
        }
        for number, (quad, text) in enumerate(zip(quads, texts, strict=True), 1)
    }
    height, width = image.shape[:2]
    note = json.dumps(
        {"img_w": width, "img_h": height, "words": words}, ensure_ascii=False
    ).encode()
    return b"".join([_START, _COMMENT, (len(note) + 2).to_bytes(2, "big"), note, jpeg[2:]])


def _annotation(path: Path) -> str | None:
    """The annotation inside a drawn JPEG; None where the file is missing, foreign or cut off."""
    try:
        with path.open("rb") as file:
            head = file.read(6)
            note = file.read(max(0, int.from_bytes(head[4:], "big") - 2))
            file.seek(-2, os.SEEK_END)
            whole = head[:4] == _START + _COMMENT and file.read() == _END
            return note.decode() if whole else None
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, content: bytes) -> None:
    """The file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_bytes(content)
