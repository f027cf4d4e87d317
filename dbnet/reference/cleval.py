"""Reference of `CLEval` (arXiv:2006.06244): loops over texts, detections and characters.

Areas are summed over horizontal slabs of the plane, without a clipping library.
"""

import itertools
import math

import numpy as np

from dbnet.geometry import min_area_quad

# Counts that the published package has too.
NAMES = (
    "num_splitted",
    "num_merged",
    "num_char_overlapped",
    "num_char_gt",
    "num_char_det",
    "num_char_tp",
    "num_char_fp",
    "gran_score_recall",
    "gran_score_precision",
)


def evaluate(dets, gts, ignored, texts, *, ap_constraint=0.3, vertical=0.5):
    """Counts of one image, by name. Polygons are float32 (P, 2); settings: `CLEvalConfig`.

    `ignored` texts are don't care. A text is "" where the transcription is unknown. A text is
    vertical if its width / height is below `vertical`.
    """
    centres = [
        characters(gt, text, is_dc, vertical)
        for gt, is_dc, text in zip(gts, ignored, texts, strict=True)
    ]
    lengths = [len(points) for points in centres]

    dc = [g for g in range(len(gts)) if ignored[g]]
    valid = [g for g in range(len(gts)) if not ignored[g]]
    whole_gts, whole_dets = [np.trunc(p) for p in gts], [np.trunc(p) for p in dets]
    cut = [whole_gts[v] for v in valid]  # texts are cut out of don't-care texts
    shares = [
        [share(det, gt, cut if is_dc else []) for det in whole_dets]
        for gt, is_dc in zip(whole_gts, ignored, strict=True)
    ]
    chars = [
        [{c for c, at in enumerate(row) if is_inside(det, at)} for det in whole_dets]
        for row in centres
    ]
    least = np.float32(ap_constraint)

    left_out = []
    for d in range(len(dets)):
        together = np.float32(0)
        for g in dc:
            if chars[g][d]:
                together += shares[g][d]
        if together >= least or any(shares[g][d] >= least for g in dc):
            left_out.append(d)
    counted = [d for d in range(len(dets)) if d not in left_out]

    match = matches(chars, shares, valid, counted, ap_constraint)
    claims = [(g, c) for g, d in match for c in chars[g][d]]
    pieces = [sum(h == g for h, _ in match) for g in valid]
    members = [sum(e == d for _, e in match) for d in counted]
    alone = [dets[d] for d, n in zip(counted, members, strict=True) if n == 0]
    false = [rounded(1 / (1e-5 + aspect(axis(det)))) for det in alone]
    return {
        "num_gt": len(gts),
        "num_gt_dc": len(dc),
        "num_det": len(dets),
        "num_det_dc": len(left_out),
        "num_splitted": sum(n > 1 for n in pieces),
        "num_merged": sum(n > 1 for n in members),
        "num_char_overlapped": len(claims) - len(set(claims)),
        "num_char_gt": sum(lengths[g] for g in valid),
        "num_char_det": len(claims) + sum(false),
        "num_char_tp": len(set(claims)),
        "num_char_fp": sum(false),
        "gran_score_recall": sum(n - 1 for n in pieces if n),
        "gran_score_precision": sum(n - 1 for n in members if n),
    }


def share(det, gt, cut):
    """Share of the detection's area on the text and on none of the polygons `cut`, float32."""
    area = abs(shoelace(det))
    if area == 0:
        return np.float32(0)
    common = measure([gt, det, *cut], lambda inside: all(inside[:2]) and not any(inside[2:]))
    return np.float32(common / area)


def characters(gt, text, is_dc, vertical):
    """Centres of a text's characters; without a transcription, of about square ones."""
    quad = axis(gt)
    ratio = aspect(quad)
    length = rounded(max(ratio, 1 / ratio)) if is_dc or not text else len(text)
    if ratio < vertical:
        quad = quad[[3, 0, 1, 2]]
    start, end = (quad[0] + quad[3]) / np.float32(2), (quad[1] + quad[2]) / np.float32(2)
    step = (end - start) / np.float32(length)
    half = start + step / np.float32(2)
    return [half + step * np.float32(i) for i in range(length)]


def matches(chars, shares, valid, counted, ap_constraint):
    """Pairs (text, detection): one to one, a text in pieces, several texts in one detection.

    `chars` and `shares` hold all texts by all detections. `valid` and `counted` are the indexes of
    the texts and detections that take part.
    """
    least = np.float32(ap_constraint)

    def close(g, d):
        return bool(chars[g][d]) and shares[g][d] >= least

    match = set()
    for g, d in itertools.product(valid, counted):
        only_det = [e for e in range(len(chars[g])) if close(g, e)] == [d]
        only_gt = [h for h in range(len(chars)) if close(h, d)] == [g]
        if only_det and only_gt:
            match.add((g, d))
    for g in valid:
        pieces = [d for d in counted if close(g, d)]
        if len(pieces) > 1:
            match |= {(g, d) for d in pieces}
    for d in counted:
        members = [g for g in valid if chars[g][d]]
        if len(members) > 1 and sum(float(shares[g][d]) for g in members) >= ap_constraint:
            match |= {(g, d) for g in members}
    return match


def axis(polygon):
    """The polygon if it is a quad, else its smallest rectangle."""
    return polygon if len(polygon) == 4 else min_area_quad(polygon)


def aspect(quad):
    """Width over height, from the mean lengths of opposite sides."""
    steps = [(quad[(i + 1) % 4] - quad[i]).tolist() for i in range(4)]
    sides = [math.sqrt(x * x + y * y) for x, y in steps]
    return ((sides[0] + sides[2]) / 2 + 1e-5) / ((sides[1] + sides[3]) / 2 + 1e-5)


def rounded(ratio):
    """Number of square characters at this aspect ratio, at most 10."""
    return min(round(0.5 + ratio), 10)


def edges(polygon):
    return list(zip(polygon.tolist(), np.roll(polygon, -1, axis=0).tolist(), strict=True))


def shoelace(polygon):
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in edges(polygon)) / 2


def is_inside(polygon, point):
    """Whether the point is inside the polygon, by the even-odd rule with a ray to the right."""
    x, y = map(float, point)
    odd = False
    for (x0, y0), (x1, y1) in edges(polygon.astype(np.float64)):
        if (y0 <= y) != (y1 <= y):
            odd ^= x < (x0 - x1) * (y - y1) / (y0 - y1) + x1
    return odd


def measure(polygons, wanted):
    """Area of the points for which wanted([is inside polygon 0, 1, ...]) holds, even-odd rule.

    The plane is cut into slabs at every y where an edge ends or two edges cross. Within a slab,
    widths are linear in y. The width halfway times the height of the slab is therefore the area.
    """
    lines = [(e, i) for i, polygon in enumerate(polygons) for e in edges(polygon)]
    heights = {y for (a, b), _ in lines for y in (a[1], b[1])}
    for (one, _), (two, _) in itertools.combinations(lines, 2):
        heights |= crossing(*one, *two)
    heights = sorted(heights)
    total = 0.0
    for low, high in itertools.pairwise(heights):
        y = (low + high) / 2
        cuts = sorted(
            (x0 + (x1 - x0) * (y - y0) / (y1 - y0), i)
            for ((x0, y0), (x1, y1)), i in lines
            if (y0 <= y) != (y1 <= y)
        )
        inside = [False] * len(polygons)
        for (x, i), (following, _) in itertools.pairwise(cuts):
            inside[i] = not inside[i]
            if wanted(inside):
                total += (following - x) * (high - low)
    return total


def crossing(a, b, c, d):
    """Set of the y at which segments ab and cd cross; empty if they do not."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = a, b, c, d
    turn = (bx - ax) * (dy - cy) - (by - ay) * (dx - cx)
    if turn == 0:
        return set()
    t = ((cx - ax) * (dy - cy) - (cy - ay) * (dx - cx)) / turn
    u = ((cx - ax) * (by - ay) - (cy - ay) * (bx - ax)) / turn
    return {ay + t * (by - ay)} if 0 <= t <= 1 and 0 <= u <= 1 else set()
