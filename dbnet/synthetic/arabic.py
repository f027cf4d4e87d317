"""Arabic for renderers that do not shape text: joined letter forms in visual order."""

import unicodedata
from functools import cache

_BLOCK = range(0xFE80, 0xFEFD)  # presentation forms B: letters, and lam with alef


@cache
def _forms() -> dict[tuple[str, str], str]:
    """Presentation forms by (letter, "isolated" | "final" | "initial" | "medial")."""
    forms = {}
    for code in _BLOCK:
        form, *letters = unicodedata.decomposition(chr(code)).split()
        forms["".join(chr(int(letter, 16)) for letter in letters), form.strip("<>")] = chr(code)
    return forms


def is_arabic(text: str) -> bool:
    """Whether any character is an Arabic letter or a presentation form of one."""
    return any("\u0600" <= char <= "\u06ff" or ord(char) in _BLOCK for char in text)


def visual(text: str) -> str:
    """A line in visual order: words from left to right, Arabic words shaped and reversed."""
    words = [_shape(word)[::-1] if is_arabic(word) else word for word in text.split()]
    return " ".join(reversed(words))


def logical(text: str) -> str:
    """The inverse of `visual`."""
    words = [
        unicodedata.normalize("NFKC", word[::-1]) if is_arabic(word) else word
        for word in text.split()
    ]
    return " ".join(reversed(words))


def _shape(word: str) -> str:
    forms = _forms()
    shaped, joined = [], False  # joined: with the previous letter
    for i, char in enumerate(word):
        follows = i + 1 < len(word) and (word[i + 1], "final") in forms
        joins = follows and (char, "initial") in forms
        form = ("medial" if joins else "final") if joined else ("initial" if joins else "isolated")
        shaped.append(forms.get((char, form), char))
        joined = joins
    return "".join(shaped)
