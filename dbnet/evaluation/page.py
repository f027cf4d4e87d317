"""errors.html: the errors of each image in one file for any browser."""

import base64
import html
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from dbnet.evaluation.errors import KINDS, TextError, count_errors
from dbnet.reporting.pictures import FOUND, TRUE, draw_polygons

_CROPS_PER_IMAGE = 24
_PICTURE_BYTES = 13_000_000  # of all crops; base64 makes 4/3 of it
_LARGEST_SIDE = 360  # pixels of a crop
_MARGIN = 0.6  # of an error's height, shown around it

MEANING = {
    "missed": "texts without a detection",
    "false": "detections without a text",
    "split": "texts in several detections",
    "merged": "detections over several texts",
    "inexact": "overlap found, IoU below 0.5",
}


class ImageErrors(NamedTuple):
    """One evaluated image with its errors."""

    image_id: str
    scores: dict[str, float]  # "CLEval hmean": 0.93, ...; the first one sorts
    errors: list[TextError]
    truth: Sequence[np.ndarray]  # (P, 2), original pixels
    ignored: np.ndarray  # bool, one for each of `truth`
    found: Sequence[np.ndarray]
    load: Callable[[], np.ndarray]  # the image, uint8 (H, W, 3) RGB


def errors_page(title: str, figures: dict[str, float], images: Iterable[ImageErrors]) -> str:
    """The page as HTML, the worst image first.

    Crops show texts in green and detections in red. At most 24 crops per image and 13 MB in all
    are shown; the page says how many are left out.

    Args:
        figures: of the whole data set, by name.
    """
    worst_first = sorted(images, key=lambda image: next(iter(image.scores.values())))
    totals = count_errors([error for image in worst_first for error in image.errors])
    budget = _PICTURE_BYTES
    sections = []
    for image in worst_first:
        section, used = _section(image, budget)
        sections.append(section)
        budget -= used
    facts = "".join(f"<li><b>{value:.4f}</b> {_text(name)}</li>" for name, value in figures.items())
    kinds = "".join(
        f"<li><b>{totals[kind]}</b> {kind}<small>{MEANING[kind]}</small></li>" for kind in KINDS
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(title)}</title>"
        f'<meta name=viewport content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{_text(title)}</h1><ul class=facts>{facts}</ul><ul class=facts>{kinds}</ul>"
        f'<p class=legend><i style="background:{_css(TRUE)}"></i> annotated text '
        f'<i style="background:{_css(FOUND)}"></i> detection. '
        f"{len(worst_first)} images, the worst first. Select an image to see its crops.</p>"
        f"{''.join(sections)}</html>\n"
    )


def _section(image: ImageErrors, budget: int) -> tuple[str, int]:
    """The section of one image as HTML, and the number of bytes of its crops."""
    counts = count_errors(image.errors)
    chips = "".join(
        f'<span class="chip{"" if counts[kind] else " none"}">{counts[kind]} {kind}</span>'
        for kind in KINDS
    )
    scores = " ".join(f"{_text(name)} {value:.3f}" for name, value in image.scores.items())
    figures, used = [], 0
    if image.errors and budget > 0:
        picture = image.load()
        for error in image.errors[:_CROPS_PER_IMAGE]:
            content = _crop(picture, image, error)
            if used + len(content) > budget:
                break
            used += len(content)
            data = base64.b64encode(content).decode()
            figures.append(
                f'<figure><img loading=lazy alt="{error.kind}" src="data:image/jpeg;base64,{data}">'
                f"<figcaption>{error.kind}</figcaption></figure>"
            )
    left = len(image.errors) - len(figures)
    rest = f"<p>{left} more are not shown.</p>" if left else ""
    if not image.errors:
        rest = "<p>Nothing is wrong here.</p>"
    body = f"<div class=crops>{''.join(figures)}</div>{rest}"
    summary = f"<b>{_text(image.image_id)}</b> <span>{scores}</span> {chips}"
    return f"<details><summary>{summary}</summary>{body}</details>", used


def _crop(picture: np.ndarray, image: ImageErrors, error: TextError) -> bytes:
    """JPEG of the surroundings of an error with the outlines that take part."""
    truth = [np.asarray(image.truth[i], np.float32) for i in error.truth]
    found = [np.asarray(image.found[i], np.float32) for i in error.found]
    points = np.concatenate(truth + found)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 8 + _MARGIN * float((high - low).min())
    height, width = picture.shape[:2]
    x0, y0 = np.clip(np.floor(low - margin), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(high + margin) + 1, [x0 + 1, y0 + 1], [width, height]).astype(int)
    crop = picture[y0:y1, x0:x1]
    scale = min(3.0, _LARGEST_SIDE / max(crop.shape[:2]))
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    corner = np.array([x0, y0], np.float32)
    for polygons, color in ((truth, TRUE), (found, FOUND)):
        crop = draw_polygons(crop, [(p - corner) * scale for p in polygons], color, width=2)
    encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80]
    )[1]
    return encoded.tobytes()


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _css(color: tuple[int, int, int]) -> str:
    return f"rgb({color[0]},{color[1]},{color[2]})"


_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em}
h1{font-size:1.3em}
.facts{display:flex;flex-wrap:wrap;gap:.6em 2em;list-style:none;padding:0;margin:.6em 0}
.facts b{font-size:1.5em;margin-right:.2em}
.facts small{display:block;opacity:.7}
.legend i{display:inline-block;width:1.6em;height:.35em;vertical-align:middle;margin:0 .3em 0 1em}
details{border-top:1px solid var(--line)}
summary{padding:.5em 0;cursor:pointer}
summary span{opacity:.8;margin-left:.6em}
.chip{background:var(--soft);border-radius:1em;padding:.05em .7em}
.chip.none{opacity:.35}
.crops{display:flex;flex-wrap:wrap;gap:12px;padding:.4em 0 1em;align-items:flex-end}
figure{margin:0}
figure img{display:block;max-width:100%;border:1px solid var(--line)}
figcaption{font-size:.8em;opacity:.8}
"""
