"""Words as ink.

Words are drawn with OpenCV's built-in fonts or font files. Stretching, a fixed pitch, slab serifs,
hard edges and dots imitate laser, thermal and dot-matrix printers.
"""

from functools import cache, lru_cache
from typing import NamedTuple

import cv2
import numpy as np

# Letters whose stems end on the baseline, and at the top: slab serifs are drawn there.
_FEET = frozenset("AFHIKMNPRTXYfhiklmnrx147")
_HEADS = frozenset("BDEFHIKLMNPRUVWXYbdhklmnpruvwxy")
_NARROW = frozenset("iIl1")  # always with slabs at a fixed pitch, as on typewriters
_FAINTEST = 64  # grey levels; paler pixels are the fringe of anti-aliasing


class Typeface(NamedTuple):
    """A font and how it is printed."""

    font: str  # "sans" | "italic" | "uni" (also Hangul, Chinese, Japanese) | path of a font file
    weight: int  # 300..1000; all but "sans" and "italic" have two, and are bold from 600 on
    stretch: float  # width factor
    pitch: float  # ems from character to character, before stretching; 0: proportional
    slab: bool  # serifs; needs a pitch
    finish: str  # "smooth" | "hard" | "dots"
    tracking: float = 0.0  # ems between letters, in addition to their usual distance


class Word(NamedTuple):
    """The ink of one word, cropped."""

    ink: np.ndarray  # uint8 (h, w), 255 black
    dx: int  # from the pen to the left edge, pixels
    dy: int  # from the baseline to the top edge, pixels, negative above it
    advance: float  # of the pen, pixels


def choose_typeface(rng: np.random.Generator, *, spaced: bool) -> Typeface:
    """The typeface of a random printer; `spaced` as in `Receipt`."""
    printer = rng.choice(["laser", "thermal", "needle"], p=[0.45, 0.42, 0.13])
    font = "uni" if not spaced or rng.random() < 0.45 else "sans"
    weight = int(rng.choice([300, 400, 400, 500, 600]))
    if printer == "laser":
        font = "italic" if font == "sans" and rng.random() < 0.06 else font
        return Typeface(font, weight, float(rng.uniform(0.85, 1.15)), 0.0, False, "smooth")
    pitch = float(rng.uniform(0.58, 0.7)) if spaced else 0.5
    stretch = float(rng.uniform(0.8, 1.05) if spaced else rng.uniform(0.95, 1.1))
    if printer == "needle" and spaced:
        return Typeface(font, weight, stretch, pitch, False, "dots")
    finish = str(rng.choice(["smooth", "hard"]))
    return Typeface(font, weight, stretch, pitch, bool(rng.random() < 0.4), finish)


def draw_word(text: str, size: int, face: Typeface) -> Word:
    """Draw one word, `size` pixels an em. Ink without any black pixel has the shape (0, 0)."""
    if face.tracking and len(text) > 1:
        return _draw_letters(text, size, face)
    if face.pitch:
        ink = np.concatenate([_glyph(char, size, face) for char in text], axis=1)
        pen, advance = 0, float(ink.shape[1])
    else:
        ink, length = _draw(text, size, face)
        pen, advance = round(_pen(size)[0] * face.stretch), length * face.stretch
        width = max(1, round(ink.shape[1] * face.stretch))
        ink = cv2.resize(ink, (width, len(ink)), interpolation=cv2.INTER_AREA)
    if face.finish == "dots":
        ink = _strike(ink, size)
    elif face.finish == "hard":
        ink = cv2.threshold(ink, 110, 255, cv2.THRESH_BINARY)[1]
    seen = cv2.threshold(ink, _FAINTEST, 255, cv2.THRESH_BINARY)[1]
    x, y, width, height = cv2.boundingRect(seen)
    return Word(ink[y : y + height, x : x + width], x - pen, y - _pen(size)[1], advance)


def _draw_letters(text: str, size: int, face: Typeface) -> Word:
    """Draw a word letter by letter, `face.tracking` ems further apart than usual."""
    letters = [draw_word(letter, size, face._replace(tracking=0.0)) for letter in text]
    pens = np.cumsum([0.0] + [letter.advance + face.tracking * size for letter in letters])
    placed = [
        (letter.ink, letter.dx + round(pen), letter.dy)
        for letter, pen in zip(letters, pens, strict=False)
        if letter.ink.size
    ]
    advance = float(pens[-1] - face.tracking * size)
    if not placed:
        return Word(np.zeros((0, 0), np.uint8), 0, 0, advance)
    left, top = min(x for _, x, _ in placed), min(y for _, _, y in placed)
    right = max(x + ink.shape[1] for ink, x, _ in placed)
    bottom = max(y + ink.shape[0] for ink, _, y in placed)
    word = np.zeros((bottom - top, right - left), np.uint8)
    for ink, x, y in placed:
        area = word[y - top :, x - left :][: ink.shape[0], : ink.shape[1]]
        np.maximum(area, ink, out=area)
    return Word(word, left, top, advance)


@cache  # never freed: OpenCV keeps glyphs by address and would draw those of a font that is gone
def _font(name: str) -> cv2.FontFace:
    return cv2.FontFace(name)


def _pen(size: int) -> tuple[int, int]:
    """Start of `_draw`: leaves room for overhangs on the left, accents above, descenders below."""
    return size // 2, round(1.3 * size)


def _draw(text: str, size: int, face: Typeface) -> tuple[np.ndarray, int]:
    """Unstretched ink, uint8 (2 size, ...), and the advance in pixels."""
    font = _font(face.font)
    advance = cv2.getTextSize((0, 0), text, (0, 0), font, size, face.weight)[2]
    ink = np.zeros((2 * size, advance + size), np.uint8)
    cv2.putText(ink, text, _pen(size), 255, font, size, face.weight)
    if face.font not in ("sans", "italic") and face.weight >= 600:
        ink[:, 1:] = np.maximum(ink[:, 1:], ink[:, :-1])
    return ink, advance


@lru_cache(maxsize=4096)
def _glyph(char: str, size: int, face: Typeface) -> np.ndarray:
    """One character centred in its cell, uint8 (2 size, cell); wide ones fill two cells."""
    cells = 2 if ord(char) >= 0x1100 else 1
    cell = max(3, round(cells * size * face.pitch * face.stretch))
    glyph = np.zeros((2 * size, cell), np.uint8)
    ink, _ = _draw(char, size, face)
    x, y, width, _ = cv2.boundingRect(ink)
    if width:
        fitted = min(round(0.92 * cell), max(1, round(width * face.stretch)))
        start = (cell - fitted) // 2
        glyph[:, start : start + fitted] = cv2.resize(
            ink[:, x : x + width], (fitted, len(ink)), interpolation=cv2.INTER_AREA
        )
        if face.slab or char in _NARROW:
            thick, base = max(1, round(0.06 * size)), _pen(size)[1]
            reach = max(1, round((0.12 if char in _NARROW else 0.08) * size))
            kernel = np.ones((1, 2 * reach + 1), np.uint8)
            for letters, top in ((_FEET, base - thick), (_HEADS, y)):
                if char in letters:
                    glyph[top : top + thick] = cv2.dilate(glyph[top : top + thick], kernel)
    glyph.setflags(write=False)
    return glyph


_DOT = np.array(
    [[90, 200, 200, 90], [200, 255, 255, 200], [200, 255, 255, 200], [90, 200, 200, 90]], np.uint8
)


def _strike(ink: np.ndarray, size: int) -> np.ndarray:
    """The ink as a dot-matrix printer prints it, about ten dots an em."""
    height, width = ink.shape
    pitch = max(2.0, 0.1 * size)
    grid = max(1, round(width / pitch)), max(1, round(height / pitch))
    struck = cv2.resize(ink, grid, interpolation=cv2.INTER_AREA) > 90
    return cv2.resize(np.kron(struck, _DOT), (width, height), interpolation=cv2.INTER_AREA)
