"""Pictures: polygons on images, targets, probability maps. All images uint8 (H, W, 3) RGB."""

import cv2
import numpy as np

from dbnet.geometry import transform
from dbnet.structures import Batch, Detections

TRUE = (30, 160, 60)
FOUND = (225, 40, 60)
IGNORED = (150, 150, 150)
_GAP = 10  # pixels of white between pictures
_HEIGHT = 600  # pixels of an image in `draw_predictions`
STAGE_COLORS = (
    (76, 120, 168), (245, 133, 24), (84, 162, 75), (228, 87, 86), (114, 183, 178),
    (178, 121, 162), (238, 202, 59), (157, 117, 93), (186, 176, 172),
)  # fmt: skip


def draw_polygons(
    image: np.ndarray, polygons: list[np.ndarray], color: tuple[int, int, int], *, width: int = 1
) -> np.ndarray:
    """A copy of `image` with outlines; polygons in its pixels."""
    canvas = image.copy()
    outlines = [np.round(p * 8).astype(np.int32) for p in polygons]  # 3 bits below the pixel
    cv2.polylines(canvas, outlines, True, color, width, cv2.LINE_AA, shift=3)
    return canvas


def draw_result(
    image: np.ndarray, found: list[np.ndarray], truth: list[np.ndarray], ignored: np.ndarray
) -> np.ndarray:
    """Truth as a green tint (grey where ignored), detections as thin red outlines.

    A missed text is green without a line, a false one a line without green.
    """
    tinted = image.copy()
    for polygon, skip in zip(truth, ignored, strict=True):
        cv2.fillPoly(tinted, [np.round(polygon).astype(np.int32)], IGNORED if skip else TRUE)
    canvas = cv2.addWeighted(tinted, 0.4, image, 0.6, 0)
    return draw_polygons(canvas, found, FOUND, width=max(1, round(max(image.shape) / 900)))


def draw_found(image: np.ndarray, polygons: list[np.ndarray]) -> np.ndarray:
    """Detections alone: outlined, and tinted a little."""
    tinted = image.copy()
    cv2.fillPoly(tinted, [np.round(p).astype(np.int32) for p in polygons], FOUND)
    canvas = cv2.addWeighted(tinted, 0.15, image, 0.85, 0)
    return draw_polygons(canvas, polygons, FOUND, width=max(1, round(max(image.shape) / 900)))


def heatmap(values: np.ndarray) -> np.ndarray:
    """(H, W) values 0..1 as colours, uint8 (H, W, 3)."""
    levels = np.clip(values * 255, 0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)


def draw_targets(batch: Batch) -> np.ndarray:
    """Each image with its kernels (red) and masked-out regions (grey), above its threshold map."""
    tops, bottoms = [], []
    for index in range(len(batch.images)):
        canvas = batch.images[index].permute(1, 2, 0).numpy().astype(np.float32)  # (H, W, 3)
        for where, color in (
            (batch.shrink_map[index, 0].numpy() > 0, FOUND),
            (batch.shrink_mask[index, 0].numpy() == 0, IGNORED),
        ):
            canvas[where] = 0.35 * canvas[where] + 0.65 * np.array(color, np.float32)
        band = heatmap(batch.thresh_map[index, 0].numpy())
        band[batch.thresh_mask[index, 0].numpy() == 0] = 0
        tops.append(canvas.astype(np.uint8))
        bottoms.append(band)
    return np.vstack([np.hstack(tops), np.hstack(bottoms)])  # (2 H, N W, 3)


def draw_predictions(
    batch: Batch, prob_maps: np.ndarray, detections: list[Detections]
) -> np.ndarray:
    """Each image with its truth and detections as in `draw_result`, above its probability map.

    Padding is cut away, and all images get the same height. A legend stands on top.
    prob_maps (N, 1, H, W) and detections are in the batch's pixels.
    """
    columns = []
    for index, found in enumerate(detections):
        corner = batch.matrices[index][:2, :2] @ batch.orig_sizes[index][::-1]  # on the canvas
        scale = _HEIGHT / corner[1]
        size = (max(1, round(corner[0] * scale)), _HEIGHT)
        right, bottom = (max(1, round(side)) for side in corner)
        image = batch.images[index].permute(1, 2, 0).numpy()[:bottom, :right]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else 2)
        outlines, truth = (
            transform(polygons, np.diag([scale, scale, 1.0]))
            for polygons in (found.polygons, batch.polygons[index])
        )
        top = draw_result(image, outlines, truth, batch.ignored[index])
        prob = cv2.resize(prob_maps[index, 0, :bottom, :right], size)
        columns.append(np.vstack([top, np.full((_GAP, size[0], 3), 255, np.uint8), heatmap(prob)]))
    gap = np.full((len(columns[0]), _GAP, 3), 255, np.uint8)
    body = np.hstack([part for column in columns for part in (column, gap)][:-1])
    return np.vstack([_legend(body.shape[1]), body])


def _legend(width: int) -> np.ndarray:
    """What the colours of `draw_result` mean, uint8 (36, width, 3)."""
    canvas = np.full((36, width, 3), 255, np.uint8)
    font, ink = cv2.FontFace("sans"), (40, 40, 40)
    for left, color, thickness, word in ((8, TRUE, -1, "true"), (100, FOUND, 2, "found")):
        shade = tuple(round(0.4 * c + 0.6 * 255) for c in color) if thickness < 0 else color
        cv2.rectangle(canvas, (left, 10), (left + 22, 26), shade, thickness)
        cv2.putText(canvas, word, (left + 30, 24), ink, font, 16, 400)
    cv2.putText(canvas, "below: probability of text", (204, 24), ink, font, 16, 400)
    return canvas


def draw_stages(seconds: dict[str, float]) -> np.ndarray:
    """One horizontal bar, a coloured piece per stage, its name, share and milliseconds below."""
    width, margin = 960, 24
    stages = {name: value for name, value in seconds.items() if value > 0}
    total = sum(stages.values())
    canvas = np.full((130 + 30 * len(stages), width, 3), 255, np.uint8)
    font = cv2.FontFace("sans")
    left = float(margin)
    for row, (name, value) in enumerate(stages.items()):
        color = STAGE_COLORS[row % len(STAGE_COLORS)]
        right = left + (width - 2 * margin) * value / total
        corner = (max(round(left) + 1, round(right)), 90)
        cv2.rectangle(canvas, (round(left), 30), corner, color, -1)
        top = 116 + 30 * row
        cv2.rectangle(canvas, (margin, top), (margin + 18, top + 18), color, -1)
        label = f"{name}   {1000 * value:.1f} ms   {value / total:.1%}"
        cv2.putText(canvas, label, (margin + 30, top + 16), (40, 40, 40), font, 18, 400)
        left = right
    return canvas


def draw_batches(seconds: dict[str, list[float]]) -> np.ndarray:
    """Stacked columns, one per batch, in the colours of `draw_stages`; seconds by stage."""
    width, height, left, top, bottom = 960, 320, 76, 40, 52
    stages = {name: values for name, values in seconds.items() if sum(values) > 0}
    heights = np.array(list(stages.values()))  # (stages, batches)
    highest = float(heights.sum(axis=0).max())
    canvas = np.full((height, width, 3), 255, np.uint8)
    font, ink = cv2.FontFace("sans"), (40, 40, 40)
    room, base = height - top - bottom, height - bottom
    column = (width - left - 24) / heights.shape[1]
    tops = np.cumsum(heights, axis=0) / highest * room
    for row, line in enumerate(tops):
        color = STAGE_COLORS[row % len(STAGE_COLORS)]
        below = tops[row - 1] if row else np.zeros_like(line)
        for index, (low, high) in enumerate(zip(below, line, strict=True)):
            x = left + index * column
            gap = 1 if column >= 4 else 0
            start = (round(x), round(base - high))
            end = (max(round(x), round(x + column) - 1 - gap), round(base - low) - 1)
            if end[1] >= start[1]:
                cv2.rectangle(canvas, start, end, color, -1)
    cv2.line(canvas, (left - 4, base), (width - 24, base), ink, 1)
    for share in (0.5, 1.0):
        y = round(base - share * room)
        cv2.line(canvas, (left - 8, y), (left - 4, y), ink, 1)
        value = share * highest
        label = f"{value:.1f} s" if highest >= 10 else f"{1000 * value:.0f} ms"
        cv2.putText(canvas, label, (6, y + 5), ink, font, 14, 400)
    cv2.putText(
        canvas, "time of each batch, by stage (colours of the bar)", (left, 26), ink, font, 18, 400
    )
    batches = f"batch 1 to {heights.shape[1]}" if heights.shape[1] > 1 else "batch 1"
    cv2.putText(canvas, batches, (left, height - 18), ink, font, 14, 400)
    return canvas
