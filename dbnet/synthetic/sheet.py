"""Typesetting: the rows of a receipt become an ink map and an exact box per word or line."""

from itertools import pairwise
from typing import Literal, NamedTuple

import cv2
import numpy as np

from dbnet.synthetic import graphics
from dbnet.synthetic.fonts import Typeface, Word, choose_typeface, draw_word
from dbnet.synthetic.layout import Cell, Receipt, Row

Level = Literal["words", "lines"]
"""What gets a box: each word, or each run of words on a line without a wide gap."""

_SMALLEST, _LARGEST = 14, 27  # body text, pixels an em
_WIDE_GAP = 1.1  # ems; gaps between columns are wider, blanks between words are narrower


class Sheet(NamedTuple):
    """A typeset receipt: ink without paper."""

    ink: np.ndarray  # uint8 (H, W), 255 black
    quads: list[np.ndarray]  # n x float32 (4, 2), clockwise from the top left, 1 px around the ink
    texts: list[str]  # n
    size: int  # body text, pixels an em


class Printer(NamedTuple):
    """Typefaces and sizes of a receipt."""

    face: Typeface
    display: Typeface  # of logos
    size: int  # body text, pixels an em
    leading: float  # distance of lines, ems of the line
    band: float = 1.45  # least height of white-on-black rows, ems; 0: that of other rows


class _Piece(NamedTuple):
    ink: np.ndarray  # uint8 (h, w)
    x: int
    y: int
    text: str  # of a word; "": a graphic
    line: tuple[int, float]  # of a word: number of the line, its em in pixels
    erases: bool  # drawn in white on a black bar


def typeset(
    receipt: Receipt,
    rng: np.random.Generator,
    *,
    length: float,
    level: Level = "words",
    printer: Printer | None = None,
) -> Sheet:
    """Set the rows of a receipt in type.

    Args:
        length: wanted height of the sheet in pixels; sets the size of the type within its limits.
        level: what gets a quad; the ink does not depend on it.
        printer: typefaces and sizes; replaces random ones, and `length` is then unused.
    """
    setter = _Setter(receipt, rng, printer or _any_printer(receipt, rng, length))
    for row in receipt.rows:
        getattr(setter, row.kind)(row)
    return setter.sheet(level)


def grown_box(x: float, y: float, width: float, height: float) -> np.ndarray:
    """Quad around width x height inked pixels with a margin of 1 pixel, float32 (4, 2).

    (x, y) is the centre of the top left pixel.
    """
    x0, y0, x1, y1 = x - 1.5, y - 1.5, x + width + 0.5, y + height + 0.5
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)


def _any_printer(receipt: Receipt, rng: np.random.Generator, length: float) -> Printer:
    face = choose_typeface(rng, spaced=receipt.spaced)
    leading = float(rng.uniform(1.0, 1.38))
    lines = sum(1.08 * row.size for row in receipt.rows)
    size = int(np.clip(0.93 * length / (lines * leading), _SMALLEST, _LARGEST))
    return Printer(face, face, size, leading, band=0.0)


def _advance(face: Typeface) -> float:
    """Width of a character in ems, before stretching."""
    if face.pitch or face.font in ("sans", "italic", "uni"):
        return face.pitch or (0.5 if face.font == "uni" else 0.56)
    return draw_word("Total 0123", 40, face._replace(stretch=1.0)).advance / 400


class _Opened(NamedTuple):
    """The start of a frame."""

    y: float
    columns: tuple[Cell, ...]  # lines between columns, at their left
    piece: int  # number of the first piece inside


class _Setter:
    """Places rows from top to bottom; one method for each kind of row."""

    def __init__(self, receipt: Receipt, rng: np.random.Generator, printer: Printer) -> None:
        self.rng = rng
        self.face, self.display, self.size, self.leading, self.band = printer
        advance = _advance(self.face)
        self.width = round(receipt.columns * advance * self.face.stretch * self.size)
        self.left = round(self.width * rng.uniform(0.03, 0.1))
        self.y = self.size * rng.uniform(0.6, 3.0)
        self.pieces: list[_Piece] = []
        self.lines = 0
        self.opened = _Opened(0.0, (), 0)

    def put(
        self,
        ink: np.ndarray,
        x: float,
        y: float,
        text: str = "",
        line: tuple[int, float] = (0, 0.0),
    ) -> None:
        self.pieces.append(_Piece(ink, self.left + round(x), round(y), text, line, False))

    def put_graphic(self, ink: np.ndarray) -> None:
        """Put a graphic in the middle of the sheet and move below it."""
        ink = ink[:, : self.width]
        self.put(ink, (self.width - ink.shape[1]) / 2, self.y)
        self.y += len(ink) + 0.3 * self.size

    def sheet(self, level: Level) -> Sheet:
        height = round(self.y + self.size * self.rng.uniform(0.6, 3.0))
        pieces, shape = _fitted(self.pieces, (height, self.width + 2 * self.left))
        ink = np.zeros(shape, np.uint8)
        for piece in pieces:
            area = ink[piece.y :, piece.x :][: piece.ink.shape[0], : piece.ink.shape[1]]
            area[:] = cv2.subtract(area, piece.ink) if piece.erases else np.maximum(area, piece.ink)
        words = [piece for piece in pieces if piece.text]
        groups = _lines(words) if level == "lines" else [[word] for word in words]
        texts = [" ".join(word.text for word in group) for group in groups]
        return Sheet(ink, [_box(group) for group in groups], texts, self.size)

    def gap(self, row: Row) -> None:
        self.y += row.size * self.size

    def text(self, row: Row) -> None:
        face, size = self.display if row.display else self.face, round(self.size * row.size)
        if row.bold:
            face = face._replace(weight=min(900, face.weight + 300))
        face = face._replace(stretch=row.stretch * face.stretch, tracking=row.tracking)
        blank = face.stretch * size * (face.pitch or 0.28) + row.tracking * size
        em = size * (face.stretch + row.tracking)
        if self.band and row.size > 1.5:  # accents of large letters reach higher than their line
            self.y += 0.3 * (size - self.size)
        leading = max(self.leading, self.band if row.inverse else 0.0)
        pitch, first, lines = size * leading, len(self.pieces), 1
        baseline, limit = self.y + 0.5 * pitch + 0.36 * size, float(self.width)
        for cell in reversed(row.cells):  # amounts on the right first: they must not be cut
            right = min(cell.right * self.width, limit)
            slack = 0.12 if cell.align == "right" and cell.left > 0 else 0.0
            left = max(0.0, cell.left - slack) * self.width
            wrapped = _wrap(cell.text, size, face, blank, right - left)
            for number, (words, width) in enumerate(wrapped):
                free = {"left": 0.0, "center": 0.5, "right": 1.0}[cell.align]
                pen = left + free * (right - left - width)
                limit = min(limit, pen - blank)
                for text, word in words:
                    place = pen + word.dx, baseline + number * pitch + word.dy
                    self.put(word.ink, *place, text, (self.lines + number, em))
                    pen += word.advance + blank
            lines = max(lines, len(wrapped))
        self.lines += lines
        if row.inverse:
            self._blacken(first, round(lines * pitch))
        self.y += lines * pitch

    def leader(self, row: Row) -> None:
        """Text in two columns with dots between them."""
        first, baseline = (
            len(self.pieces),
            self.y + 0.5 * self.size * self.leading + 0.36 * self.size,
        )
        self.text(row)
        gaps = _gaps(self.pieces[first:], 3 * self.size)
        for x0, x1 in gaps:
            dots = draw_word("." * int((x1 - x0) / (0.3 * self.size)), self.size, self.face)
            ink = dots.ink[:, : round(x1 - x0 - 1.2 * self.size)]
            self.put(ink, x0 + 0.6 * self.size - self.left, baseline + dots.dy)

    def _blacken(self, first: int, height: int) -> None:
        """Put a black bar behind the pieces from `first` on."""
        words, pad = self.pieces[first:], self.size // 2
        if not words:
            return
        x0, x1 = self.left, self.left + self.width
        if self.rng.random() < 0.5:
            x0 = max(x0, min(word.x for word in words) - pad)
            x1 = min(x1, max(word.x + word.ink.shape[1] for word in words) + pad)
        if self.band:
            x0, x1 = max(0, x0 - pad), min(x1 + pad, self.width + 2 * self.left)
        self._put_behind(first, x0, x1, self.y, height)

    def _put_behind(self, first: int, x0: int, x1: int, y: float, height: int) -> None:
        """Put a black area behind the pieces from `first` on, which become white.

        In the hard style, it may have the light specks of a thermal head.
        """
        bar = np.full((height, x1 - x0), 255, np.uint8)
        if self.band and self.rng.random() < 0.6:
            specks = self.rng.random(bar.shape) < self.rng.uniform(0.02, 0.25)
            bar[specks] = self.rng.integers(60, 230)
        white = [piece._replace(erases=True) for piece in self.pieces[first:]]
        self.pieces[first:] = [_Piece(bar, x0, round(y), "", (0, 0.0), False), *white]

    def rule(self, row: Row) -> None:
        height = round(0.8 * self.size * self.leading)
        ink = np.zeros((height, self.width), np.uint8)
        middle = height // 2
        if row.mark == "l":
            ink[middle : middle + self.rng.integers(1, 3)] = 255
        elif row.mark == "d":
            ink[middle, np.arange(self.width) // self.rng.integers(3, 8) % 2 == 0] = 255
        else:
            advance = draw_word(row.mark * 8, self.size, self.face).advance / 8
            text = row.mark * max(1, int(self.width / advance))
            marks = draw_word(text, self.size, self.face).ink[:height, : self.width]
            top = (height - len(marks)) // 2
            ink[top : top + len(marks), : marks.shape[1]] = marks
        self.put(ink, 0, self.y)
        self.y += height

    def frame(self, row: Row) -> None:
        self.y += 0.3 * self.size
        self.opened = _Opened(self.y, row.cells, len(self.pieces))

    def unframe(self, row: Row) -> None:
        top, columns, first = self.opened
        height = round(self.y - top + 0.3 * self.size)
        if row.inverse:
            self._put_behind(first, self.left, self.left + self.width, top, height)
        else:
            ink = np.zeros((height, self.width), np.uint8)
            cv2.rectangle(ink, (0, 0), (self.width - 1, height - 1), 255, 1)
            for column in columns:
                ink[:, round(column.left * self.width)] = 255
            self.put(ink, 0, top)
        self.y = top + height + 0.3 * self.size

    def barcode(self, row: Row) -> None:
        self.put_graphic(graphics.barcode(self.rng, row.size, self.size))

    def stack(self, row: Row) -> None:
        self.put_graphic(graphics.stacked_code(self.rng, row.size, self.size))

    def qr(self, row: Row) -> None:
        self.put_graphic(graphics.qr_code(self.rng, row.size, self.size))

    def sign(self, row: Row) -> None:
        self.put_graphic(graphics.signature(self.rng, self.size, self.width))

    def logo(self, row: Row) -> None:
        self.put_graphic(graphics.logo(self.rng, row.size, self.size))


def _fitted(pieces: list[_Piece], shape: tuple[int, int]) -> tuple[list[_Piece], tuple[int, int]]:
    """Enlarge the sheet where large letters reach beyond it: moved pieces, (height, width)."""
    top = max(0, *(2 - piece.y for piece in pieces if piece.y < 0), 0)
    left = max(0, *(2 - piece.x for piece in pieces if piece.x < 0), 0)
    if top or left:
        pieces = [piece._replace(x=piece.x + left, y=piece.y + top) for piece in pieces]
    bottom = max((piece.y + piece.ink.shape[0] for piece in pieces), default=0)
    right = max((piece.x + piece.ink.shape[1] for piece in pieces), default=0)
    return pieces, (max(shape[0] + top, bottom), max(shape[1] + left, right))


def _lines(words: list[_Piece]) -> list[list[_Piece]]:
    """Groups of words: each line from left to right, divided at wide gaps."""
    groups: list[list[_Piece]] = []
    for word in sorted(words, key=lambda word: (word.line[0], word.x)):
        last = groups[-1][-1] if groups else None
        if last and last.line == word.line:
            gap = word.x - (last.x + last.ink.shape[1])
            if gap < _WIDE_GAP * word.line[1]:
                groups[-1].append(word)
                continue
        groups.append([word])
    return groups


def _gaps(words: list[_Piece], least: float) -> list[tuple[int, int]]:
    """Gaps (x0, x1) of at least `least` pixels between words of one line."""
    ordered = sorted(words, key=lambda word: word.x)
    ends = [(a.x + a.ink.shape[1], b.x) for a, b in pairwise(ordered) if a.line[0] == b.line[0]]
    return [(x0, x1) for x0, x1 in ends if x1 - x0 >= least]


def _box(words: list[_Piece]) -> np.ndarray:
    """Quad around the ink of the words, float32 (4, 2)."""
    x0, y0 = min(word.x for word in words), min(word.y for word in words)
    x1 = max(word.x + word.ink.shape[1] for word in words)
    y1 = max(word.y + word.ink.shape[0] for word in words)
    return grown_box(x0, y0, x1 - x0, y1 - y0)


_Line = tuple[list[tuple[str, Word]], float]


def _wrap(text: str, size: int, face: Typeface, blank: float, room: float) -> list[_Line]:
    """Wrap a text: lines of words, and their widths. A word longer than a line is cut off."""
    lines: list[_Line] = []
    for part in text.split():
        word = draw_word(part, size, face)
        if word.advance > room > 0:
            part = part[: int(len(part) * room / word.advance)]
            word = draw_word(part, size, face) if part else word
        if word.advance > room or not word.ink.size:
            continue
        if lines and lines[-1][1] + blank + word.advance <= room:
            words, width = lines[-1]
            lines[-1] = ([*words, (part, word)], width + blank + word.advance)
        else:
            lines.append(([(part, word)], word.advance))
    return lines
