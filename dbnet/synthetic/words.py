"""The vocabulary of drawn receipts (words.txt), and shops that write phrases and amounts."""

import datetime
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

Option = TypeVar("Option")


class Money(NamedTuple):
    """How amounts are written. A shop chooses one symbol and one of each separator."""

    symbols: tuple[str, ...]
    decimals: int
    points: str  # decimal separators
    groups: str  # thousands separators
    cheapest: float
    dearest: float
    trailing: bool  # the symbol follows the number


class Locale(NamedTuple):
    """One language and country."""

    share: float  # of all receipts
    language: str  # section of words.txt
    money: Money
    tax_rates: tuple[str, ...]  # percent
    spaced: bool  # false: Chinese, Japanese and Korean, whose characters fill two columns


_EURO = ("€", "EUR")
LOCALES = (
    Locale(
        0.30, "malay", Money(("RM", "RM", "MYR"), 2, ".", ",", 0.5, 90, False), ("6", "0"), True
    ),
    Locale(0.14, "english", Money(("$", "USD"), 2, ".", ",", 0.6, 60, False), ("7", "8.25"), True),
    Locale(0.07, "british", Money(("£", "GBP"), 2, ".", ",", 0.5, 50, False), ("20", "5"), True),
    Locale(0.11, "indonesian", Money(("Rp", "IDR"), 0, " ", ",.", 2e3, 9e4, False), ("10",), True),
    Locale(0.08, "german", Money(_EURO, 2, ",", ".", 0.5, 60, True), ("19", "7"), True),
    Locale(0.07, "french", Money(_EURO, 2, ",.", " ", 0.5, 60, True), ("20", "10"), True),
    Locale(0.05, "spanish", Money(_EURO, 2, ",", ".", 0.5, 60, True), ("21", "10"), True),
    Locale(0.09, "korean", Money(("원",), 0, " ", ",", 900, 4e4, True), ("10",), False),
    Locale(0.05, "japanese", Money(("¥", "円"), 0, " ", ",", 90, 3e3, False), ("10", "8"), False),
    Locale(0.04, "chinese", Money(("¥", "HK$"), 2, ".", ",", 2, 99, False), ("6", "13"), False),
)

MORE_LOCALES = (
    Locale(0.12, "thai", Money(("฿", "THB"), 2, ".", ",", 10, 900, True), ("7",), True),
    Locale(0.08, "arabic", Money(("SAR", "AED"), 2, ".", ",", 1, 200, True), ("15", "5"), True),
)
"""For hard receipts, where a font that has these letters is installed."""


@cache
def vocabulary(language: str) -> dict[str, tuple[str, ...]]:
    """Phrases of a language by key; English phrases for keys that the language lacks."""
    sections: dict[str, dict[str, tuple[str, ...]]] = {}
    for line in Path(__file__).with_name("words.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, phrases = line.split("=", 1)
            section[key] = section.get(key, ()) + tuple(phrases.split("|"))
    return sections["english"] | sections[language]


class Shop:
    """Language, currency, labels and style of one receipt."""

    def __init__(self, rng: np.random.Generator, locales: Sequence[Locale] = LOCALES) -> None:
        shares = np.array([locale.share for locale in locales])
        locale = locales[rng.choice(len(locales), p=shares / shares.sum())]
        self.language = locale.language
        self.rng, self.spaced, self._money = rng, locale.spaced, locale.money
        self.words = vocabulary(locale.language)
        self.upper = rng.random() < 0.45
        self.align = "left" if rng.random() < 0.12 else "center"
        self.mark = self.one_of("---=*._lld")  # of its rules, see `Row.mark`
        self.tax_rate = self.one_of(locale.tax_rates)
        self.symbol = self.one_of(locale.money.symbols)
        self.symbol_at = self.one_of(("nowhere", "total", "total", "everywhere"))
        small = 100.0 if locale.money.cheapest >= 1000 else 10.0
        self.coin = 0.05 if locale.money.decimals else small  # the smallest coin
        self._blank = self.one_of(("", " "))
        self._point = self.one_of(locale.money.points)
        self._group = self.one_of(locale.money.groups)
        moment = datetime.datetime(2012, 1, 1, 7) + datetime.timedelta(
            days=int(rng.integers(5000)), seconds=int(rng.integers(60_000))
        )
        clock = self.one_of(("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p"))
        self._fixed = {
            "{date}": moment.strftime(self.one_of(self.words["date"])),
            "{time}": moment.strftime(clock),
            "{symbol}": self.symbol,
            "{rate}": self.tax_rate,
        }
        self._decks: dict[str, list[str]] = {}
        self._labels: dict[str, str] = {}

    def one_of(self, options: Sequence[Option]) -> Option:
        return options[int(self.rng.integers(len(options)))]

    def some(self, key: str, low: int, high: int) -> list[list[str]]:
        """`low` to `high` - 1 different entries [label, value] of a key, placeholders filled."""
        entries = self.words[key]
        chosen = self.rng.permutation(len(entries))[: self.rng.integers(low, high)]
        return [[self.fill(part) for part in entries[i].split("=", 1)] for i in chosen]

    def fill(self, phrase: str) -> str:
        """Replace the placeholders of words.txt."""

        def value(match: re.Match[str]) -> str:
            token = match.group()
            if token == "~":
                return str(self.rng.integers(10))
            if token == "^":
                return chr(ord("A") + int(self.rng.integers(26)))
            return self._fixed.get(token) or self.say(token[1:-1])

        return re.sub(r"~|\^|\{\w+\}", value, phrase)

    def say(self, key: str) -> str:
        """A random phrase of a key. Phrases repeat only after all of the key have been used."""
        deck = self._decks.setdefault(key, [])
        if not deck:
            deck += [self.words[key][i] for i in self.rng.permutation(len(self.words[key]))]
        text = self.fill(deck.pop())
        return text.upper() if self.upper else text

    def label(self, key: str) -> str:
        """The phrase of a key, the same at every call."""
        if key not in self._labels:
            self._labels[key] = self.say(key)
        return self._labels[key]

    def figure(self, value: float) -> str:
        """A number with the shop's separators and sign, without the currency symbol."""
        value = self.rounded(value)
        text = f"{abs(value):,.{self._money.decimals}f}"
        text = text.translate({ord(","): self._group, ord("."): self._point})
        return f"-{text}" if value < 0 else text

    def amount(self, value: float, *, symbol: bool = False) -> str:
        """A number, with the currency symbol if `symbol` is set or the shop always prints it."""
        text = self.figure(value)
        if not symbol and self.symbol_at != "everywhere":
            return text
        return self._blank.join(
            (text, self.symbol) if self._money.trailing else (self.symbol, text)
        )

    def price(self) -> float:
        """A random price, log-uniform in the range of the currency, rounded to coins."""
        cheapest, dearest = self._money.cheapest, self._money.dearest
        value = float(np.exp(self.rng.uniform(np.log(cheapest), np.log(dearest))))
        below = 0.01 if self._money.decimals and self.rng.random() < 0.3 else 0.0
        return self.rounded(max(1, round(value / self.coin)) * self.coin - below)

    def rounded(self, value: float) -> float:
        """The value rounded to the decimals of the currency."""
        return round(value, self._money.decimals)
