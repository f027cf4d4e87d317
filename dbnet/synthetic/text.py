"""Contents of a receipt as rows, from the header to the last code. Nothing here uses pixels."""

from collections.abc import Callable

import numpy as np

from dbnet.synthetic.layout import (
    Cell,
    Receipt,
    Row,
    count_words,
    gap,
    left,
    line,
    pair,
    pairs,
    right,
    rule,
)
from dbnet.synthetic.words import Shop

MIN_WORDS, MAX_WORDS = 40, 198  # a stamp may add words
_DOUBLE_WIDTH = 1.9


def write_receipt(rng: np.random.Generator) -> Receipt:
    """A receipt of MIN_WORDS to MAX_WORDS words, with a usual layout and sums that add up."""
    return compose(Shop(rng))


def compose(shop: Shop) -> Receipt:
    """A receipt of the given shop, as `write_receipt` describes it."""
    rng = shop.rng
    layouts = {"supermarket": 0.4, "restaurant": 0.28, "fuel": 0.1, "memo": 0.08, "invoice": 0.14}
    layout = str(rng.choice(list(layouts), p=list(layouts.values())))
    target = float(np.clip(rng.lognormal(np.log(106), 0.36), MIN_WORDS + 8, MAX_WORDS - 25))
    columns = int(rng.integers(58, 84) if layout == "invoice" else rng.integers(32, 49))

    rows = _header(shop) + _meta(shop, layout)
    share = {"fuel": 0.0, "memo": 0.5}.get(layout, rng.uniform(0.5, 0.72))
    items, total = _items(shop, layout, int(target * share) - count_words(rows), columns)
    rows += items + _totals(shop, total)
    blocks: list[Callable[[], list[Row]]] = [
        lambda: pairs(shop, shop.some("slip", 2, 7)),
        lambda: _tax_table(shop, total),
        lambda: _notes(shop),
        lambda: _notes(shop),
    ]
    for i in rng.permutation(len(blocks)):
        if count_words(rows) < target - 8:
            rows += gap(shop, 0.5) + blocks[i]()
    while count_words(rows) < MIN_WORDS:
        rows += _notes(shop)
    rows += _closing(shop)
    while count_words(rows) > MAX_WORDS:
        texts = [i for i, row in enumerate(rows) if row.kind == "text"]
        rows.pop(texts[len(texts) // 2])
    return Receipt(rows, columns, shop.spaced)


# Blocks, from top to bottom


def _header(shop: Shop) -> list[Row]:
    rng = shop.rng
    parts = [shop.say("name"), shop.say("kind"), shop.say("legal")][: rng.integers(2, 4)]
    if rng.random() < 0.3:
        parts[:2] = parts[1::-1]
    size, wide = float(shop.one_of((1.0, 1.2, 1.4, 1.7, 2.0))), rng.random() < 0.2
    if wide:
        size = min(size, 1.4)
    first, rest = parts, []
    if wide or size > 1.4:
        first, rest = parts[:2], parts[2:]
    rows = [Row("logo", size=float(rng.uniform(2, 4.5)))] if rng.random() < 0.28 else []
    stretch = _DOUBLE_WIDTH if wide else 1.0
    bold = rng.random() < 0.7
    rows.append(line(shop, " ".join(first), size=size, bold=bold, stretch=stretch))
    rows += [line(shop, text) for text in rest]
    for key, low, high in (("street", 1, 3), ("city", 0, 2), ("phone", 0, 2), ("tax_id", 0, 3)):
        rows += [line(shop, shop.say(key)) for _ in range(rng.integers(low, high))]
    rows += gap(shop, 0.5)
    if rng.random() < 0.75:
        style = {"bold": rng.random() < 0.5, "inverse": rng.random() < 0.12}
        rows.append(line(shop, shop.say("title"), size=shop.one_of((1, 1, 1.2, 1.5)), **style))
    return rows + gap(shop, 0.4)


def _meta(shop: Shop, layout: str) -> list[Row]:
    """Rows of date, time, numbers and people."""
    entries = shop.some("meta", 3, 8)
    if layout == "fuel":
        entries += shop.some("fuel", 5, 10)
    return rule(shop, 0.5) + pairs(shop, entries)


def _item_name(shop: Shop, layout: str) -> str:
    rng, dishes = shop.rng, layout == "restaurant"
    parts = [shop.say("quality")] if rng.random() < 0.35 else []
    parts.append(shop.say("dish" if dishes else "item"))
    parts += [shop.say("measure")] if rng.random() < (0.12 if dishes else 0.45) else []
    return " ".join(parts)


_HEADS = {  # key, span
    "plain": (("item_label", 0, 0.6), ("amount", 0.66, 0.93)),
    "count": (("qty", 0, 0.1), ("item_label", 0.12, 0.6), ("amount", 0.66, 0.93)),
    "table": (
        ("item_label", 0, 0.4),
        ("qty", 0.4, 0.54),
        ("price", 0.55, 0.73),
        ("amount", 0.75, 0.93),
    ),
    "grid": (
        ("item_label", 0.09, 0.5),
        ("qty", 0.52, 0.64),
        ("price", 0.65, 0.81),
        ("amount", 0.83, 0.99),
    ),
}
_GRID_LINES = (0.075, 0.565, 0.65, 0.82)


def _items(shop: Shop, layout: str, words: int, columns: int) -> tuple[list[Row], float]:
    """Items of at least `words` words in all, with column heads, and the sum of their prices."""
    rng = shop.rng
    forms = {
        "invoice": ("grid",),
        "memo": ("grid",),
        "restaurant": ("plain", "count", "table"),
    }.get(layout, ("plain", "count", "below", "below", "table", "coded"))
    form = shop.one_of(forms if columns > 36 else [f for f in forms if f != "table"])
    letters = shop.one_of((("S", "SR", "A", "*", "T"), ("",)))  # tax codes behind the amounts
    body: list[Row] = []
    total = 0.0
    while count_words(body) < words or not body:
        name, count = _item_name(shop, layout), int(rng.choice([1, 1, 1, 2, 3, 5, 10]))
        unit = shop.price()
        total += count * unit
        lines = _item_lines(shop, form, len(body) + 1, name, count, unit, shop.one_of(letters))
        body += [Row("text", cells) for cells in lines]
        if rng.random() < 0.05 and form != "grid":
            cut = shop.rounded(-0.1 * count * unit)
            total += cut
            discount = left(shop.say("discount"), 0.04, 0.6), right(shop.amount(cut), 0.7, 0.93)
            body.append(Row("text", discount))
    heads: list[Row] = []
    if form in ("table", "grid") or rng.random() < 0.5:
        cells = tuple(
            Cell(shop.label(key), a, b, "left" if key == "item_label" else "right")
            for key, a, b in _HEADS.get(form, _HEADS["plain"])
        )
        heads = [Row("text", cells, bold=rng.random() < 0.4)]
    if form == "grid" and rng.random() < 0.6:
        grid = tuple(left("", x) for x in shop.one_of((_GRID_LINES, _GRID_LINES, ())))
        return [Row("frame", grid), *heads, Row("rule", mark="l"), *body, Row("unframe")], total
    ruled = rule(shop, 1.0 if heads else 0.7)
    return [*ruled, *heads, *(ruled if heads else []), *body, *ruled], total


def _item_lines(
    shop: Shop, form: str, number: int, name: str, count: int, unit: float, letter: str
) -> list[tuple[Cell, ...]]:
    """The cells of an item: one or two lines."""
    each, amount = shop.figure(unit), shop.amount(count * unit)
    last = right(amount, 0.74, 0.93), right(letter, 0.94, 1)
    code = shop.fill(shop.one_of(("~~~~~~~~~~~~~", "^^~~~~~")))
    if form == "plain":
        return [(left(name, 0, 0.7), *last)]
    if form == "count":
        times = shop.one_of((f"{count}", f"{count}x"))
        return [(left(times, 0, 0.09), left(name, 0.1, 0.7), *last)]
    if form == "coded":
        return [(left(code),), (left(name, 0.04, 0.7), *last)]
    if form == "below":
        detail = f"{count} {shop.one_of('xX@')} {each}"
        return [(left(name),), (left(code, 0, 0.36), right(detail, 0.36, 0.7), *last)]
    if form == "table":
        middle = right(f"{count}", 0.46, 0.54), right(each, 0.56, 0.74)
        return [(left(name, 0, 0.46), *middle, *last)]
    first = left(f"{number}", 0.01, 0.06), left(name, 0.09, 0.56)
    middle = right(f"{count}", 0.57, 0.64), right(each, 0.66, 0.81)
    return [(*first, *middle, right(amount, 0.83, 0.99))]


def _totals(shop: Shop, total: float) -> list[Row]:
    """Rows from the subtotal to the change."""
    rng, form = shop.rng, shop.one_of(("edges", "edges", "right", "three"))
    rows = []
    if rng.random() < 0.3:
        rows.append(pair(shop.label("count"), f"{rng.integers(1, 30)}", shop.one_of(("run", form))))
    if rng.random() < 0.7:
        rows.append(pair(shop.label("subtotal"), shop.amount(total), form))
    due, tax = total, float(shop.tax_rate) / 100
    for key, rate, chance in (("discount", -0.05, 0.2), ("service", 0.1, 0.2), ("tax", tax, 0.75)):
        if rng.random() < chance:
            part = shop.rounded(due * rate)
            rows.append(pair(shop.label(key), shop.amount(part), form))
            due += part
    if rng.random() < 0.25:
        part = round(due / shop.coin) * shop.coin - due
        rows.append(pair(shop.label("rounding"), shop.amount(part), form))
        due += part
    rows += rule(shop, 0.3)
    wide = rng.random() < 0.15
    size = 1.0 if wide else float(shop.one_of((1, 1, 1.2, 1.4, 1.7)))
    shown = shop.amount(due, symbol=shop.symbol_at != "nowhere")
    stretch = _DOUBLE_WIDTH if wide else 1.0
    style = {"size": size, "stretch": stretch, "bold": rng.random() < 0.75}
    rows.append(pair(shop.label("total"), shown, form if size < 1.4 else "edges", **style))
    if rng.random() < 0.65:
        note = 10.0 ** (len(f"{due:.0f}") - 1)
        given = float(np.ceil(due / note) * note)
        rows.append(pair(shop.label("cash"), shop.amount(given), form))
        rows.append(pair(shop.label("change"), shop.amount(given - due), form))
    elif rng.random() < 0.8:
        rows.append(pair(shop.label("card"), shop.amount(due, symbol=True), form))
    return rows + rule(shop, 0.5)


def _tax_table(shop: Shop, total: float) -> list[Row]:
    net = total / (1 + float(shop.tax_rate) / 100)
    heads = (shop.say("summary"), "%", shop.label("amount"), shop.label("tax"))
    code = shop.one_of(("SR", "A", "1", "B ="))
    values = (code, shop.tax_rate, shop.amount(net), shop.amount(total - net))
    first, second = (
        Row("text", (left(a, 0, 0.3), right(b, 0.3, 0.48), right(c, 0.5, 0.74), right(d, 0.77, 1)))
        for a, b, c, d in (heads, values)
    )
    if shop.rng.random() < 0.25:
        return [Row("frame"), first, second, Row("unframe")]
    return [first._replace(bold=shop.rng.random() < 0.4), *rule(shop), second]


def _notes(shop: Shop) -> list[Row]:
    """Rows of small print."""
    return [line(shop, shop.say("note")) for _ in range(shop.rng.integers(1, 4))]


def _closing(shop: Shop) -> list[Row]:
    """Rows of signature, thanks and codes."""
    rng = shop.rng
    sign = [Row("sign"), line(shop, shop.say("sign"))] if rng.random() < 0.1 else []
    thanks = [
        line(shop, shop.say("thanks"), bold=rng.random() < 0.2) for _ in range(rng.integers(1, 3))
    ]
    code, kind = [], rng.random()
    if kind < 0.22:
        code = [Row("barcode", size=float(rng.uniform(1.5, 3)))]
        code += [line(shop, shop.fill("~~~~~~~~~~~~"))] if rng.random() < 0.7 else []
    elif kind < 0.32:
        code = [Row("qr", size=float(rng.uniform(4, 7)))]
    ends = (thanks, code) if rng.random() < 0.6 else (code, thanks)
    return [*gap(shop, 0.5), *sign, *ends[0], *gap(shop, 0.6), *ends[1]]
