"""Images of hard receipts: background, layout, occlusion, light and camera."""

from collections.abc import Collection
from typing import NamedTuple

import cv2
import numpy as np

from dbnet.data import photometry
from dbnet.data.images import decode_image
from dbnet.geometry import transform
from dbnet.synthetic.arabic import logical
from dbnet.synthetic.camera import desk, drop_shadow, light, resample, scan
from dbnet.synthetic.degradations import grain, times
from dbnet.synthetic.hard_rows import excerpt, write_hard_receipt
from dbnet.synthetic.installed import choose_face, writable
from dbnet.synthetic.kinds import draw_kinds
from dbnet.synthetic.layout import Receipt
from dbnet.synthetic.material import Material
from dbnet.synthetic.placing import PlacedSheet, outline, paper_mask, place
from dbnet.synthetic.sheet import Level, Printer, Sheet, typeset
from dbnet.synthetic.surface import draw_surface, textured
from dbnet.synthetic.visibility import Text, behind_paper, clipped, legible
from dbnet.synthetic.wear import print_and_use
from dbnet.synthetic.words import LOCALES, MORE_LOCALES, Shop

_FINE = 12  # pixels between the points where a warp is computed


class Scene(NamedTuple):
    """One image with its texts."""

    image: np.ndarray  # uint8 (H, W, 3), RGB
    polygons: list[np.ndarray]  # n x float32 (P, 2), inside the image
    ignored: list[bool]  # n: largely hidden, or part of the background
    texts: list[str]  # n, "" where only a part is visible


def draw_scene(
    rng: np.random.Generator,
    material: Material,
    *,
    level: Level = "words",
    kinds: Collection[str] | None = None,
) -> Scene:
    """Draw one to three hard receipts, scanned or photographed, longest side 900 to 1400 pixels.

    The state of `rng` and the material determine the image. Outlines are quads, or polygons that
    follow the bend of the paper to within half a pixel. A text is ignored if another receipt
    covers a part of it, if the border cuts off about half of its height, or if its contrast is
    very low. The visible part of every other cut text is labelled.

    Args:
        kinds: names from `KINDS`; None draws a random selection.
    """
    kinds = draw_kinds(rng) if kinds is None else kinds
    shape = _canvas(rng)
    scanned = bool("street photo" not in kinds and rng.random() < 0.4)
    image, texts = _behind(rng, shape, material, kinds, scanned=scanned)
    covered = np.zeros(shape, np.uint8)
    count = int(rng.integers(2, 4)) if "several" in kinds else 1
    em = float(np.exp(rng.uniform(*np.log((8.5, 26 if count > 1 else 56)))))
    for number in range(count):
        slot = _slot(shape, number, count)
        sheet = _sheet(rng, kinds, material, em * rng.uniform(0.85, 1.2), slot[1], level)
        image, mask, added = _lay(rng, image, sheet, slot, kinds, material, scanned=scanned)
        hidden = (behind_paper(text, mask) for text in texts)
        texts = [text for text in hidden if text is not None] + added
        covered |= mask
    texts = [left for text in texts if (left := clipped(text, shape)) is not None]
    image = scan(rng, image, covered) if scanned else times(image, light(rng, shape), 200)
    image = _camera(rng, image, _height(texts), kinds, scanned=scanned)
    texts = [legible(text, image) for text in texts]
    return Scene(
        image,
        [text.outline for text in texts],
        [text.ignored for text in texts],
        [text.text for text in texts],
    )


def _height(texts: list[Text]) -> float:
    """Height of the smaller texts (25th percentile of those not ignored), pixels."""
    heights = [min(cv2.minAreaRect(text.outline)[1]) for text in texts if not text.ignored]
    return float(np.percentile(heights, 25)) if heights else 12.0


def _canvas(rng: np.random.Generator) -> tuple[int, int]:
    """Height and width of the image in pixels, mostly portrait."""
    longest = float(rng.uniform(900, 1400))
    ratio = float(rng.choice([3 / 4, 9 / 16, 0.707, rng.uniform(0.4, 1)]))
    sides = round(longest), round(longest * ratio)
    return sides if rng.random() < 0.85 else sides[::-1]


def _slot(shape: tuple[int, int], number: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Top left corner and size (width, height) of the part of the image for one of the receipts."""
    size = np.array(shape[::-1], np.float64)
    across = 0 if size[0] > 0.6 * size[1] else 1
    part, corner = size.copy(), np.zeros(2)
    part[across] /= count
    corner[across] = number * part[across]
    return corner, part


def _sheet(
    rng: np.random.Generator,
    kinds: Collection[str],
    material: Material,
    em: float,
    room: np.ndarray,
    level: Level,
) -> Sheet:
    """A random receipt, typeset with `em` pixels an em and cut to the height of `room`."""
    locales = LOCALES + tuple(
        locale for locale in MORE_LOCALES if writable(locale.language, material.fonts)
    )
    shop = Shop(rng, locales)
    receipt = write_hard_receipt(shop, kinds)
    face, display = (
        choose_face(rng, material.fonts, language=shop.language, spaced=shop.spaced)
        for _ in range(2)
    )
    if em < 16:  # thin strokes would vanish
        face = face._replace(finish="smooth")
    leading = float(rng.uniform(0.78, 0.98) if "tight lines" in kinds else rng.uniform(1.0, 1.45))
    longest = (1.7 if "cut off" in kinds else 0.9) * room[1] / (em * leading)
    from_top = "logo" in kinds or rng.random() < 0.3
    rows = excerpt(shop, receipt.rows, max(8.0, longest), from_top=from_top)
    printer = Printer(face, display, max(8, round(em)), leading)
    return typeset(
        Receipt(rows, receipt.columns, receipt.spaced), rng, length=0, level=level, printer=printer
    )


def _behind(
    rng: np.random.Generator,
    shape: tuple[int, int],
    material: Material,
    kinds: Collection[str],
    *,
    scanned: bool,
) -> tuple[np.ndarray, list[Text]]:
    """The background of the receipts, uint8 (H, W, 3), and its texts."""
    if scanned:
        bed = 255 if rng.random() < 0.6 else int(rng.integers(170, 256))
        return np.full((*shape, 3), bed, np.uint8), []
    if "street photo" not in kinds:
        return desk(rng, shape), []
    if not len(material.backgrounds):
        return _clutter(rng, shape), []
    record = material.backgrounds[int(rng.integers(len(material.backgrounds)))]
    photo = decode_image(record.image_path)
    size, sides = np.array(photo.shape[1::-1]), np.array(shape[::-1])
    scale = (sides / size).max() * rng.uniform(1.0, 1.6)
    corner = -rng.uniform(0, 1, 2) * (scale * size - sides)
    matrix = np.array([[scale, 0, corner[0]], [0, scale, corner[1]], [0, 0, 1]])
    image = cv2.warpAffine(photo, matrix[:2], shape[::-1], flags=cv2.INTER_LINEAR)
    return image, [Text(polygon, "", True) for polygon in transform(record.polygons, matrix)]


def _clutter(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Blurred, overlapping shapes of random colours: the background where there are no photos."""
    image = desk(rng, shape)
    for _ in range(rng.integers(8, 40)):
        colour = rng.integers(0, 256, 3).tolist()
        middle = (rng.uniform(0, 1, 2) * shape[::-1]).astype(int).tolist()
        sides = (np.exp(rng.uniform(np.log(8), np.log(400), 2))).astype(int).tolist()
        if rng.random() < 0.4:
            cv2.ellipse(image, middle, sides, int(rng.integers(180)), 0, 360, colour, -1)
        else:
            box = cv2.boxPoints((middle, sides, float(rng.integers(180))))
            cv2.fillConvexPoly(image, box.astype(np.int32), colour)
    return grain(rng, cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 5)), 3, blur=0, channels=1)


def _lay(
    rng: np.random.Generator,
    image: np.ndarray,
    sheet: Sheet,
    slot: tuple[np.ndarray, np.ndarray],
    kinds: Collection[str],
    material: Material,
    *,
    scanned: bool,
) -> tuple[np.ndarray, np.ndarray, list[Text]]:
    """Put one more receipt on the image.

    Returns the image, the mask of the paper, uint8 (H, W), and the texts of the receipt.
    """
    shape = image.shape[:2]
    paper, quads, words = print_and_use(rng, sheet, kinds, scanned=scanned)
    creased = "creases" in kinds
    surface = draw_surface(rng, sheet.ink.shape, em=sheet.size, creased=creased)
    shade = surface.light(sheet.ink.shape) ** (0.3 if scanned else 1.0)  # a lid flattens it
    paper = times(paper, np.clip(shade * 200, 0, 255).astype(np.uint8), 200)
    if creased and material.textures:
        texture = material.textures[int(rng.integers(len(material.textures)))]
        paper = textured(rng, paper, texture, rng.uniform(0.1, 0.25 if scanned else 0.8))
    placed = PlacedSheet(surface, place(rng, sheet, slot, kinds, scanned=scanned))
    laid = resample(paper, shape, placed.back, grid=_FINE)
    mask = paper_mask(placed, sheet.ink.shape, shape)
    under = image if scanned else times(image, drop_shadow(rng, mask), 255)
    texts = [
        Text(outline(placed, quad, sheet.size), logical(word), False)
        for quad, word in zip(quads, words, strict=True)
    ]
    return cv2.copyTo(laid, mask, under), mask, texts


def _camera(
    rng: np.random.Generator,
    image: np.ndarray,
    height: float,
    kinds: Collection[str],
    *,
    scanned: bool,
) -> np.ndarray:
    """Apply shadow, lens blur, noise and compression; blur scales with text `height`, pixels."""
    if "shadow" in kinds:
        image = photometry.shade(image, rng)
    if "blur" in kinds:
        image = photometry.defocus(image, height, rng)
    elif rng.random() < 0.7:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.9))
    if "low resolution" in kinds:
        image = photometry.low_resolution(image, height, rng)
    if not scanned or rng.random() < 0.3:
        image = grain(rng, image, rng.uniform(0.5, 6), blur=rng.choice([0, 0.6]), channels=3)
    if "compression" in kinds:
        image = photometry.recompress(image, (15, 50), rng)
    if rng.random() < (0.6 if scanned else 0.1):
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return image
