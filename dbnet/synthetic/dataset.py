"""Drawn receipts: a data set without any input files.

`draw_receipt` draws one image, `build` a folder of them in the UFO layout. No fonts, textures or
downloads are needed. An image takes about 30 ms of one core. `scene.draw_scene` draws the hard
style: it uses installed fonts and photos if there are any, and takes five times as long.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from dbnet.errors import InputError
from dbnet.runtime.files import remove_leftovers, write_bytes
from dbnet.synthetic.camera import photograph
from dbnet.synthetic.material import NO_FOLDERS, Folders, Material, fingerprint, load_material
from dbnet.synthetic.scene import Scene, draw_scene
from dbnet.synthetic.sheet import Level, typeset
from dbnet.synthetic.text import write_receipt

VERSION = 1
"""Part of the folder's name. Every change to what is drawn needs a new number."""

HARD_VERSION = 4
"""The same number for the hard style."""

Style = Literal["plain", "hard"]
"""plain: `draw_receipt`; hard: `draw_scene`, with what makes real photos difficult."""

_STREAMS = {"train": 0, "val": 1}
_START, _COMMENT, _END = b"\xff\xd8", b"\xff\xfe", b"\xff\xd9"  # JPEG markers
_LONGEST = 65_533  # bytes of a JPEG comment


def draw_receipt(
    rng: np.random.Generator, *, level: Level = "words"
) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """Draw one receipt, scanned or photographed. The state of `rng` alone determines it.

    Returns:
        The image, uint8 (H, W, 3), RGB, longest side about 900 to 1400 pixels; one quad per word,
        float32 (4, 2), convex, clockwise from the word's top left, about 1 pixel around its ink
        and inside the image; the words, 40 to 200 strings without whitespace. With `level`
        "lines", the image is the same, and close words of a line share a quad and a string.
    """
    length = float(rng.uniform(950, 1400))
    sheet = typeset(write_receipt(rng), rng, length=length, level=level)
    return photograph(sheet, rng, length=length)


def build(
    root: Path,
    *,
    train: int,
    val: int,
    seed: int,
    workers: int,
    level: Level = "words",
    style: Style = "plain",
    folders: Folders = NO_FOLDERS,
) -> Path:
    """Draw a data set in the UFO layout under `root` and return its folder.

    The folder is named after VERSION, the seed, the style, the level and the two counts. It holds
    images/{train,val}/drawn_00000.jpg and jsons/{train,val}.json. Image i of a split depends on
    VERSION, the seed, the split, the level and i alone. In the hard style, it also depends on
    HARD_VERSION, the installed fonts and the photos in `folders`; the folder's name holds a
    fingerprint of them. Images that a folder with other counts already has are copied. Complete
    images stay, so that an interrupted call can be repeated. Several processes may build the same
    folder at the same time.

    Args:
        train: number of training images, at least 0.
        val: number of validation images, at least 0.
        seed: at least 0.
        workers: number of processes that draw; with 0 or 1, this process draws.
        level: what gets an outline, words or lines.
        style: see `Style`.
        folders: photos for the hard style.

    Raises:
        InputError: a count, the seed or `workers` is negative.
    """
    for name, value in (("train", train), ("val", val), ("seed", seed), ("workers", workers)):
        if value < 0:
            raise InputError(f"drawn receipts: {name} is {value}, must be 0 or more")
    family = f"v{VERSION}-seed{seed}"
    if style == "hard":
        family += f"-hard{HARD_VERSION}-{fingerprint(folders)}"
    family += "-lines" if level == "lines" else ""
    folder = root / f"{family}-train{train}-val{val}"
    remove_leftovers(folder)
    for split, count in (("train", train), ("val", val)):
        names = [f"drawn_{i:05d}.jpg" for i in range(count)]
        images = folder / "images" / split
        notes, missing = _present(images, names, family)
        if missing:
            material = load_material(folders) if style == "hard" else None
            tasks = _tasks(seed, split, missing, level, material)
            _fill(images, names, notes, tasks, workers)
        entries = ",\n".join(f'"{name}": {note}' for name, note in zip(names, notes, strict=True))
        listing = f'{{"images": {{\n{entries}\n}}}}\n'.encode()
        path = folder / "jsons" / f"{split}.json"
        if not path.is_file() or path.read_bytes() != listing:
            write_bytes(path, listing)
    return folder


def _present(images: Path, names: list[str], family: str) -> tuple[list[str | None], list[int]]:
    """Annotations of the images that exist, and the numbers of those that are missing.

    An image that another folder of the same family already has is copied.
    """
    split, root = images.name, images.parents[2]
    notes = [_annotation(images / name) for name in names]
    for i, name in enumerate(names):
        if notes[i] is None:
            for twin in sorted(root.glob(f"{family}-train*-val*/images/{split}/{name}")):
                if _annotation(twin) is not None:
                    write_bytes(images / name, twin.read_bytes())
                    break
            notes[i] = _annotation(images / name)
    return notes, [i for i, note in enumerate(notes) if note is None]


class _Task(NamedTuple):
    """One image to draw."""

    seed: int
    split: str
    number: int
    level: Level
    material: Material | None  # of the hard style


def _tasks(
    seed: int, split: str, missing: list[int], level: Level, material: Material | None
) -> list[_Task]:
    """One task per missing image, with only the texture and background that it needs."""
    tasks = []
    for index in missing:
        picked = material
        if material is not None:
            picked = material.pick(np.random.default_rng([seed, _STREAMS[split], index, 1]))
        tasks.append(_Task(seed, split, index, level, picked))
    return tasks


def _fill(
    images: Path, names: list[str], notes: list[str | None], tasks: list[_Task], workers: int
) -> None:
    """Draw the images of the tasks and put their annotations into `notes`."""
    bar = tqdm(tasks, f"drawing {images.name}", unit="receipt", leave=False)
    with closing(_draw_all(tasks, workers)) as jpegs:
        for task, jpeg in zip(bar, jpegs, strict=True):
            write_bytes(images / names[task.number], jpeg)
            notes[task.number] = _annotation(images / names[task.number])


def _draw_all(tasks: list[_Task], workers: int) -> Generator[bytes, None, None]:
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it and ends the pool
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when the parent has ended: after a kill it would otherwise wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _draw_jpeg(task: _Task) -> bytes:
    """A JPEG file that carries its annotation, a JSON object, as its comments."""
    rng = np.random.default_rng([task.seed, _STREAMS[task.split], task.number])
    if task.material is None:
        image, polygons, texts = draw_receipt(rng, level=task.level)
        scene = Scene(image, polygons, [False] * len(texts), texts)
    else:
        scene = draw_scene(rng, task.material, level=task.level)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))]
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR), quality)[1].tobytes()
    height, width = scene.image.shape[:2]
    words = {f"{number:04d}": word for number, word in enumerate(_words(scene), 1)}
    note = json.dumps({"img_w": width, "img_h": height, "words": words}, ensure_ascii=False)
    return b"".join([_START, *_comments(note.encode()), jpeg[2:]])


def _words(scene: Scene) -> Iterator[dict[str, Any]]:
    """The texts of a scene as UFO words."""
    for polygon, ignored, text in zip(scene.polygons, scene.ignored, scene.texts, strict=True):
        word: dict[str, Any] = {
            "points": [[round(float(x), 2), round(float(y), 2)] for x, y in polygon],
            "transcription": text,
        }
        yield word | {"illegibility": True} if ignored else word


def _comments(note: bytes) -> Iterator[bytes]:
    """The note as JPEG comment segments of the largest possible size."""
    for first in range(0, len(note), _LONGEST):
        part = note[first : first + _LONGEST]
        yield _COMMENT + (len(part) + 2).to_bytes(2, "big") + part


def _annotation(path: Path) -> str | None:
    """The annotation inside a drawn JPEG; None where the file is missing, foreign or cut off."""
    try:
        with path.open("rb") as file:
            start, note = file.read(2), b""
            while (head := file.read(4))[:2] == _COMMENT:
                note += file.read(max(0, int.from_bytes(head[2:], "big") - 2))
            file.seek(-2, os.SEEK_END)
            whole = start == _START and note and file.read() == _END
            return note.decode() if whole else None
    except (OSError, UnicodeDecodeError):
        return None
