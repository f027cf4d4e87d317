"""Rows of a receipt, and functions that make the usual ones."""

from typing import Any, NamedTuple

from dbnet.synthetic.words import Shop


class Cell(NamedTuple):
    """Text in one column. The span is a fraction of the printed width."""

    text: str
    left: float
    right: float
    align: str  # "left" | "center" | "right"


class Row(NamedTuple):
    """One line of print, or one graphic."""

    kind: str  # a method of sheet._Setter: "text", "leader", "rule", "gap", "logo", "barcode", ...
    cells: tuple[Cell, ...] = ()  # of a frame: its column lines, at their left
    size: float = 1.0  # ems of the body
    bold: bool = False
    stretch: float = 1.0  # width factor
    tracking: float = 0.0  # ems between letters, in addition to their usual distance
    inverse: bool = False  # white on black; of "unframe": all rows since "frame"
    mark: str = ""  # of a rule: what it repeats, "l" for a line, "d" for dashes
    display: bool = False  # in the printer's second typeface, as logos are


class Receipt(NamedTuple):
    """Rows from top to bottom."""

    rows: list[Row]
    columns: int  # characters of body text side by side
    spaced: bool  # false: mostly Chinese, Japanese or Korean


def count_words(rows: list[Row]) -> int:
    """Number of words, separated by whitespace."""
    return sum(len(cell.text.split()) for row in rows for cell in row.cells)


def left(text: str, left: float = 0.0, right: float = 1.0) -> Cell:
    return Cell(text, left, right, "left")


def right(text: str, left: float, right: float) -> Cell:
    return Cell(text, left, right, "right")


def line(shop: Shop, text: str, **style: Any) -> Row:
    return Row("text", (Cell(text, 0, 1, shop.align),), **style)


def gap(shop: Shop, probability: float) -> list[Row]:
    size = float(shop.rng.uniform(0.3, 1.1))
    return [Row("gap", size=size)] if shop.rng.random() < probability else []


def rule(shop: Shop, probability: float = 1.0) -> list[Row]:
    return [Row("rule", mark=shop.mark)] if shop.rng.random() < probability else []


def pair(label: str, value: str, form: str, **style: Any) -> Row:
    """A row of a label and its value. `form`: "run", "colon", "edges", "right" or "three"."""
    bare = label.rstrip(": ")
    cells = {
        "run": (left(f"{label} {value}"),),
        "colon": (left(bare, 0, 0.3), left(f": {value}", 0.32)),
        "edges": (left(label, 0, 0.66), right(value, 0.5, 1)),
        "right": (right(label, 0.05, 0.7), right(value, 0.6, 1)),
        "three": (left(bare, 0, 0.52), left(":", 0.54, 0.58), right(value, 0.58, 0.9)),
    }
    return Row("text", cells[form], **style)


def pairs(shop: Shop, entries: list[list[str]]) -> list[Row]:
    """Rows of [label, value] entries in one form, sometimes two entries side by side."""
    form = shop.one_of(("run", "run", "colon", "edges", "double"))
    if form != "double":
        return [pair(label, value, form) for label, value in entries]
    texts, align = [" ".join(entry) for entry in entries], shop.one_of(("left", "right"))
    return [
        Row("text", (left(a, 0, 0.52), *(Cell(b, 0.55, 1, align) for b in more)))
        for a, *more in (texts[i : i + 2] for i in range(0, len(texts), 2))
    ]
