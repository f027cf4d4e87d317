"""A picture of hard receipts, one of each kind.

python -m dbnet.synthetic.gallery --out FILE.jpg
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import tyro

from dbnet.errors import InputError, one_line
from dbnet.runtime.files import write_bytes
from dbnet.synthetic.kinds import KINDS
from dbnet.synthetic.material import Folders, load_material
from dbnet.synthetic.scene import Scene, draw_scene
from dbnet.synthetic.sheet import Level

_COLUMNS = 6
_LABEL = 24  # pixels below each picture
_WHOLE = ("street photo", "several", "cut off", "shadow")  # the others are cropped to the receipt


def main(
    *,
    out: Path,
    seed: int = 0,
    size: int = 340,
    outlines: bool = False,
    level: Level = "lines",
    textures: Path | None = None,
    backgrounds: Path | None = None,
) -> None:
    """Draw a receipt of each kind, and one of all kinds at once.

    Args:
        out: JPEG to write; an existing file is refused.
        seed: Seed of the receipts.
        size: Width of each picture in pixels; its height is a third more.
        outlines: Draw the outlines too: texts red, ignored ones orange.
        level: What has outlines: words or lines.
        textures: Photos of creased paper, see --data.drawn-textures.
        backgrounds: Photos behind the receipts, see --data.drawn-backgrounds.
    """
    if out.exists():
        raise InputError(f"{out}: is there already; delete it or choose another --out")
    material = load_material(Folders(textures, backgrounds))
    tiles = []
    for number, kinds in enumerate([*([kind] for kind in KINDS), list(KINDS)]):
        rng = np.random.default_rng([seed, number])
        scene = draw_scene(rng, material, level=level, kinds=kinds)
        image = with_outlines(scene) if outlines else scene.image
        if len(kinds) == 1 and kinds[0] not in _WHOLE:
            image = image[_around_texts(scene)]
        tiles.append(_tile(image, kinds[0] if len(kinds) == 1 else "all kinds", size))
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS)]
    sheet = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 72])[1]
    write_bytes(out, data.tobytes())
    print(f"{out}: {len(data) / 1e3:.0f} kB")


def _around_texts(scene: Scene) -> tuple[slice, slice]:
    """Rows and columns of the image around its texts, with a margin."""
    points = np.concatenate(scene.polygons)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.06 * (high - low).max()
    x0, y0 = np.maximum(low - margin, 0).astype(int)
    x1, y1 = (high + margin).astype(int)
    return slice(y0, y1), slice(x0, x1)


def with_outlines(scene: Scene) -> np.ndarray:
    """The image, uint8 (H, W, 3), RGB, with its texts outlined in red, ignored ones in orange."""
    image = scene.image.copy()
    for polygon, ignored in zip(scene.polygons, scene.ignored, strict=True):
        points = np.round(polygon * 16).astype(np.int32)
        colour = (255, 150, 0) if ignored else (255, 0, 0)
        cv2.polylines(image, [points], True, colour, 1, cv2.LINE_AA, 4)
    return image


def _tile(image: np.ndarray, label: str, width: int) -> np.ndarray:
    """The image fitted into width x 4/3 width, and its label below."""
    height = width * 4 // 3
    tile = np.full((height + _LABEL, width, 3), 255, np.uint8)
    scale = min((width - 6) / image.shape[1], (height - 6) / image.shape[0])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    tile[top : top + small.shape[0], left : left + small.shape[1]] = small
    cv2.putText(tile, label, (6, height + 17), (0, 0, 0), cv2.FontFace("sans"), 16, 500)
    return tile


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except (InputError, OSError) as error:
        sys.exit(f"error: {one_line(error)}")
