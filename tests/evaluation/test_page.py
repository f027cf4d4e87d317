"""The error page: complete, sorted, bounded, with escaped texts."""

import re

import numpy as np

from dbnet.evaluation import page
from dbnet.evaluation.errors import TextError
from dbnet.evaluation.page import ImageErrors, errors_page

BOX = np.array([[20, 20], [120, 20], [120, 40], [20, 40]], np.float32)


def image(name: str, hmean: float, missed: int) -> ImageErrors:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    errors = [TextError("missed", [0], [])] * missed
    return ImageErrors(
        name, {"CLEval hmean": hmean}, errors, [BOX], np.zeros(1, bool), [], lambda: noise
    )


def test_the_worst_image_comes_first():
    text = errors_page("t", {}, [image("good.jpg", 0.9, 1), image("bad.jpg", 0.1, 2)])
    assert text.index("bad.jpg") < text.index("good.jpg")
    assert text.count("data:image/jpeg;base64,") == 3


def test_names_are_escaped():
    text = errors_page("<t>", {}, [image("<script>.jpg", 0.5, 1)])
    assert "<script>" not in text
    assert "&lt;script&gt;.jpg" in text


def test_the_page_needs_no_other_file():
    text = errors_page("t", {"CLEval hmean": 0.5}, [image("a.jpg", 0.5, 1)])
    assert not re.search(r'(?:src|href)="(?!data:)', text)


def test_crops_beyond_the_limit_are_counted():
    text = errors_page("t", {}, [image("a.jpg", 0.5, 30)])
    assert text.count("<figure>") == 24
    assert "6 more are not shown." in text


def test_the_size_of_all_crops_is_bounded(monkeypatch):
    monkeypatch.setattr(page, "_PICTURE_BYTES", 50_000)
    text = errors_page("t", {}, [image(f"{n}.jpg", 0.5, 20) for n in range(20)])
    assert len(text) < 50_000 * 4 / 3 + 20_000
    assert "20 more are not shown." in text


def test_an_image_without_errors_is_never_loaded():
    def load() -> np.ndarray:
        raise AssertionError

    text = errors_page("t", {}, [image("a.jpg", 1.0, 0)._replace(load=load)])
    assert "Nothing is wrong here." in text
