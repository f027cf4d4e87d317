"""Small made-up pages with annotations and detections, the same on every machine.

Only arithmetic and `random.random`, whose stream Python guarantees, are used.
"""

from random import Random

import numpy as np

KINDS = ("words", "turned", "skewed", "grid", "tiny", "crossing", "dont_care", "upright")


def box(x, y, width, height):
    """Upright quad, float32 (4, 2)."""
    return _box(x, y, width, height).astype(np.float32)


def picked(result, names):
    """The figures with these names."""
    return {name: result[name] for name in names}


def scene(seed):
    """(det_polygons, gt_polygons, ignored, texts) of kind KINDS[seed % 8]."""
    rng = Random(seed)
    kind = KINDS[seed % len(KINDS)]
    size = {"tiny": 8.0, "grid": 24.0}.get(kind, 60.0 + 400.0 * rng.random())
    gts = [] if rng.random() < 0.05 else _texts(rng, kind, size)
    share = 0.4 if kind == "dont_care" else 0.1
    ignored = np.array([rng.random() < share for _ in gts], bool)
    known = rng.random() < 0.8
    texts = ["x" * _whole(rng, 0, 12) if known else "" for _ in gts]
    dets = [] if rng.random() < 0.05 else _detections(rng, kind, size, gts)
    dets.sort(key=lambda _: rng.random())
    return _float32(dets), _float32(gts), ignored, texts


def _texts(rng, kind, size):
    if kind in ("words", "turned", "skewed", "upright"):
        rows = _rows(rng, size)
        turn = _turn(rng, 0.2 if kind == "skewed" else 1.0)
        if kind == "upright":
            rows = [row[:, ::-1][[0, 3, 2, 1]] for row in rows]
        return [row @ turn for row in rows] if kind in ("turned", "skewed") else rows
    quads = []
    for _ in range(_whole(rng, 1, 12)):
        x, y = rng.random() * size, rng.random() * size
        quad = _box(x, y, rng.random() * size / 2, rng.random() * size / 3)
        if kind == "grid":
            quad = np.round(quad / 3) * 3
        if kind == "crossing" and rng.random() < 0.5:
            quad = quad[sorted(range(4), key=lambda _: rng.random())]
        if kind == "crossing" and rng.random() < 0.3:  # a dent
            quad[2] = quad.mean(axis=0) * 0.7 + quad[0] * 0.3
        if kind == "dont_care" and rng.random() < 0.5:
            quad = quad @ _turn(rng, 1.0)
        quads.append(quad)
    return quads


def _rows(rng, size):
    quads, y = [], 0.0
    while y < size and len(quads) < 14:
        height, x = size * (0.05 + 0.1 * rng.random()), size * 0.1 * rng.random()
        while x < size and len(quads) < 14:
            width = size * (0.1 + 0.5 * rng.random())
            quads.append(_box(x, y, width, height))
            x += width + height * (0.3 + rng.random())
        y += height * (0.9 + 0.5 * rng.random())
    return quads


def _detections(rng, kind, size, gts):
    """The texts jittered, split, merged with the next, doubled, dropped; and false ones."""
    found = []
    for i, quad in enumerate(gts):
        choice = rng.random()
        if choice < 0.12:
            continue
        if choice < 0.27:
            cut = 0.3 + 0.4 * rng.random()
            top = quad[0] + (quad[1] - quad[0]) * cut
            bottom = quad[3] + (quad[2] - quad[3]) * cut
            found += [np.stack([quad[0], top, bottom, quad[3]])]
            found += [np.stack([top, quad[1], quad[2], bottom])]
        elif choice < 0.40 and i + 1 < len(gts):
            both = np.concatenate([quad, gts[i + 1]])
            low, high = both.min(axis=0), both.max(axis=0)
            found.append(_box(*low, *(high - low)))
        else:
            found.append(quad)
        if rng.random() < 0.08:
            found.append(quad + size * 0.02)
        if rng.random() < 0.08:
            x, y = rng.random() * size, rng.random() * size
            found.append(_box(x, y, rng.random() * size / 3, rng.random() * size / 3))
    noise = 0.0 if kind == "grid" else (0.0, 0.5, 2.0)[_whole(rng, 0, 2)]
    jitter = [[[rng.random() - 0.5 for _ in "xy"] for _ in range(4)] for _ in found]
    return [quad + 2 * noise * np.array(move) for quad, move in zip(found, jitter, strict=True)]


def _box(x, y, width, height):
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])


def _turn(rng, most):
    """A rotation by up to 90 degrees times `most` either way, without sine and cosine."""
    t = most * (2 * rng.random() - 1)
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    return np.array([[cosine, sine], [-sine, cosine]])


def _whole(rng, low, high):
    return low + int(rng.random() * (high - low + 1))


def _float32(polygons):
    return [np.asarray(polygon, np.float32) for polygon in polygons]
