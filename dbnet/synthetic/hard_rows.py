"""Rows that are hard to detect: large logos, bands, separators, tables, far columns, codes."""

from collections.abc import Collection

from dbnet.synthetic.arabic import visual
from dbnet.synthetic.layout import Cell, Receipt, Row, left, line, pair, right
from dbnet.synthetic.text import compose
from dbnet.synthetic.words import Shop

_MARKS = ("*", "*", "-", "=", "_", "#", "~", "+", ".", "-=", "=-", "* ", "- ", ". ", "_ ", "x", "/")
_JOINED = ("arabic", "thai")  # letters of a word are joined or carry marks
_LETTERS = ("A", "B", "*", "T", "S", "Z", "SR", "ZR", "1", "0", "%")


def write_hard_receipt(shop: Shop, kinds: Collection[str]) -> Receipt:
    """A receipt of the shop with the rows of the given kinds (see `kinds.KINDS`)."""
    receipt = compose(shop)
    rows, columns = list(receipt.rows), receipt.columns
    if "far columns" in kinds:
        columns = int(shop.rng.integers(54, 90))
        _insert(shop, rows, _far_columns(shop))
    if "tables" in kinds:
        for _ in range(shop.rng.integers(1, 3)):
            _insert(shop, rows, _table(shop))
    if "codes" in kinds:
        for _ in range(shop.rng.integers(1, 4)):
            _insert(shop, rows, _code(shop))
    if "card data" in kinds:
        _insert(shop, rows, _card_data(shop))
    if "separators" in kinds:
        for _ in range(shop.rng.integers(2, 6)):
            _insert(shop, rows, _separators(shop))
    if "wide print" in kinds and shop.language not in _JOINED:
        rows = _wide(shop, rows)
    if "bands" in kinds:
        _band(shop, rows)
    if "black blocks" in kinds:
        _insert(shop, rows, _black_block(shop))
    if "logo" in kinds:
        rows = _logo(shop, columns) + rows
    if shop.language == "arabic":
        rows = [row._replace(cells=_from_the_right(row.cells)) for row in rows]
    return Receipt(rows, columns, receipt.spaced)


def excerpt(shop: Shop, rows: list[Row], ems: float, *, from_top: bool) -> list[Row]:
    """Consecutive rows of about `ems` ems in all, from the top or from a random row."""
    sizes = [row.size if row.kind != "frame" else 0.3 for row in rows]
    if sum(sizes) <= ems:
        return rows
    first = 0 if from_top else int(shop.rng.integers(len(rows)))
    while first > 0 and sum(sizes[first:]) < ems:
        first -= 1
    last, height = first, 0.0
    while last < len(rows) and height < ems:
        height += sizes[last]
        last += 1
    part, kinds = rows[first:last], [row.kind for row in rows[first:last]]
    whole = kinds.count("frame") == kinds.count("unframe") and (
        "frame" not in kinds or kinds.index("frame") < kinds.index("unframe")
    )
    return part if whole else [row for row in part if row.kind not in ("frame", "unframe")]


def _insert(shop: Shop, rows: list[Row], block: list[Row]) -> None:
    """Insert a block of rows at a random place that is not inside a frame, in place."""
    places, depth = [], 0
    for i, row in enumerate(rows):
        if depth == 0:
            places.append(i)
        depth += (row.kind == "frame") - (row.kind == "unframe")
    place = shop.one_of(places)
    rows[place:place] = block


def _logo(shop: Shop, columns: int) -> list[Row]:
    """The shop's name, up to 8 ems high."""
    name = shop.say("name")
    name = name if shop.rng.random() < 0.5 else name.split()[0]
    name = name.lower() if shop.rng.random() < 0.25 else name
    largest = 0.85 * columns / max(len(name), 3) * (0.9 if shop.spaced else 0.5)
    size = min(float(shop.rng.uniform(2.2, 8)), largest)
    inverse, bold = shop.rng.random() < 0.3, shop.rng.random() < 0.8
    cells = (Cell(name, 0, 1, shop.one_of(("center", "center", "left"))),)
    rows = [Row("text", cells, size=max(1.5, size), bold=bold, inverse=inverse, display=True)]
    if shop.rng.random() < 0.5:
        small = float(shop.rng.uniform(0.8, 2))
        rows.append(line(shop, shop.say("kind"), size=small, display=shop.rng.random() < 0.5))
    return [*rows, Row("gap", size=0.5)]


def _band(shop: Shop, rows: list[Row]) -> None:
    """Turn one to four rows white on black, some of them larger, in place."""
    texts = [
        i for i, row in enumerate(rows) if row.kind == "text" and any(c.text for c in row.cells)
    ]
    for i in shop.rng.permutation(texts)[: shop.rng.integers(1, 5)]:
        size = rows[i].size * float(shop.one_of((1, 1, 1.4, 2.0)))
        if len(rows[i].cells) > 1:
            size = rows[i].size
        rows[i] = rows[i]._replace(inverse=True, size=size, bold=shop.rng.random() < 0.5)


def _wide(shop: Shop, rows: list[Row]) -> list[Row]:
    """Stretch the letters of some rows, or of all, or draw them apart."""
    rng = shop.rng
    share = float(shop.one_of((0.1, 0.2, 0.4, 1.0)))
    largest = 1.4 if share == 1 else 3.0
    apart, further = rng.random() < 0.5, 0.15 if share == 1 else 0.6
    stretch = 1.0 if apart else float(rng.uniform(1.2, largest))
    tracking = float(rng.uniform(0.08, further)) if apart else 0.0
    return [
        row._replace(stretch=stretch, tracking=tracking)
        if row.kind in ("text", "leader") and rng.random() < share
        else row
        for row in rows
    ]


def _black_block(shop: Shop) -> list[Row]:
    """Three to eight rows of an advertisement, white on one black area."""
    rng = shop.rng
    align, bold = shop.one_of(("left", "center")), rng.random() < 0.6
    rows = []
    for number in range(rng.integers(3, 9)):
        text = shop.say(shop.one_of(("note", "thanks", "kind", "phone", "street")))
        size = float(rng.uniform(1.2, 2.4) if number == 0 else shop.one_of((0.8, 1, 1, 1.2)))
        display = number == 0 or rng.random() < 0.2
        cells = (Cell(text, 0.04, 0.96, align),)
        rows.append(Row("text", cells, size=size, bold=bold or number == 0, display=display))
    return [Row("frame"), *rows, Row("unframe", inverse=True)]


def _card_data(shop: Shop) -> list[Row]:
    """What a card terminal prints: masked card numbers, and digits with slashes over two rows."""
    rng = shop.rng

    def digits(low: int, high: int) -> str:
        return shop.fill("~" * int(rng.integers(low, high)))

    def masked() -> str:
        mark = shop.one_of(("#", "#", "*", "*", "X", "x"))
        number = digits(0, 7) + mark * int(rng.integers(6, 17)) + digits(3, 5)
        return number + (f" {digits(4, 5)}" if rng.random() < 0.5 else "")

    def terminal() -> str:
        parts = [digits(2, 12) for _ in range(rng.integers(2, 6))]
        text = "".join(part + "/" * int(rng.choice([0, 1, 1, 2, 4])) for part in parts)
        return text.translate(str.maketrans("2345", "0000"))  # half of the digits are zeros

    def code() -> str:
        return "".join(shop.one_of("0123456789ABCDEF") for _ in range(rng.integers(5, 17)))

    labels = {"PAN": masked, "": masked, "Card": masked, "EMV": terminal, "EMV-AID": code}
    labels |= {"VU-NR": lambda: digits(9, 16), "AID": code, "TID": lambda: digits(6, 9)}
    form = shop.one_of(("run", "run", "colon", "edges"))
    rows = []
    for label in rng.permutation(list(labels))[: rng.integers(3, 8)]:
        rows.append(pair(label, labels[label](), form) if label else line(shop, masked()))
        if label == "EMV":
            rows += [Row("text", (left(terminal()),)) for _ in range(rng.integers(0, 3))]
    return rows


def _separators(shop: Shop) -> list[Row]:
    """One to three rows of repeated marks. They are not labelled."""
    marks = [shop.one_of(_MARKS) for _ in range(shop.rng.choice([1, 1, 1, 2, 3]))]
    return [Row("rule", mark=mark) for mark in marks]


def _table(shop: Shop) -> list[Row]:
    """A table of single digits, letters, counts and amounts in 3 to 8 columns."""
    rng = shop.rng
    count = int(rng.integers(3, 9))
    writers = [
        lambda: str(rng.integers(10)),
        lambda: str(rng.integers(10)),
        lambda: shop.one_of(_LETTERS),
        lambda: f"{rng.integers(1, 100)}",
        lambda: f"{rng.integers(0, 1000):03d}",
        lambda: shop.figure(shop.price()),
    ]
    columns = [shop.one_of(writers if count < 7 else writers[:4]) for _ in range(count)]
    edges = [i / count for i in range(count + 1)]
    align = [shop.one_of(("left", "center", "right")) for _ in columns]

    def row(texts: list[str], *, bold: bool = False) -> Row:
        spans = zip(texts, edges[:-1], edges[1:], align, strict=True)
        cells = tuple(Cell(text, a, b - 0.01, side) for text, a, b, side in spans)
        return Row("text", cells, bold=bold)

    heads = [row([shop.one_of("ABCDEFGHQ#%") for _ in columns], bold=rng.random() < 0.5)]
    body = [
        row([write() if rng.random() < 0.93 else "" for write in columns])
        for _ in range(rng.integers(3, 12))
    ]
    if rng.random() < 0.4:
        lines = tuple(left("", edge) for edge in edges[1:-1]) if rng.random() < 0.6 else ()
        return [Row("frame", lines), *heads, *body, Row("unframe")]
    return [*(heads if rng.random() < 0.6 else []), *body]


def _far_columns(shop: Shop) -> list[Row]:
    """Short items at the left edge, prices at the right edge, and nothing or dots between."""
    rng = shop.rng
    kind, form = shop.one_of(("text", "text", "leader")), shop.one_of(("edges", "digit"))
    rows = []
    for _ in range(rng.integers(3, 10)):
        name, value = shop.say("item"), shop.amount(shop.price())
        if form == "edges":
            rows.append(pair(name, value, "edges")._replace(kind=kind))
        else:
            middle = Cell(str(rng.integers(1, 10)), 0.55, 0.6, "center")
            rows.append(Row("text", (left(name, 0, 0.5), middle, right(value, 0.8, 1))))
    return rows


def _code(shop: Shop) -> list[Row]:
    """A barcode with or without its number, a QR code, or a stacked code."""
    rng = shop.rng
    kind = shop.one_of(("barcode", "barcode", "qr", "stack"))
    if kind == "qr":
        return [Row("qr", size=float(rng.uniform(4, 12))), Row("gap", size=0.4)]
    code = Row(kind, size=float(rng.uniform(1.5, 5)))
    number = shop.fill(shop.one_of(("~~~~~~~~~~~~~", "~ ~~~~~~ ~~~~~~", "^^~~~~~~~~", "*~~~~~~*")))
    return [code, *([line(shop, number)] if rng.random() < 0.7 else []), Row("gap", size=0.4)]


def _from_the_right(cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """A right-to-left row: cells mirrored, Arabic words shaped and in visual order."""
    sides = {"left": "right", "right": "left", "center": "center"}
    return tuple(
        Cell(visual(text), 1 - b, 1 - a, sides[align]) for text, a, b, align in reversed(cells)
    )
