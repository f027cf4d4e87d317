"""Visible parts of texts: below other paper, at the image's border, and at low contrast."""

from typing import NamedTuple

import cv2
import numpy as np
import pyclipper

from dbnet.geometry import area

_FAINTEST = 14  # grey levels between print and paper that a person can still read


class Text(NamedTuple):
    outline: np.ndarray  # float32 (P, 2), pixels of the image; may reach beyond it
    text: str
    ignored: bool


def behind_paper(text: Text, mask: np.ndarray) -> Text | None:
    """The text below a sheet that lies where `mask`, uint8 (H, W), is 255.

    With more than 10 % of its outline hidden, the text is ignored; with more than 90 %, None.
    """
    x, y, width, height = cv2.boundingRect(text.outline)
    x0, y0 = max(0, x), max(0, y)
    covered = mask[y0 : max(0, y + height), x0 : max(0, x + width)]
    if not covered.any():
        return text
    inside = np.zeros(covered.shape, np.uint8)
    cv2.fillPoly(inside, [np.round(text.outline - (x0, y0)).astype(np.int32)], 255)
    hidden = float(covered[inside > 0].mean() / 255) if inside.any() else 1.0
    if hidden > 0.9:
        return None
    return text._replace(ignored=True, text="") if hidden > 0.1 else text


def clipped(text: Text, shape: tuple[int, int]) -> Text | None:
    """The part of a text inside an image of (height, width); None where hardly anything is left.

    A part with less than 0.55 of the height is ignored. A part with less than 0.98 of the area
    has no transcription.
    """
    points = text.outline
    border = np.array(shape[::-1]) - 1
    if (points >= 0).all() and (points <= border).all():
        return text
    frame = border * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    clipper = pyclipper.Pyclipper()
    clipper.AddPath(np.round(points * 1000.0).astype(np.int64).tolist(), pyclipper.PT_SUBJECT)
    clipper.AddPath((1000 * frame).tolist(), pyclipper.PT_CLIP)
    pieces = clipper.Execute(pyclipper.CT_INTERSECTION)
    if not pieces:
        return None
    left = (np.array(max(pieces, key=pyclipper.Area)) / 1000).astype(np.float32)
    height, whole = min(cv2.minAreaRect(left)[1]), min(cv2.minAreaRect(points)[1])
    if height < 2:
        return None
    if area(left) > 0.98 * area(points):
        return text._replace(outline=left)
    return Text(left, "", text.ignored or height < 0.55 * whole)


def legible(text: Text, image: np.ndarray) -> Text:
    """The text, ignored where its contrast in the image (H, W, 3) is too low to read."""
    x, y, width, height = cv2.boundingRect(text.outline)
    crop = image[max(0, y) : y + height, max(0, x) : x + width]
    grey = cv2.blur(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (3, 3))
    dark, bright = np.percentile(grey, (4, 95))
    return text if bright - dark >= _FAINTEST else text._replace(ignored=True)
