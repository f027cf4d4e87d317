"""Errors of the detections in an image, as the reason for low figures.

Kinds of errors, by overlap areas in original pixels. c is the share of the text that a detection
covers, p the share of the detection that lies on the text:

- split: several detections lie mostly on one text (p >= 0.5 each);
- merged: one detection covers several texts mostly (c >= 0.5 each);
- inexact: text and detection overlap most with each other, but their IoU is below 0.5;
- missed: a text of none of these kinds without a detection of IoU >= 0.5;
- false: a detection of which less than half lies on texts.

Ignored regions and detections that lie mostly on them play no part.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import shapely

Kind = Literal["missed", "false", "split", "merged", "inexact"]
KINDS: tuple[Kind, ...] = ("missed", "false", "split", "merged", "inexact")

_MOSTLY = 0.5


class TextError(NamedTuple):
    """One error with the outlines that take part."""

    kind: Kind
    truth: list[int]  # indices of the image's texts
    found: list[int]  # indices of its detections


def find_errors(
    found: Sequence[np.ndarray], truth: Sequence[np.ndarray], ignored: np.ndarray
) -> list[TextError]:
    """The errors in one image.

    Args:
        found: D outlines, (P, 2), original pixels.
        truth: G outlines, (P, 2), in the same frame.
        ignored: bool (G,), regions that are neither text nor background.
    """
    texts = [i for i, skip in enumerate(ignored) if not skip]
    regions = [i for i, skip in enumerate(ignored) if skip]
    outlines = _shapes(found)
    areas = np.maximum(shapely.area(outlines), 1e-9)
    on_ignored = _overlaps(_shapes([truth[i] for i in regions]), outlines).sum(axis=0) / areas
    dets = np.flatnonzero(on_ignored <= _MOSTLY)

    true_shapes = _shapes([truth[i] for i in texts])
    true_areas = np.maximum(shapely.area(true_shapes), 1e-9)  # (T,)
    overlaps = _overlaps(true_shapes, outlines[dets])  # (T, D)
    covered = overlaps / true_areas[:, None]  # c
    pure = overlaps / areas[dets]  # p
    iou = overlaps / (true_areas[:, None] + areas[dets] - overlaps)

    errors = []
    explained_texts: set[int] = set()
    explained_dets: set[int] = set()
    for t in range(len(texts)):
        parts = np.flatnonzero(pure[t] >= _MOSTLY)
        if len(parts) > 1:
            errors.append(TextError("split", [texts[t]], dets[parts].tolist()))
            explained_texts.add(t)
            explained_dets.update(parts.tolist())
    for d in range(len(dets)):
        parts = np.flatnonzero(covered[:, d] >= _MOSTLY)
        if len(parts) > 1:
            errors.append(TextError("merged", [texts[t] for t in parts], [int(dets[d])]))
            explained_texts.update(parts.tolist())
            explained_dets.add(d)
    for t in range(len(texts)):
        if t in explained_texts or iou[t].max(initial=0) >= _MOSTLY:
            continue
        d = int(overlaps[t].argmax()) if len(dets) else -1
        if d >= 0 and d not in explained_dets and overlaps[t, d] > 0.2 * true_areas[t]:
            errors.append(TextError("inexact", [texts[t]], [int(dets[d])]))
            explained_dets.add(d)
        else:
            errors.append(TextError("missed", [texts[t]], []))
    for d in range(len(dets)):
        if d not in explained_dets and pure[:, d].sum() < _MOSTLY:
            errors.append(TextError("false", [], [int(dets[d])]))
    return errors


def count_errors(errors: Sequence[TextError]) -> dict[str, int]:
    """Number of errors of each kind."""
    return {kind: sum(error.kind == kind for error in errors) for kind in KINDS}


def _shapes(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Valid shapely geometries, object (n,)."""
    return shapely.make_valid(
        np.array([shapely.Polygon(np.asarray(p, np.float64)) for p in polygons], object)
    )


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Areas of all pairwise intersections, float64 (len(first), len(second)), square pixels."""
    areas = np.zeros((len(first), len(second)))
    if areas.size:
        i, j = shapely.STRtree(second).query(first, predicate="intersects")
        areas[i, j] = shapely.area(shapely.intersection(first[i], second[j]))
    return areas
