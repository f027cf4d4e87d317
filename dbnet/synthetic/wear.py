"""Print and wear of a hard receipt: faint ink, show-through, stamps, handwriting."""

from collections.abc import Collection

import cv2
import numpy as np

from dbnet.synthetic.degradations import cloud, paper, print_ink, scribble, stamp, times
from dbnet.synthetic.graphics import pen_stroke
from dbnet.synthetic.sheet import Sheet

_INKS = ((30, 30, 45), (25, 45, 150), (20, 60, 170), (170, 35, 40), (40, 90, 60))
_MARKERS = ((255, 250, 120), (255, 190, 215), (190, 255, 170))


def print_and_use(
    rng: np.random.Generator, sheet: Sheet, kinds: Collection[str], *, scanned: bool
) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """Print a sheet and wear it out: uint8 (H, W, 3), RGB, flat and evenly lit; quads; texts."""
    quads, texts = list(sheet.quads), list(sheet.texts)
    used = paper(rng, sheet.ink.shape, scanned=scanned)
    if "show-through" in kinds:
        used = _show_through(rng, used, sheet)
    ink = _faint(rng, sheet) if "faint print" in kinds else sheet.ink
    used = print_ink(rng, used, ink, scanned=scanned)
    stamped = stamp(rng, used, sheet.size) if "stamp" in kinds else None
    if stamped is not None:
        quads.append(stamped[0])
        texts.append(stamped[1])
    if "handwriting" in kinds:
        for _ in range(rng.integers(1, 5)):
            _write_across(rng, used, sheet.size)
    return used, quads, texts


def _show_through(rng: np.random.Generator, used: np.ndarray, sheet: Sheet) -> np.ndarray:
    """The paper with the sheet's print on its back: mirrored, shifted and turned a little.

    It is paler than the palest print of the front (`_faint`), because contrast alone tells the
    two apart when letters have few pixels.
    """
    height, width = sheet.ink.shape
    ink = np.roll(cv2.flip(sheet.ink, 1), int(rng.integers(height)), axis=0)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.normal(0, 1.2), 1.0)
    turn[:, 2] += rng.normal(0, 0.02, 2) * width
    ink = cv2.warpAffine(ink, turn, (width, height))
    ink = cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.04, 0.1) * sheet.size + 0.3)
    return times(used, 255 - (ink * rng.uniform(0.08, 0.24)).astype(np.uint8), 255)


def _faint(rng: np.random.Generator, sheet: Sheet) -> np.ndarray:
    """Ink of a worn thermal head: pale everywhere, paler in streaks and bands."""
    height, width = sheet.ink.shape
    gain = rng.uniform(0.3, 0.6)
    field = cloud(rng, sheet.ink.shape, (int(rng.integers(2, 9)), 4), 200 * gain, 255 * gain)
    if rng.random() < 0.5:
        for x in rng.integers(0, width, rng.integers(1, 8)):
            field[:, x : x + int(rng.integers(1, 3))] //= 2
    if rng.random() < 0.3:
        for y in rng.integers(0, height, rng.integers(1, 6)):
            field[y : y + int(rng.integers(1, sheet.size))] //= 2
    ink = sheet.ink
    if sheet.size >= 18 and rng.random() < 0.5:  # strokes lose a pixel
        ink = cv2.erode(ink, np.ones((2, 2), np.uint8), anchor=(0, 0))
    return cv2.multiply(ink, field, scale=1 / 255)


def _write_across(rng: np.random.Generator, used: np.ndarray, em: int) -> None:
    """Draw handwriting, a tick, a ring or the stroke of a marker, in place."""
    kind = rng.choice(["scrawl", "scrawl", "mark", "marker"])
    if kind == "mark":
        scribble(rng, used, em)
        return
    height = int(rng.uniform(1.2, 3.5) * em)
    width = int(min(height * rng.uniform(2, 8), used.shape[1], 0.9 * used.shape[0]))
    side = int(np.hypot(height, width)) + 4
    if side >= min(used.shape[:2]):
        return
    ink: np.ndarray = np.zeros((side, side), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    if kind == "marker":
        cv2.rectangle(ink, (left, top), (left + width, top + height // 2), 160, -1)
    else:
        ink[top : top + height, left : left + width] = _scrawl(rng, height, width)
    turn = rng.normal(0, 4 if kind == "marker" else 14)
    ink = cv2.warpAffine(ink, cv2.getRotationMatrix2D((side / 2, side / 2), turn, 1), (side, side))
    y, x = (int(rng.integers(0, n - side + 1)) for n in used.shape[:2])
    colours = _MARKERS if kind == "marker" else _INKS
    table = np.linspace((255, 255, 255), colours[rng.integers(len(colours))], 256)
    tint = cv2.LUT(cv2.merge([ink] * 3), table.astype(np.uint8)[:, None])
    area = used[y : y + side, x : x + side]
    area[:] = times(area, tint, 255)


def _scrawl(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Loops and strokes that look like fast, illegible handwriting, uint8 (H, W)."""
    letters = max(2, round(width / (0.45 * height)))
    t = np.linspace(0, letters, 14 * letters)
    each = np.arange(letters + 1)
    tall = np.interp(t, each, rng.choice([0.15, 0.2, 0.25, 0.45], letters + 1))
    wide = np.interp(t, each, rng.uniform(0.1, 0.5, letters + 1))
    phase = 2 * np.pi * np.cumsum(np.interp(t, each, rng.uniform(0.6, 1.5, letters + 1))) / 14
    x = 0.06 * width + 0.86 * width * t / letters + 0.3 * height * wide * np.sin(phase + 1)
    y = height * (0.55 - tall * np.cos(phase))
    stroke = np.stack([x, y], axis=1)
    thickness = max(1, round(height * rng.uniform(0.03, 0.07)))
    return pen_stroke(stroke, (height, width), thickness)
