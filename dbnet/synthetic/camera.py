"""A receipt photographed on a desk, or scanned: one exact warp, then light and camera effects."""

from collections.abc import Callable

import cv2
import numpy as np

from dbnet.synthetic.degradations import enlarge, grain, print_on_paper, times
from dbnet.synthetic.sheet import Sheet

_GRID = 16  # pixels between the points where the warp is computed; linear in between
_LARGEST = 30.0  # pixels an em; around short receipts, more background is shown


class Warp:
    """Mapping from paper to image: a bend (y shifted by a sine of x), then a homography (3, 3)."""

    def __init__(self, matrix: np.ndarray, *, height: float, waves: float, phase: float) -> None:
        self.matrix, self.height, self.waves, self.phase = matrix, height, waves, phase

    def _bend(self, x: np.ndarray) -> np.ndarray:
        return self.height * np.sin(self.waves * x + self.phase)

    def then(self, matrix: np.ndarray) -> "Warp":
        """This warp, followed by another homography (3, 3)."""
        bend = {"height": self.height, "waves": self.waves, "phase": self.phase}
        return Warp(matrix @ self.matrix, **bend)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Map points from the paper to the image, float64 (n, 2)."""
        x, y = points.astype(np.float64).T
        u, v, w = self.matrix @ np.stack([x, y + self._bend(x), np.ones_like(x)])
        return np.stack([u / w, v / w], axis=1)

    def image(self, paper: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """The image (H, W, 3) of the paper (h, w, 3); border colours continue around the paper."""
        return resample(paper, shape, self.back)

    def back(self, points: np.ndarray) -> np.ndarray:
        """Map points from the image to the paper, float64 (n, 2)."""
        ahead = np.stack([*points.T, np.ones(len(points))])
        u, v, w = np.linalg.inv(self.matrix) @ ahead
        u, v = u / w, v / w
        return np.stack([u, v - self._bend(u)], axis=1)


def resample(
    paper: np.ndarray,
    shape: tuple[int, int],
    back: Callable[[np.ndarray], np.ndarray],
    *,
    grid: int = _GRID,
) -> np.ndarray:
    """Image (H, W, 3) of the paper (h, w, 3). `back` maps image points (n, 2) to the paper.

    `back` is evaluated every `grid` pixels and interpolated linearly in between.
    """
    height, width = shape
    rows, columns = -(-height // grid) + 2, -(-width // grid) + 2
    # cv2.resize interpolates between cell centres; one more cell on every side feeds the edges.
    y, x = np.mgrid[:rows, :columns] * float(grid) - 0.5 * (grid + 1)
    coarse = back(np.stack([x.ravel(), y.ravel()], axis=1)).astype(np.float32)
    fine = cv2.resize(coarse.reshape(rows, columns, 2), (columns * grid, rows * grid))
    x, y = cv2.split(fine[grid:, grid:][:height, :width])
    return cv2.remap(paper, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def photograph(
    sheet: Sheet, rng: np.random.Generator, *, length: float
) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """Print the receipt on used paper, then scan or photograph it.

    Returns the image, uint8 (H, W, 3), RGB, longest side about `length` pixels at most; the exact
    quads of the words in the image, float32 (4, 2); and the words.
    """
    scanned = bool(rng.random() < 0.5)
    paper, quads, texts = print_on_paper(rng, sheet, scanned=scanned)
    warp, shape = _aim(rng, sheet, quads, length, scanned=scanned)
    image = warp.image(paper, shape)
    mask = np.zeros(shape, np.uint8)  # where the paper lies
    cv2.fillPoly(mask, [_outline(rng, warp, sheet.ink.shape)], 255, cv2.LINE_8, 4)
    image = scan(rng, image, mask) if scanned else shoot(rng, image, mask)
    if rng.random() < (0.7 if scanned else 0.1):
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    corners = warp.points(np.concatenate(quads)).astype(np.float32)
    return image, list(corners.reshape(-1, 4, 2)), texts


def _aim(
    rng: np.random.Generator, sheet: Sheet, quads: list[np.ndarray], length: float, *, scanned: bool
) -> tuple[Warp, tuple[int, int]]:
    """A random rotation, bend and tilt whose image holds all words: the warp, and (H, W)."""
    height, width = sheet.ink.shape
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    angle = np.deg2rad(rng.normal(0, 0.7 if scanned else 3.0))
    cos, sin = np.cos(angle), np.sin(angle)
    tilted = flat @ np.array([[cos, sin], [-sin, cos]])
    tilted += rng.uniform(-0.035, 0.035, (4, 2)) * max(width, 0.6 * height) * (not scanned)
    matrix = cv2.getPerspectiveTransform(flat, tilted.astype(np.float32))
    curl = rng.uniform(0, 0.006) * height * (not scanned or rng.random() < 0.15)
    waves, phase = rng.uniform(2, 6) / width, rng.uniform(0, 2 * np.pi)
    warp = Warp(matrix, height=curl, waves=waves, phase=phase)

    # The frame holds all words, a part of the paper's margins, and sometimes more than the paper.
    words, edges = warp.points(np.concatenate(quads)), warp.points(flat)
    low, high = words.min(axis=0), words.max(axis=0)
    tight = rng.random() < (0.8 if scanned else 0.5)
    part = rng.uniform(0.3, 1.0) if tight else 1.0
    around = rng.uniform(0, 0.04 if tight else 0.2, (2, 2)) * (high - low) + 4
    low, high = (
        low + part * np.minimum(edges.min(axis=0) - low, 0) - around[0],
        high + part * np.maximum(edges.max(axis=0) - high, 0) + around[1],
    )
    scale = min(length / (high - low).max(), _LARGEST / sheet.size)
    longest = (high - low) == (high - low).max()
    missing = np.maximum(0.95 * length / scale - (high - low), 0) * longest
    share = rng.uniform(0.1, 0.6)
    low, high = low - missing * share, high + missing * (1 - share)
    window = np.array([[scale, 0, -scale * low[0]], [0, scale, -scale * low[1]], [0, 0, 1]])
    columns, rows = np.ceil((high - low) * scale).astype(int)
    return warp.then(window), (int(rows), int(columns))


def _outline(rng: np.random.Generator, warp: Warp, shape: tuple[int, int]) -> np.ndarray:
    """The paper's border in the image, sometimes torn at its ends; int32 (n, 2), 1/16 pixels."""
    height, width = shape
    across, down = np.linspace(0, width, 60), np.linspace(0, height, 40)
    teeth = rng.uniform(0, 5, 60) * (rng.random() < 0.3)
    sides = [
        np.stack([across, teeth], axis=1),
        np.stack([np.full(40, width), down], axis=1),
        np.stack([across, height - teeth], axis=1)[::-1],
        np.stack([np.zeros(40), down], axis=1)[::-1],
    ]
    return np.round(warp.points(np.concatenate(sides)) * 16).astype(np.int32)


def scan(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Effects of a flatbed scan: white or grey background, stretched levels, dust, dark borders."""
    if rng.random() < 0.6:
        image[mask == 0] = 255 if rng.random() < 0.7 else rng.integers(180, 245)
    if rng.random() < 0.25:
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.polylines(image, outlines, True, (170, 170, 170), 1, cv2.LINE_AA)
    image = _blur(rng, image, 0.8)
    black, white = rng.uniform(0, 60), rng.uniform(215, 255)
    levels = (np.arange(256) - black) * 255 / (white - black)
    image = cv2.LUT(image, np.clip(levels, rng.uniform(0, 50), 255).astype(np.uint8))
    for spot in rng.random((rng.integers(0, 30), 2)) * mask.shape[::-1]:
        grey = int(rng.integers(0, 160))
        cv2.circle(image, (int(spot[0]), int(spot[1])), int(rng.integers(0, 2)), (grey,) * 3, -1)
    if rng.random() < 0.12:
        thick = rng.integers(2, 5)
        image[:thick] = image[:, :thick] = rng.integers(0, 60)
    if rng.random() < 0.6:
        image = grain(rng, image, rng.uniform(0.3, 3), blur=0, channels=1)
    return image


def shoot(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Effects of a photo: desk, shadow of the paper, lamps, blur, sensor noise."""
    shadow = drop_shadow(rng, mask)
    scene = times(desk(rng, mask.shape), shadow, 255)
    scene = cv2.copyTo(image, mask, scene)
    scene = _blur(rng, times(scene, light(rng, mask.shape), 200), 1.0)
    return grain(rng, scene, rng.uniform(1, 6), blur=rng.choice([0, 0.6]), channels=3)


def drop_shadow(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Shadow around the paper, which is where `mask` is 255: uint8 (H, W), 255 without shadow."""
    height, width = mask.shape
    small = cv2.resize(mask, (width // 6 + 1, height // 6 + 1), interpolation=cv2.INTER_AREA)
    shadow = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.6, 3))
    shadow = 255 - (shadow * rng.uniform(0.2, 0.6)).astype(np.uint8)
    return cv2.resize(shadow, (width, height))


def _blur(rng: np.random.Generator, image: np.ndarray, strongest: float) -> np.ndarray:
    """Slight defocus or motion blur."""
    if rng.random() < 0.15:
        reach = int(rng.integers(2, 5))
        kernel = np.zeros((reach, reach), np.float32)
        ends = rng.integers(0, reach, 2).tolist()
        cv2.line(kernel, (0, ends[0]), (reach - 1, ends[1]), 1)
        return cv2.filter2D(image, -1, kernel / kernel.sum())
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, strongest))


def desk(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A surface of wood, cloth, tiles or one colour, uint8 (H, W, 3), RGB."""
    size = shape[0] // 3 + 1, shape[1] // 3 + 1
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    if rng.random() < 0.5:
        x, y = y, x
    kind = rng.choice(["wood", "cloth", "plain", "tiles"], p=[0.35, 0.2, 0.35, 0.1])
    bumps = enlarge(rng.normal(0, 1, (4, 7)).astype(np.float32), size)
    colour: tuple[int, int, int] | np.ndarray
    if kind == "wood":
        fibres = enlarge(rng.normal(0, 1, (4, size[1] // 2)).astype(np.float32), size)
        relief = 0.35 * np.sin(x / rng.uniform(4, 14) + 2.5 * bumps + 0.01 * y) + 0.3 * fibres
        colour = [(150, 105, 66), (96, 62, 40), (190, 155, 112), (60, 42, 34)][rng.integers(4)]
    elif kind == "cloth":
        pitch = rng.uniform(1.2, 3)
        relief = np.sin(x * pitch) * np.sin(y * pitch) + 0.3 * bumps
        colour = rng.uniform(30, 180) + rng.uniform(-35, 35, 3)
    elif kind == "tiles":
        side = rng.uniform(25, 70)
        relief = (x // side + y // side) % 2 * rng.uniform(0.4, 2.5)
        colour = rng.uniform(60, 170) + rng.uniform(-25, 25, 3)
    else:
        relief = 0.5 * bumps
        colour = rng.choice([25.0, 45, 80, 120, 160, 190]) + rng.uniform(-12, 12, 3)
    top = np.clip(np.array(colour) * (1 + 0.16 * relief[:, :, None]), 0, 255).astype(np.uint8)
    top = grain(rng, top, 5, blur=0, channels=1)
    return cv2.resize(top, shape[::-1], interpolation=cv2.INTER_LINEAR)


def light(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Lamps, white balance, sometimes a cast shadow: uint8 (H, W, 3), 200 changes nothing."""
    height, width = shape[0] // 8 + 1, shape[1] // 8 + 1
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]

    def ramp() -> np.ndarray:
        turn = rng.uniform(0, 2 * np.pi)
        return x * np.cos(turn) + y * np.sin(turn)

    level = rng.uniform(0.82, 1.12) * (1 + rng.uniform(0, 0.16) * ramp())
    level *= 1 - rng.uniform(0, 0.12) * (x**2 + y**2)
    if rng.random() < 0.4:
        edge = ramp() + rng.uniform(0, 0.2) * np.sin(4 * (x - y)) - rng.uniform(-0.3, 0.8)
        level *= 1 - rng.uniform(0.075, 0.25) * (1 + np.tanh(edge / rng.uniform(0.02, 0.4)))
    balance = (
        1 + rng.uniform(-0.5, 1) * np.array([0.05, 0.0, -0.08]) + rng.uniform(-0.015, 0.015, 3)
    )
    field = np.clip(level[:, :, None] * balance * 200, 0, 255).astype(np.uint8)
    return cv2.resize(field, shape[::-1], interpolation=cv2.INTER_LINEAR)
