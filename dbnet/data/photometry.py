"""Photometric augmentation: changes to pixels that do not move text.

All functions take and return uint8 (H, W, 3), RGB, and do not change their input. Randomness comes
from `rng` only. `height` is the typical text height in pixels: blur and loss of resolution are in
proportion to it, so that people can still read the text. `inside`, uint8 (H, W), is 255 on the
content of the image and 0 on the black padding, which stays black.
"""

import cv2
import numpy as np

_READABLE = 6.5  # pixels: no text is scaled below this height
_FAINTEST = 34.0  # least difference between faint print and paper, in grey levels
_DARKEST = 0.25  # paper after a change of colour, 0..1


def jitter_color(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gamma, contrast, brightness and white balance by a table, then saturation.

    At full strength, contrast is 0.4 to 2.5 times the image's own, as in scans whose paper is
    burnt to white, and each channel is multiplied by 0.71 to 1.4, as under lamps of other colours.
    Paper stays between dark grey and white, so that contrast and brightness never erase print.
    """
    low, high = -strength, strength
    ramp = np.linspace(0, 1, 256)[:, None] ** np.exp(rng.uniform(low, high) / 2)  # (256, 1)
    gain = np.exp(rng.uniform(low, high) * np.log(2.5))
    table = (ramp - 0.5) * gain + 0.5 + rng.uniform(low, high) / 4
    paper = int(np.percentile(image[::8, ::8], 95))
    table += np.clip(table[paper, 0], _DARKEST, 1) - table[paper, 0]
    table = np.clip(table, 0, 1) * np.exp(rng.uniform(low, high, 3) * np.log(1.4))  # (256, 3)
    table = np.clip(table * 255 + 0.5, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table[None])
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    keep = 1 + rng.uniform(low, min(high, 0.3))
    return cv2.addWeighted(image, keep, gray, 1 - keep, 0)


def blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Out of focus or shaken, by up to about two pixels."""
    if rng.random() < 0.7:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.3))
    kernel = np.zeros((5, 5), np.float32)
    turn, reach = rng.uniform(0, np.pi), rng.uniform(0.7, 2.0)
    step = np.round([reach * np.cos(turn), reach * np.sin(turn)]).astype(int)
    cv2.line(kernel, (2 - step[0], 2 - step[1]), (2 + step[0], 2 + step[1]), 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def defocus(image: np.ndarray, height: float, rng: np.random.Generator) -> np.ndarray:
    """Far out of focus (a disk, or a gaussian) or shaken (a line), in proportion to the text."""
    kind = rng.integers(3)
    if kind == 0:
        return cv2.GaussianBlur(
            image, (0, 0), float(np.clip(rng.uniform(0.07, 0.13) * height, 0.6, 6))
        )
    radius = float(np.clip(rng.uniform(0.11, 0.2) * height, 1.0, 9.0))
    side = 2 * int(np.ceil(radius)) + 1
    kernel = np.zeros((side, side), np.uint8)
    centre = np.full(2, side // 2)
    if kind == 1:
        cv2.circle(kernel, (16 * centre).tolist(), round(radius * 16), 255, -1, cv2.LINE_AA, 4)
    else:
        turn = rng.uniform(0, np.pi)
        step = radius * np.array([np.cos(turn), np.sin(turn)])
        ends = np.round((centre + np.stack([-step, step])) * 16).astype(int).tolist()
        cv2.line(kernel, ends[0], ends[1], 255, 1, cv2.LINE_AA, 4)
    return cv2.filter2D(image, -1, kernel.astype(np.float32) / kernel.sum())


def low_resolution(image: np.ndarray, height: float, rng: np.random.Generator) -> np.ndarray:
    """Scaled down to 0.25-0.8 of the size, perhaps compressed there, enlarged, perhaps sharpened.

    Text does not become smaller than about 6 pixels. Images with such small text are not changed.
    """
    smallest = max(0.25, _READABLE / height)
    if smallest >= 0.85:
        return image
    factor = rng.uniform(smallest, max(0.8, smallest))
    down = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR)[rng.integers(3)]
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=down)
    if rng.random() < 0.5:
        small = recompress(small, (40, 85), rng)
    up = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_CUBIC, cv2.INTER_NEAREST)[rng.integers(4)]
    large = cv2.resize(small, image.shape[1::-1], interpolation=up)
    if rng.random() < 0.35:
        amount, soft = rng.uniform(0.4, 1.5), cv2.GaussianBlur(large, (0, 0), 0.6 / factor)
        large = cv2.addWeighted(large, 1 + amount, soft, -amount, 0)
    return large


def add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian brightness noise with a standard deviation of 2 to 14 grey levels."""
    grain = rng.standard_normal(image.shape[:2], np.float32) * np.float32(rng.uniform(2, 14))
    return np.clip(image + grain[:, :, None], 0, 255).astype(np.uint8)


def recompress(image: np.ndarray, quality: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """JPEG at a quality within the range, both ends included."""
    drawn = int(rng.integers(quality[0], quality[1] + 1))
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, drawn])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded


# Paper and print


def show_through(
    image: np.ndarray, inside: np.ndarray, height: float, rng: np.random.Generator
) -> np.ndarray:
    """Print of the back: the image's own print, mirrored, shifted, blurred and faint.

    It is not annotated: the polygons are still those of the front. It is fainter than print that
    `fade` has changed.
    """
    ink = cv2.flip(_paper(image, inside)[1], 1)
    rows, columns = ink.shape
    shift = rng.integers(0, rows), rng.integers(-columns // 5, columns // 5 + 1)
    ink = np.roll(ink, shift, axis=(0, 1))
    ink = cv2.GaussianBlur(ink, (0, 0), float(np.clip(rng.uniform(0.05, 0.13) * height, 0.5, 4)))
    return _times(image, 255 - (ink * rng.uniform(0.06, 0.18)).astype(np.uint8))


def fade(
    image: np.ndarray, inside: np.ndarray, height: float, rng: np.random.Generator
) -> np.ndarray:
    """Thin, faint print: blended with the colour of the paper around it, by varying amounts.

    Print still differs from paper by about 34 grey levels. Fainter images are not changed.
    """
    paper, print_depth = _paper(image, inside)
    least = _FAINTEST / max(float(np.percentile(print_depth, 99.5)), 1.0)
    if least >= 1:
        return image
    strength = least + (1 - least) * rng.uniform(0.0, 0.35)
    thin = image
    if height > 12 and rng.random() < 0.5:  # strokes lose up to a pixel
        share = rng.uniform(0.4, 1.0)
        thin = cv2.addWeighted(
            cv2.dilate(image, np.ones((2, 2), np.uint8)), share, image, 1 - share, 0
        )
    keep = _field(rng, image.shape[:2], cells=4, low=strength, high=min(1.0, 1.5 * strength))
    faint = cv2.blendLinear(thin, cv2.max(cv2.merge([paper] * 3), thin), keep, 1 - keep)
    return cv2.copyTo(faint, inside, image.copy())


def crease(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Folds and crumples: along each, one side is brighter than the other."""
    half = image.shape[0] // 2 + 1, image.shape[1] // 2 + 1
    y, x = np.mgrid[: half[0], : half[1]].astype(np.float32)
    light = np.zeros(half, np.float32)
    count, size = int(rng.choice([1, 2, 3, 9])), max(half)
    for _ in range(count):
        turn = rng.choice([0, 0.5 * np.pi]) + rng.normal(0, 0.06 if count < 4 else 1.0)
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        away = cos * (x - rng.uniform(0, half[1])) + sin * (y - rng.uniform(0, half[0]))
        away += np.float32(0.004 * size) * np.sin((cos * y - sin * x) * rng.uniform(3, 9) / size)
        reach = rng.uniform(0.02, 0.15) * size
        step = np.float32(rng.uniform(0.04, 0.2 if count < 4 else 0.1) * rng.choice([-1, 1]))
        light += step * np.sign(away) * np.maximum(1 - np.abs(away) / np.float32(reach), 0)
        light -= np.float32(rng.uniform(0, 0.2)) * (np.abs(away) < 0.7)
    field = np.clip(205 * (1 + light), 0, 255).astype(np.uint8)
    return _times(image, cv2.resize(field, image.shape[1::-1]), one=205)


def shade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light: a slope, darker corners, the soft or sharp edge of a cast shadow."""
    small = image.shape[0] // 8 + 1, image.shape[1] // 8 + 1
    y, x = np.mgrid[-1 : 1 : small[0] * 1j, -1 : 1 : small[1] * 1j]

    def ramp() -> np.ndarray:
        turn = rng.uniform(0, 2 * np.pi)
        return x * np.cos(turn) + y * np.sin(turn)

    level = 1 + rng.uniform(0, 0.3) * (ramp() - 1)
    level *= 1 - rng.uniform(0, 0.2) * (x**2 + y**2)
    for _ in range(rng.integers(0, 3)):
        edge = (
            ramp()
            + rng.uniform(0, 0.25) * np.sin(rng.uniform(2, 6) * ramp())
            - rng.uniform(-0.5, 0.7)
        )
        level *= 1 - rng.uniform(0.1, 0.32) * (1 + np.tanh(edge / rng.uniform(0.02, 0.4)))
    field = np.clip(255 * level, 80, 255).astype(np.uint8)
    return _times(image, cv2.resize(field, image.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def invert(
    image: np.ndarray, inside: np.ndarray, texts: list[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """White on black: the whole image, or bars behind one to three of the texts, n x (P, 2), xy.

    Two of five bars are coloured instead of black.
    """
    if not texts or rng.random() < 0.4:
        return cv2.copyTo(255 - image, inside, image.copy())
    inverse = image.copy()
    for _ in range(rng.integers(1, 4)):
        bar = _bar(texts[rng.integers(len(texts))], rng)
        x, y, width, height = cv2.boundingRect(bar)
        x0, y0 = max(0, x), max(0, y)
        window = slice(y0, max(0, y + height)), slice(x0, max(0, x + width))
        mask = np.zeros(inside[window].shape, np.uint8)
        if mask.size:
            cv2.fillConvexPoly(mask, np.round(bar - (x0, y0)).astype(np.int32), 255)
            mask &= inside[window]
        if mask.any():
            dark, bright = np.percentile(image[window][mask > 0], (2, 98), axis=0)
            swapped = np.clip(_bar_colour(dark, rng) + bright - image[window], 0, 255)
            inverse[window] = cv2.copyTo(swapped.astype(np.uint8), mask, inverse[window].copy())
    return inverse


def _bar(text: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A rectangle behind a text, float32 (4, 2). For a long text it may be longer than the text."""
    centre, sides, angle = cv2.minAreaRect(text)
    pad = rng.uniform(0.05, 0.25) * min(sides)
    longer = rng.uniform(1, 3) if max(sides) > 4 * min(sides) and rng.random() < 0.4 else 1.0
    sides = [side * (longer if side == max(sides) else 1) + 2 * pad for side in sides]
    return cv2.boxPoints((centre, sides, angle))


def _bar_colour(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black as the ink, or a colour whose darkest channel stands out from white, float (3,)."""
    if rng.random() < 0.6:
        return np.minimum(ink, rng.uniform(0, 90))
    colour = rng.uniform(0, 220, 3)
    colour[rng.integers(3)] = rng.uniform(0, 90)
    return colour


# Helpers


def _paper(image: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Brightness of the image without print, and how much darker print is; both uint8 (H, W)."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    small = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((13, 13), np.uint8))
    paper = cv2.resize(small, gray.shape[::-1], interpolation=cv2.INTER_LINEAR)
    paper = cv2.max(paper, gray)
    core = cv2.erode(inside, np.ones((5, 5), np.uint8))
    return paper, cv2.copyTo(paper - gray, core)


def _times(image: np.ndarray, field: np.ndarray, one: int = 255) -> np.ndarray:
    """Multiply by a uint8 field (H, W) / `one`."""
    return cv2.multiply(image, cv2.merge([field] * 3), scale=1 / one)


def _field(
    rng: np.random.Generator, shape: tuple[int, int], *, cells: int, low: float, high: float
) -> np.ndarray:
    """Smooth random field, float32 (H, W), with values low..high."""
    small = rng.uniform(low, high, (cells, cells)).astype(np.float32)
    return np.clip(cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC), low, high)
