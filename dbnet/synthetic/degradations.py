"""Paper, uneven ink, stamps, creases and stains.

For speed, textures are drawn small and enlarged, and noise is one repeated tile.
"""

import cv2
import numpy as np

from dbnet.synthetic.fonts import Typeface, draw_word
from dbnet.synthetic.graphics import pen_stroke
from dbnet.synthetic.sheet import Sheet, grown_box

_TILE = 192  # side of the noise tile, pixels


def enlarge(small: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize to (H, W) by cubic interpolation."""
    return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC)


def cloud(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cells: tuple[int, int],
    low: float,
    high: float,
) -> np.ndarray:
    """Smooth random field, uint8 (H, W), low to high; `cells` is its number of random values."""
    field = enlarge(rng.uniform(low, high, cells).astype(np.float32), shape)
    return np.clip(field, 0, 255).astype(np.uint8)


def times(image: np.ndarray, field: np.ndarray, one: int) -> np.ndarray:
    """Image, uint8 (H, W, 3), times a field, uint8 (H, W) or (H, W, 3), whose `one` means 1."""
    if field.ndim == 2:
        field = cv2.merge([field] * 3)
    return cv2.multiply(image, field, scale=1 / one)


def grain(
    rng: np.random.Generator, image: np.ndarray, strength: float, *, blur: float, channels: int
) -> np.ndarray:
    """Add noise with a standard deviation of `strength` grey levels, grey (1) or coloured (3)."""
    draws: np.ndarray = rng.standard_normal((_TILE, _TILE, channels), np.float32)
    if blur:
        blurred = cv2.GaussianBlur(draws, (0, 0), blur).reshape(_TILE, _TILE, channels)
        draws = blurred / blurred.std()
    tile = np.clip(draws * 32 + 128, 0, 255).astype(np.uint8).repeat(3 // channels, axis=2)
    height, width = image.shape[:2]
    noise = np.tile(tile, (-(-height // _TILE), -(-width // _TILE), 1))[:height, :width]
    return cv2.addWeighted(image, 1, noise, strength / 32, -4 * strength)


def paper(rng: np.random.Generator, shape: tuple[int, int], *, scanned: bool) -> np.ndarray:
    """Blank paper, uint8 (H, W, 3), RGB."""
    if scanned:
        tone = rng.uniform(228, 255) + rng.uniform(-2, 2, 3)
    else:
        tone = rng.uniform(215, 250) + rng.uniform(-4, 4, 3)
        tone[2] -= rng.choice([0, 0, 4, 10, 22, -4])  # yellowed; a few are bluish
    sheet = np.empty((*shape, 3), np.uint8)
    sheet[:] = np.clip(tone, 0, 255)
    cells = int(rng.integers(3, 14)), int(rng.integers(3, 8))
    sheet = times(
        sheet, cloud(rng, shape, cells, 250 if scanned else rng.uniform(215, 245), 255), 255
    )
    if scanned and rng.random() < 0.7:
        return sheet
    return grain(rng, sheet, rng.uniform(1, 4), blur=rng.uniform(0.5, 1.5), channels=1)


def show_through(rng: np.random.Generator, sheet: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """The sheet with mirrored, blurred print of its back."""
    ghost = cv2.GaussianBlur(cv2.flip(ink, 1), (0, 0), 2.5)
    return times(sheet, 255 - (ghost * rng.uniform(0.05, 0.12)).astype(np.uint8), 255)


def print_ink(
    rng: np.random.Generator, sheet: np.ndarray, ink: np.ndarray, *, scanned: bool
) -> np.ndarray:
    """Print on paper, unevenly: faded areas, pores, dead dots of the head, coloured ribbon."""
    height, width = ink.shape
    faintest = rng.uniform(110, 200) if rng.random() < 0.3 else rng.uniform(200, 245)
    fade = cloud(rng, ink.shape, (int(rng.integers(3, 12)), 4), faintest, 270)
    ink = cv2.multiply(ink, fade, scale=1 / 255)
    if rng.random() < 0.3:
        pores = cloud(rng, (height // 2, width // 2), (height // 4, width // 4), 90, 420)
        ink = cv2.multiply(ink, cv2.resize(pores, (width, height)), scale=1 / 255)
    if rng.random() < 0.15:
        for x in rng.integers(0, width, rng.integers(1, 4)):
            dead = np.s_[:, x : x + rng.integers(1, 3)]
            ink[dead] = ink[dead] // 3
    colour = np.full(3, rng.uniform(0, 40) if scanned else rng.uniform(20, 85))
    if rng.random() < 0.15:
        colour += (rng.uniform(20, 50), 10, rng.uniform(50, 90))
    table = np.linspace((255, 255, 255), colour, 256).astype(np.uint8)[:, None]
    return times(sheet, cv2.LUT(cv2.merge([ink] * 3), table), 255)


def stamp(rng: np.random.Generator, sheet: np.ndarray, size: int) -> tuple[np.ndarray, str] | None:
    """Stamp the sheet, in place. Returns quad and word of the stamp; None where it has no room."""
    face = Typeface("sans", 700, float(rng.uniform(0.8, 1.1)), 0.0, False, "smooth")
    text = str(rng.choice(["PAID", "RECEIVED", "COPY", "CHECKED", "LUNAS", "POSTED"]))
    word = draw_word(text, round(size * rng.uniform(1.6, 2.6)), face).ink
    (h, w), pad = word.shape, size // 2 + 4
    side = int(np.hypot(h, w)) + 4 * size
    top, left = (side - h) // 2, (side - w) // 2
    ink: np.ndarray = np.zeros((side, side), np.uint8)
    ink[top : top + h, left : left + w] = word
    centre, line = (side // 2, side // 2), max(2, size // 8)
    if rng.random() < 0.7:
        box = (left - pad, top - pad, w + 2 * pad, h + 2 * pad)
        cv2.rectangle(ink, box, 255, line, cv2.LINE_AA)
    else:
        axes = (w // 2 + 2 * pad, h // 2 + 2 * pad)
        cv2.ellipse(ink, centre, axes, 0, 0, 360, 255, line, cv2.LINE_AA)
    matrix = cv2.getRotationMatrix2D(centre, rng.uniform(-35, 35), 1)
    ink = cv2.warpAffine(ink, matrix, (side, side))
    patchy = cloud(rng, ink.shape, (side // 3, side // 3), 90, 270)
    ink = cv2.multiply(ink, patchy, scale=0.8 / 255)
    free = np.array(sheet.shape[1::-1]) - side
    if (free <= 0).any():
        return None
    x, y = (int(v) for v in rng.integers(0, free))
    _stain(sheet, ink, x, y, [(170, 40, 50), (40, 60, 160), (90, 50, 130)][rng.integers(3)])
    quad = grown_box(left, top, w, h) @ matrix[:, :2].T + matrix[:, 2] + (x, y)
    return quad.astype(np.float32), text


def scribble(rng: np.random.Generator, sheet: np.ndarray, size: int) -> None:
    """Draw a tick, a ring or a wavy line with a pen, in place."""
    side = min(size * int(rng.integers(3, 8)), *sheet.shape[:2])
    shape = rng.integers(3)
    if shape == 0:
        points = np.array([[0.1, 0.5], [0.35, 0.8], [0.9, 0.15]])
    elif shape == 1:
        turn = np.linspace(0, 7, 40)
        points = np.stack([np.cos(turn), 0.5 * np.sin(turn)], axis=1)
        points = points * np.linspace(0.4, 0.48, 40)[:, None] + 0.5
    else:
        points = rng.normal(0, 0.06, (30, 2)).cumsum(axis=0) * (0.3, 1)
        points += np.linspace((0.1, 0.5), (0.9, 0.5), 30)
    ink = pen_stroke(points * side, (side, side), int(rng.integers(1, 3)))
    y, x = (int(rng.integers(0, n - side + 1)) for n in sheet.shape[:2])
    _stain(sheet, ink, x, y, [(30, 30, 40), (30, 50, 150), (180, 40, 40)][rng.integers(3)])


def _stain(
    sheet: np.ndarray, ink: np.ndarray, x: int, y: int, colour: tuple[int, int, int]
) -> None:
    area = sheet[y : y + ink.shape[0], x : x + ink.shape[1]]
    area[:] = area * (1 - ink[:, :, None] / 255 * (1 - np.array(colour) / 255))


def crease(rng: np.random.Generator, sheet: np.ndarray) -> None:
    """Fold the sheet, in place: a thin line with one side brighter than the other."""
    strip = sheet if rng.random() < 0.7 else sheet.transpose(1, 0, 2)
    reach = int(rng.integers(8, 50))
    at = int(rng.integers(reach, len(strip) - reach))
    away = np.arange(-reach, reach) + 0.5
    profile = 1 + rng.uniform(-0.12, 0.12) * np.sign(away) * np.exp(-3 * np.abs(away) / reach)
    profile[reach] -= rng.uniform(0.02, 0.15)
    area = strip[at - reach : at + reach]
    area[:] = np.clip(area * profile[:, None, None], 0, 255)


def print_on_paper(
    rng: np.random.Generator, sheet: Sheet, *, scanned: bool
) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """Print a sheet on used paper: uint8 (H, W, 3), RGB, quads and texts, stamps included."""
    used = paper(rng, sheet.ink.shape, scanned=scanned)
    if rng.random() < 0.08:
        used = show_through(rng, used, sheet.ink)
    used = print_ink(rng, used, sheet.ink, scanned=scanned)
    stamped = stamp(rng, used, sheet.size) if rng.random() < 0.07 else None
    for _ in range(rng.choice([0, 1, 2], p=[0.8, 0.13, 0.07])):
        scribble(rng, used, sheet.size)
    for _ in range(
        rng.choice([0, 1, 2, 3], p=[0.7, 0.2, 0.1, 0] if scanned else [0.4, 0.3, 0.2, 0.1])
    ):
        crease(rng, used)
    if stamped is None:
        return used, sheet.quads, sheet.texts
    return used, [*sheet.quads, stamped[0]], [*sheet.texts, stamped[1]]
