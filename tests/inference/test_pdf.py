"""PDF files: each page is an image."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from dbnet import pages
from dbnet.errors import InputError
from dbnet.inference import pdf
from dbnet.inference.inputs import find_images, not_read
from dbnet.inference.sources import as_item

COLOURS = [(200, 30, 30), (30, 160, 60), (40, 60, 200)]


@pytest.fixture
def three(tmp_path):
    """Three pages of 0.4 x 0.2 inches, each of one colour."""
    pytest.importorskip("pypdfium2")
    first, *others = (Image.new("RGB", (60, 30), colour) for colour in COLOURS)
    path = tmp_path / "three.pdf"
    first.save(path, save_all=True, append_images=others, resolution=150)
    return path


def pixels_of(image):
    return as_item(image, "image").decode(lambda size: 1.0).pixels


def test_each_page_of_a_pdf_is_an_image(three):
    sources = pages(three)
    assert sources == find_images([str(three.parent)])
    assert [source.name for source in sources] == ["three.pdf", "three.pdf#2", "three.pdf#3"]
    for source, colour in zip(sources, COLOURS, strict=True):
        pixels = pixels_of(source)
        assert pixels.shape == (60, 120, 3) and pixels.flags.c_contiguous
        np.testing.assert_allclose(pixels[30, 60], colour, atol=4)


def test_a_path_or_bytes_of_a_pdf_are_its_first_page(three):
    first = pixels_of(pages(three)[0])
    np.testing.assert_array_equal(pixels_of(three), first)
    np.testing.assert_array_equal(pixels_of(str(three)), first)
    np.testing.assert_array_equal(pixels_of(three.read_bytes()), first)


def test_threads_may_read_pages_side_by_side(three):
    sources = pages(three)
    with ThreadPoolExecutor(4) as pool:
        for source, pixels in zip(sources * 20, pool.map(pixels_of, sources * 20), strict=True):
            np.testing.assert_allclose(pixels[30, 60], COLOURS[source.page], atol=4)


def test_a_page_has_no_more_pixels_than_an_image(three, monkeypatch):
    monkeypatch.setattr(pdf, "MAX_PIXELS", 1800)
    assert pixels_of(three).shape == (30, 60, 3)


def test_a_pdf_without_the_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "is_installed", lambda: False)
    path = tmp_path / "scan.PDF"
    path.write_bytes(b"%PDF-1.7")
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    line = f"{path}: a PDF; to read it, pip install pypdfium2"
    with pytest.raises(InputError) as error:
        pixels_of(pages(path)[0])
    assert str(error.value) == line
    assert [source.name for source in find_images([str(tmp_path)])] == ["a.png"]
    assert not_read([str(tmp_path)]) == [f"{path} (a PDF; to read it, pip install pypdfium2)"]


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7 damaged", b"no PDF"])
def test_a_damaged_pdf_is_named(tmp_path, content):
    pytest.importorskip("pypdfium2")
    path = tmp_path / "scan.pdf"
    path.write_bytes(content)
    (source,) = pages(path)
    with pytest.raises(InputError, match=r"scan\.pdf: .*; save its pages as images$"):
        pixels_of(source)


def test_a_pdf_that_is_not_there_is_named(tmp_path):
    pytest.importorskip("pypdfium2")
    with pytest.raises(InputError, match=r"none\.pdf: No such file or directory$"):
        pixels_of(pages(tmp_path / "none.pdf")[0])
