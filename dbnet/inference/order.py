"""Reading order: rows from top to bottom, texts of a row along it, and where each text starts."""

from typing import NamedTuple

import numpy as np

from dbnet.geometry import min_area_quads
from dbnet.inference.rows import Lines, group_rows, straightened
from dbnet.structures import Detections

_ELONGATED = 2.0  # times as long as high, a text shows its direction
# What `upright_evidence` adds up, each divided by its standard deviation over receipts.
_SPREAD_OF_LENGTHS, _SPREAD_OF_CENTRED, _SPREAD_OF_MIDDLE = 0.22, 0.33, 0.032


class Layout(NamedTuple):
    """n texts of one image in reading order."""

    order: np.ndarray  # int (n,), index of each in the input
    rows: np.ndarray  # int (n,), number of the row, from 0 at the top
    quads: np.ndarray  # float32 (n, 4, 2), clockwise, from where the text's first letter starts


def reading_order(polygons: list[np.ndarray]) -> Layout:
    """Group texts into rows and sort them: rows downwards, texts of a row along it.

    Rows follow the direction of the texts around them, so that a skewed or curled receipt comes
    apart correctly. Where most texts stand upright on a vertical page edge (a receipt turned by
    90 degrees), `upright_evidence` tells which way it was turned. A receipt turned by 180 degrees
    looks like one that is not, by its layout alone: it is read from the wrong end.

    Args:
        polygons: n x float32 (P, 2), pixels.
    """
    if not polygons:
        return Layout(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4, 2), np.float32))
    quads = min_area_quads(polygons)
    angle = page_angle(polygons, quads)
    lines = straightened(polygons, angle)
    row_of = group_rows(lines)
    middles = np.bincount(row_of, lines.middle) / np.bincount(row_of)
    rank = np.argsort(np.argsort(middles))[row_of]
    order = np.lexsort((lines.start, rank))
    return Layout(order, rank[order], _turned(quads, angle)[order])


def in_reading_order(detections: Detections) -> tuple[Detections, Layout]:
    """The detections, sorted, and their layout."""
    layout = reading_order(detections.polygons)
    polygons = [detections.polygons[index] for index in layout.order]
    scores = detections.scores[layout.order]
    return detections._replace(polygons=polygons, scores=scores), layout


def page_angle(polygons: list[np.ndarray], quads: np.ndarray) -> float:
    """Direction in which most texts read, radians from the x axis towards the y axis, -pi..pi."""
    along, length, height = text_sides(quads)
    weights = np.where(length >= _ELONGATED * height, length, 1e-6 * length)
    # The angles of lines repeat after 180 degrees: those of doubled angles can be averaged.
    double = np.exp(2j * np.arctan2(along[:, 1], along[:, 0])) @ weights
    angle = float(np.angle(double) / 2)  # -90..90 degrees
    if abs(angle) <= np.pi / 4:
        return angle
    down = angle % np.pi  # 45..135 degrees: the text reads downwards
    return down if upright_evidence(straightened(polygons, down)) >= 0 else down - np.pi


def upright_evidence(lines: Lines) -> float:
    """Above 0 where the layout looks like a receipt the right way up, below where upside down.

    Three signs, each the other way round on a receipt that is turned by 180 degrees: in rows of
    several texts the first is the longest (an item and its price); centred lines are at the top;
    text lies left of the middle.
    """
    length, centre = lines.end - lines.start, (lines.start + lines.end) / 2
    left, right = lines.start.min(), lines.end.max()
    width = max(right - left, 1e-6)
    row_of = group_rows(lines)
    by_row = np.lexsort((lines.start, row_of))
    is_first = np.diff(row_of[by_row], prepend=-1) > 0
    first, last = by_row[is_first], by_row[np.roll(is_first, -1)]
    several = first != last
    ratio = np.log(np.maximum(length[first], 1) / np.maximum(length[last], 1))[several]
    longest_first = np.tanh(ratio).mean() if several.any() else 0.0

    is_centred = np.exp(-(((centre - (left + right) / 2) / width / 0.05) ** 2) / 2)
    spread = is_centred.std() * lines.middle.std()
    covariance = np.mean((is_centred - is_centred.mean()) * (lines.middle - lines.middle.mean()))
    centred_on_top = -covariance / spread if spread > 1e-9 else 0.0

    lies_left = ((left + right) / 2 - centre @ length / max(length.sum(), 1e-6)) / width
    return float(
        longest_first / _SPREAD_OF_LENGTHS
        + centred_on_top / _SPREAD_OF_CENTRED
        + lies_left / _SPREAD_OF_MIDDLE
    )


def text_sides(quads: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of n rectangles: the longer side as a vector (n, 2), its length (n,), and the height (n,)."""
    first, second = quads[:, 1] - quads[:, 0], quads[:, 2] - quads[:, 1]
    lengths = np.stack([np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)])
    along = np.where((lengths[0] >= lengths[1])[:, None], first, second)
    return along, lengths.max(axis=0), np.maximum(lengths.min(axis=0), 1e-3)


def _turned(quads: np.ndarray, angle: float) -> np.ndarray:
    """The quads, each starting at the corner where its text starts on a page along `angle`.

    A long text across the page's direction reads along its longer side, downwards.
    """
    _, length, height = text_sides(quads)
    right = np.array([np.cos(angle), np.sin(angle)])
    down = np.array([-np.sin(angle), np.cos(angle)])
    edges = np.roll(quads, -1, axis=1) - quads  # (n, 4, 2), from each corner to the next
    lengths = np.linalg.norm(edges, axis=2)  # (n, 4)
    agrees = edges @ (right + 0.01 * down) / np.maximum(lengths, 1e-6)
    is_short = (length >= _ELONGATED * height)[:, None] & (lengths < length[:, None] * 0.75)
    first = np.where(is_short, -np.inf, agrees).argmax(axis=1)[:, None] + np.arange(4)
    return np.take_along_axis(quads, first[..., None] % 4, axis=1)
