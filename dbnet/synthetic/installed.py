"""Font files of Debian packages that look like the fonts of receipt printers.

Receipts in the hard style use the installed ones besides OpenCV's own fonts. The packages are
listed in docs/synthetic.md.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dbnet.synthetic.fonts import Typeface, choose_typeface

FOLDER = Path("/usr/share/fonts")

_FILES = {  # file name: what it can write
    "DotGothic16-Regular.ttf": "latin japanese",
    "misaki_gothic.ttf": "latin japanese",
    "misaki_gothic_2nd.ttf": "latin japanese",
    "misaki_mincho.ttf": "latin japanese",
    "unifont.otf": "latin korean japanese chinese thai arabic",
    "spleen-6x12.otf": "latin",
    "spleen-8x16.otf": "latin",
    "spleen-12x24.otf": "latin",
    "spleen-16x32.otf": "latin",
    "3270-Regular.ttf": "latin",
    "3270Condensed-Regular.ttf": "latin",
    "3270SemiCondensed-Regular.ttf": "latin",
    "Glass_TTY_VT220.ttf": "latin",
    "NanumGothic.ttf": "latin korean",
    "NanumGothicBold.ttf": "latin korean",
    "NanumGothicCoding.ttf": "latin korean",
    "NanumGothicCodingBold.ttf": "latin korean",
    "NanumMyeongjo.ttf": "latin korean",
    "NanumBarunGothic.ttf": "latin korean",
    "batang.ttf": "latin korean",
    "dotum.ttf": "latin korean",
    "gulim.ttf": "latin korean",
    "VL-Gothic-Regular.ttf": "latin japanese chinese",
    "VL-PGothic-Regular.ttf": "latin japanese chinese",
    "TlwgTypewriter.ttf": "latin thai",
    "TlwgTypewriter-Bold.ttf": "latin thai",
    "KacstBook.ttf": "arabic",
    "KacstOffice.ttf": "arabic",
    "KacstNaskh.ttf": "arabic",
    "KacstPoster.ttf": "arabic",
    "KacstScreen.ttf": "arabic",
}
_SCRIPTS = ("korean", "japanese", "chinese", "thai", "arabic")  # other languages are latin
_BUILT_IN = ("latin", "korean", "japanese", "chinese")  # what OpenCV's own fonts can write


class FontFile(NamedTuple):
    """One font file and the scripts that it can write."""

    path: str
    scripts: frozenset[str]


@cache
def find_fonts(folder: Path = FOLDER) -> tuple[FontFile, ...]:
    """Known font files below a folder, sorted by name; none where the folder is missing."""
    found = {path.name: path for path in sorted(folder.rglob("*.[ot]tf")) if path.name in _FILES}
    return tuple(
        FontFile(str(found[name]), frozenset(_FILES[name].split())) for name in sorted(found)
    )


def writable(language: str, fonts: tuple[FontFile, ...]) -> bool:
    """Whether OpenCV's own fonts or one of these can write a language of words.txt."""
    script = _script(language)
    return script in _BUILT_IN or any(script in font.scripts for font in fonts)


def choose_face(
    rng: np.random.Generator, fonts: tuple[FontFile, ...], *, language: str, spaced: bool
) -> Typeface:
    """A random typeface that can write the language, from a font file or built in."""
    script = _script(language)
    able = [font for font in fonts if script in font.scripts]
    if not able or (script in _BUILT_IN and rng.random() < 0.4):
        return choose_typeface(rng, spaced=spaced)
    path = able[rng.integers(len(able))].path
    stretch = float(rng.uniform(0.85, 1.12))
    finish = str(rng.choice(["smooth", "hard", "dots"], p=[0.55, 0.35, 0.1]))
    if script != "latin" and finish == "dots":  # too coarse for dense letters
        finish = "smooth"
    return Typeface(path, int(rng.choice([400, 400, 600])), stretch, 0.0, False, finish)


def _script(language: str) -> str:
    return language if language in _SCRIPTS else "latin"
