"""Kinds of difficulty in hard receipts, and how often they occur."""

import numpy as np

KINDS = {
    "low resolution": 0.25,  # scaled down and up again, perhaps sharpened
    "blur": 0.15,  # out of focus or shaken
    "compression": 0.3,  # JPEG quality 15 to 50
    "shadow": 0.3,
    "creases": 0.4,  # folded or crumpled paper
    "show-through": 0.25,  # mirrored print of the back
    "faint print": 0.25,
    "tight lines": 0.35,  # line spacing down to 0.78 ems
    "tables": 0.3,  # dense tables of characters, single digits in columns
    "far columns": 0.3,  # items and prices at opposite edges, with nothing or dots between them
    "wide print": 0.3,  # some lines, or all, up to three times as wide, or letters far apart
    "logo": 0.4,  # names up to 8 times as large as the body text
    "bands": 0.35,  # white on black
    "black blocks": 0.25,  # several rows on one speckled black area
    "card data": 0.3,  # masked card numbers, terminal data of digits and slashes
    "separators": 0.5,  # rows of * - = _ #, unlabelled
    "codes": 0.3,  # barcodes, QR codes, stacked codes
    "stamp": 0.12,  # labelled
    "handwriting": 0.2,  # illegible, across the print, unlabelled
    "street photo": 0.3,  # behind the receipts; its texts are ignored
    "several": 0.15,  # two or three receipts on one image
    "cut off": 0.3,  # at the image's border
}
"""Probability of each kind. Most receipts have several."""


def draw_kinds(rng: np.random.Generator) -> frozenset[str]:
    """A random selection, each kind by its probability."""
    return frozenset(kind for kind, chance in KINDS.items() if rng.random() < chance)
