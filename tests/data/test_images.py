"""Image files: orientation applied once, one shape for header and pixels, clear errors."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from dbnet.data import image_files, images
from dbnet.data.image_files import MAX_PIXELS
from dbnet.data.images import decode_image, decode_reduced, image_size, read_header
from dbnet.geometry import transform

# Four flat corners survive JPEG; all four differ, so every flip and turn shows.
RED, GREEN, BLUE, GREY = (220, 20, 20), (20, 200, 20), (20, 20, 220), (120, 120, 120)


def _corners(height=32, width=48):
    image = np.empty((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    image[:top, :left], image[:top, left:] = RED, GREEN
    image[top:, :left], image[top:, left:] = BLUE, GREY
    return image


# What a viewer shows for the stored picture above, corners from the top left, clockwise
# (the EXIF standard's table of "visual top" and "visual left").
UPRIGHT = {
    1: (RED, GREEN, GREY, BLUE),
    2: (GREEN, RED, BLUE, GREY),
    3: (GREY, BLUE, RED, GREEN),
    4: (BLUE, GREY, GREEN, RED),
    5: (RED, BLUE, GREY, GREEN),
    6: (BLUE, RED, GREEN, GREY),
    7: (GREY, GREEN, RED, BLUE),
    8: (GREEN, GREY, BLUE, RED),
}


def _exif(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def _read_corners(image):
    height, width = image.shape[:2]
    ys, xs = (4, height - 5), (4, width - 5)
    return [image[ys[0], xs[0]], image[ys[0], xs[1]], image[ys[1], xs[1]], image[ys[1], xs[0]]]


@pytest.mark.faults("EXIF 1 to 8")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_is_applied_once(tmp_path, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    quality = {"quality": 95} if suffix in ("jpg", "webp") else {}
    Image.fromarray(_corners()).save(path, exif=_exif(orientation), **quality)
    image = decode_image(path)
    assert image.shape == ((48, 32, 3) if orientation >= 5 else (32, 48, 3))
    assert image_size(path) == image.shape[:2]
    assert image.flags.c_contiguous
    np.testing.assert_allclose(_read_corners(image), UPRIGHT[orientation], atol=12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_grey_jpegs_is_applied(tmp_path, orientation):
    path = tmp_path / "a.jpg"
    Image.fromarray(_corners()).convert("L").save(path, exif=_exif(orientation), quality=95)
    grey = Image.fromarray(np.array([UPRIGHT[orientation]], np.uint8)).convert("L")
    image = decode_image(path)
    assert image_size(path) == image.shape[:2]
    np.testing.assert_allclose(_read_corners(image)[0], [np.array(grey)[0, 0]] * 3, atol=4)
    np.testing.assert_allclose(np.array(_read_corners(image))[:, 0], np.array(grey)[0], atol=4)


def test_exif_behind_the_pixels_of_a_png_is_applied(tmp_path):
    """PNG allows the EXIF block there, and some writers put it there."""
    data = io.BytesIO()
    Image.fromarray(_corners()).save(data, "PNG")
    body = _exif(6).tobytes().removeprefix(b"Exif\0\0")
    checksum = zlib.crc32(b"eXIf" + body)
    chunk = struct.pack(">I4s", len(body), b"eXIf") + body + struct.pack(">I", checksum)
    path = tmp_path / "a.png"
    path.write_bytes(data.getvalue()[:-12] + chunk + data.getvalue()[-12:])
    assert image_size(path) == (48, 32)
    np.testing.assert_array_equal(_read_corners(decode_image(path)), UPRIGHT[6])


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", _exif(0).tobytes(), _exif(9).tobytes()])
def test_meaningless_exif_is_no_rotation(tmp_path, exif):
    path = tmp_path / "a.png"
    Image.fromarray(_corners()).save(path, exif=exif)
    assert image_size(path) == (32, 48)
    np.testing.assert_array_equal(decode_image(path), _corners())


def test_jpeg_equals_pillow(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 41, 3), np.uint8)
    for mode in ("RGB", "L"):
        path = tmp_path / f"{mode}.jpg"
        Image.fromarray(pixels).convert(mode).save(path, quality=80)
        expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
        assert np.abs(decode_image(path) - expected).max() <= 2  # decoders round differently


def _spots(height, width):
    """Soft spots on black and their centres (n, 2), the outermost ones close to the edges."""
    x, y = np.meshgrid(np.linspace(20, width - 21, 4), np.linspace(20, height - 21, 4))
    centres = np.stack([x.ravel(), y.ravel()], axis=1) + 0.3
    rows, columns = np.mgrid[:height, :width]
    image = np.zeros((height, width))
    for x, y in centres:
        image += 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 50)
    return np.repeat(image.astype(np.uint8)[:, :, None], 3, axis=2), centres


def _centre_near(image, point, reach):
    x, y = np.round(point).astype(int)
    part = image[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1, 1]
    weights = np.maximum(part.astype(float) - 20, 0)
    rows, columns = np.indices(weights.shape)
    mass = weights.sum()
    return (
        (columns * weights).sum() / mass + max(0, x - reach),
        (rows * weights).sum() / mass + max(0, y - reach),
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("shape", [(240, 176), (243, 183), (241, 182), (244, 178)])
def test_a_reduced_jpeg_is_where_its_matrix_says(tmp_path, shape, factor, orientation):
    path = tmp_path / "a.jpg"
    stored, _ = _spots(*shape)
    Image.fromarray(stored).save(path, exif=_exif(orientation), quality=97)
    full = decode_image(path)
    asked = []
    decoded = decode_reduced(path, lambda size: asked.append(size) or 1 / factor)
    assert asked == [full.shape[:2]] == [decoded.size]
    assert decoded.pixels.flags.c_contiguous
    made = round(1 / decoded.matrix[0, 0])
    assert decoded.pixels.shape[:2] == tuple(-(-side // made) for side in decoded.size)
    if orientation == 1 or not any(side % factor for side in shape):
        assert made == factor
    for centre in _spots(*full.shape[:2])[1]:
        before = _centre_near(full, centre, 14)
        after = _centre_near(decoded.pixels, (centre + 0.5) / made - 0.5, 14 // made + 1)
        expected = transform([np.float32([before])], decoded.matrix)[0][0]
        assert np.abs(np.array(after) - expected).max() < 0.06, "in reduced pixels"


@pytest.mark.parametrize("scale", [0.12, 0.125, 0.13, 0.3, 0.5, 0.51, 0.9, 3.0])
def test_a_reduced_jpeg_is_never_too_small(tmp_path, scale):
    path = tmp_path / "a.jpg"
    Image.fromarray(_corners(161, 99)).save(path, exif=_exif(5))
    decoded = decode_reduced(path, lambda size: scale)
    made = decoded.matrix[0, 0]
    assert made >= min(scale, 1) and (made / 2 < scale or made == 0.125)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "gif", "bmp"])
def test_other_types_are_not_reduced(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(_corners()).save(path)
    decoded = decode_reduced(path, lambda size: 0.1)
    np.testing.assert_array_equal(decoded.pixels, decode_image(path))
    np.testing.assert_array_equal(decoded.matrix, np.eye(3))


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"quality": 30}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_reduced_colours_are_those_of_the_image(tmp_path, mode, options):
    path = tmp_path / "a.jpg"
    Image.fromarray(_corners(64, 96)).convert(mode).save(path, **options)
    image = decode_reduced(path, lambda size: 0.25).pixels
    assert image.shape == (16, 24, 3)
    np.testing.assert_allclose(_read_corners(image), _read_corners(decode_image(path)), atol=6)


def test_a_truncated_jpeg_is_refused_reduced_too(tmp_path):
    path = tmp_path / "cut.jpg"
    Image.fromarray(_spots(200, 200)[0]).save(path)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ValueError, match=r"cut\.jpg: \S+"):
        decode_reduced(path, lambda size: 0.1)


RAMP = np.arange(0, 256, 5, dtype=np.uint8).reshape(4, 13)


@pytest.mark.faults("grey, 16-bit, 1 x 1")
@pytest.mark.parametrize(
    ("name", "stored", "expected"),
    [
        ("grey.png", Image.fromarray(RAMP), RAMP),
        ("deep.png", Image.fromarray(RAMP.astype(np.uint16) * 256 + 200), RAMP),
        ("deep.tif", Image.fromarray(RAMP.astype(np.uint16) * 256 + 200), RAMP),
        ("bits.png", Image.fromarray(RAMP > 99), (RAMP > 99) * 255),
        ("plain.bmp", Image.fromarray(RAMP).convert("RGB"), RAMP),
        ("one.png", Image.fromarray(RAMP[:1, 7:8]), RAMP[:1, 7:8]),
    ],
)
def test_grey_pixels_are_kept(tmp_path, name, stored, expected):
    stored.save(tmp_path / name)
    image = decode_image(tmp_path / name)
    assert image.dtype == np.uint8
    assert image_size(tmp_path / name) == expected.shape
    np.testing.assert_array_equal(image, np.repeat(expected[:, :, None], 3, axis=2))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_files_may_hold_fewer_bits(tmp_path, suffix, bits):
    values = RAMP.astype(np.uint16) << (bits - 8)
    Image.fromarray(values).save(tmp_path / f"grey.{suffix}")
    image = decode_image(tmp_path / f"grey.{suffix}")
    np.testing.assert_array_equal(image, np.repeat(RAMP[:, :, None], 3, axis=2))

    colours = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=2)  # RGB
    stored = colours.astype(np.uint16) << (bits - 8)
    cv2.imwrite(str(tmp_path / f"colour.{suffix}"), stored[:, :, ::-1])
    np.testing.assert_array_equal(decode_image(tmp_path / f"colour.{suffix}"), colours)


def test_a_nearly_black_8_bit_image_stays_so(tmp_path):
    Image.fromarray(_corners() // 20).save(tmp_path / "dark.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "dark.png"), _corners() // 20)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiffs_whose_zero_is_white_are_not_inverted(tmp_path, dtype):
    top = np.iinfo(dtype).max
    stored = top - RAMP.astype(dtype) * (top // 255)
    white_is_zero = Image.fromarray(stored)
    if dtype == np.uint8:
        white_is_zero = Image.fromarray(255 - stored)  # Pillow inverts these itself
    white_is_zero.save(tmp_path / "a.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(decode_image(tmp_path / "a.tif")[:, :, 0], RAMP)


@pytest.mark.faults("palette")
def test_palette_images_are_read_in_colour(tmp_path):
    Image.fromarray(_corners()).convert("P", palette=Image.Palette.ADAPTIVE).save(
        tmp_path / "a.png"
    )
    assert Image.open(tmp_path / "a.png").mode == "P"
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png"), _corners())


@pytest.mark.faults("CMYK")
def test_cmyk_images_are_read_as_rgb(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(decode_image(tmp_path / "a.jpg")[8, 8], (255, 0, 0), atol=3)


@pytest.mark.faults("alpha")
@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_alpha_lies_on_white(tmp_path, suffix):
    layer = np.zeros((1, 3, 4), np.uint8)
    layer[0, :, :3] = (200, 0, 100)
    layer[0, :, 3] = (0, 255, 51)
    lossless = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(layer).save(tmp_path / f"a.{suffix}", **lossless)
    expected = [[255, 255, 255], [200, 0, 100], [244, 204, 224]]  # a fifth of the way from white
    np.testing.assert_array_equal(decode_image(tmp_path / f"a.{suffix}")[0], expected)


def test_transparent_colour_lies_on_white(tmp_path):
    Image.fromarray(_corners()).save(tmp_path / "a.png", transparency=RED)
    image = decode_image(tmp_path / "a.png")
    np.testing.assert_array_equal(_read_corners(image), [(255, 255, 255), GREEN, GREY, BLUE])


@pytest.mark.faults("animation")
def test_animation_gives_first_frame(tmp_path):
    frames = [Image.new("RGB", (5, 4), color) for color in (RED, GREEN)]
    for suffix in ("gif", "png", "webp"):
        lossless = {"lossless": True} if suffix == "webp" else {}
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **lossless)
        assert Image.open(path).n_frames == 2
        np.testing.assert_array_equal(decode_image(path), np.broadcast_to(RED, (4, 5, 3)))


def test_a_tiff_has_pages_but_for_thumbnails_and_masks(tmp_path):
    frames = [Image.new("RGB", (9 + n, 5), colour) for n, colour in enumerate((RED, GREEN, BLUE))]
    for frame, kind in zip(frames, (0, 1, 0), strict=True):
        frame.encoderinfo = {"tiffinfo": {254: kind}}
    path = tmp_path / "a.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert read_header(path).pages == 2
    assert image_size(path) == (5, 9)
    for page, frame in enumerate((frames[0], frames[2])):
        decoded = decode_reduced(path, lambda size: 1.0, page=page)
        np.testing.assert_array_equal(decoded.pixels, np.asarray(frame))
    np.testing.assert_array_equal(decode_image(path), np.asarray(frames[0]))


@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_a_damaged_second_page_leaves_the_first(tmp_path):
    frames = [Image.new("RGB", (9, 5), colour) for colour in (RED, GREEN)]
    path = tmp_path / "a.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 160])
    assert read_header(path).pages == 1
    np.testing.assert_array_equal(decode_image(path), np.asarray(frames[0]))


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JFIF"])
def test_other_endings_of_jpeg_are_images(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(_corners()).save(path, "JPEG", quality=95)
    assert path.suffix.lower() in image_files.IMAGE_SUFFIXES
    np.testing.assert_allclose(_read_corners(decode_image(path)), UPRIGHT[1], atol=12)


def test_heic_is_read_by_the_optional_package(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    for name in ("photo.HEIC", "called.jpg"):
        Image.fromarray(_corners(64, 96)).save(tmp_path / name, "HEIF", quality=95)
        assert image_size(tmp_path / name) == (64, 96)
        np.testing.assert_allclose(
            _read_corners(decode_image(tmp_path / name)), UPRIGHT[1], atol=16
        )


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "HEIC image; to read it, pip install pillow-heif"),
        (b"%PDF-1.7", "a PDF, not an image"),
    ],
)
def test_a_missing_package_is_named(tmp_path, start, reason, monkeypatch):
    monkeypatch.setattr(image_files.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(Image, "open", lambda file: Image._open_anew(file), raising=False)
    monkeypatch.setattr(Image, "_open_anew", _no_opener, raising=False)
    (tmp_path / "a.bin").write_bytes(start + bytes(99))
    with pytest.raises(ValueError, match=rf"a\.bin: .*{reason}"):
        image_size(tmp_path / "a.bin")


def _no_opener(file):
    raise image_files.UnidentifiedImageError


@pytest.mark.faults("truncated images")
@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif", "bmp"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, suffix, part):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(ValueError, match=rf"cut\.{suffix}: \S+"):
        decode_image(path)


@pytest.mark.faults("empty, foreign, missing images")
@pytest.mark.parametrize("read", [image_size, decode_image])
def test_refusals_name_the_file(tmp_path, read):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ValueError, match=r"empty\.jpg: the file is empty"):
        read(tmp_path / "empty.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.jpg: not an image"):
        read(str(tmp_path / "text.jpg"))
    with pytest.raises(ValueError, match=r"gone\.jpg: No such file"):
        read(tmp_path / "gone.jpg")
    with pytest.raises(ValueError, match=r"folder\.jpg: Is a directory|Permission"):
        (tmp_path / "folder.jpg").mkdir()
        read(tmp_path / "folder.jpg")


def test_32_bit_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: 32-bit pixels"):
        decode_image(tmp_path / "a.tif")


def _huge_png(width, height):
    """A PNG header without pixels: decoding before the size check fails with another error."""
    body = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I4s", 13, b"IHDR") + body + struct.pack(">I", zlib.crc32(b"IHDR" + body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I4s", 0, b"IDAT") + b"\0" * 4


@pytest.mark.faults("20,000 x 20,000 pixels")
@pytest.mark.parametrize("read", [image_size, decode_image])
@pytest.mark.parametrize("side", [9_000, 11_000, 20_000])
def test_huge_images_are_refused_by_their_header(tmp_path, read, side):
    path = tmp_path / "huge.png"
    path.write_bytes(_huge_png(side, side))
    with pytest.raises(ValueError, match=rf"huge\.png: .*more than {MAX_PIXELS:,} pixels"):
        read(path)


def _limit(monkeypatch, pixels):
    """Set the limit of pixels; a JPEG may have four times as many."""
    for module in (image_files, images):
        monkeypatch.setattr(module, "MAX_PIXELS", pixels)
    monkeypatch.setattr(image_files, "MAX_JPEG_PIXELS", 4 * pixels)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)  # Pillow refuses twice that


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(64, 96), (63, 97)])
def test_a_jpeg_above_the_limit_is_read_at_half(tmp_path, monkeypatch, shape, orientation, mode):
    _limit(monkeypatch, 2000)
    path = tmp_path / "large.jpg"
    stored = Image.fromarray(_corners(*shape)).convert(mode)
    stored.save(path, quality=95, exif=_exif(orientation))
    decoded = decode_reduced(path, lambda size: 1.0)
    assert image_size(path) == decoded.size == (shape[::-1] if orientation >= 5 else shape)
    assert decoded.pixels.shape[:2] == tuple(-(-side // 2) for side in decoded.size)
    expected = Image.fromarray(np.array([UPRIGHT[orientation]], np.uint8)).convert(mode)
    found = _read_corners(decoded.pixels)
    np.testing.assert_allclose(found, np.asarray(expected.convert("RGB"))[0], atol=12)
    with pytest.raises(ValueError, match=r"large\.jpg: .* is more than 2,000 pixels"):
        decode_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_half_of_a_large_jpeg_is_where_its_matrix_says(tmp_path, monkeypatch, orientation):
    _limit(monkeypatch, 20_000)
    path = tmp_path / "large.jpg"
    stored, _ = _spots(243, 183)
    Image.fromarray(stored).save(path, exif=_exif(orientation), quality=97)
    decoded = decode_reduced(path, lambda size: 1.0)
    upright = images._upright(stored, orientation)
    for centre in _spots(*upright.shape[:2])[1]:
        before = _centre_near(upright, centre, 14)
        expected = transform([np.float32([before])], decoded.matrix)[0][0]
        after = _centre_near(decoded.pixels, expected, 8)
        assert np.abs(np.array(after) - expected).max() < 0.06, "in reduced pixels"


@pytest.mark.parametrize("make", [lambda image: image.convert("CMYK"), lambda image: image])
def test_above_the_limit_only_jpegs_of_grey_or_rgb_are_read(tmp_path, monkeypatch, make):
    _limit(monkeypatch, 2000)
    image = make(Image.fromarray(_corners(64, 48)))
    path = tmp_path / ("a.jpg" if image.mode == "CMYK" else "a.png")
    image.save(path)
    with pytest.raises(ValueError, match="more than 2,000 pixels"):
        image_size(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_equal_those_by_slices(orientation):
    rng = np.random.default_rng(0)
    for shape in ((7, 12, 3), (1, 5, 3), (5, 1, 3), (1, 1, 3)):
        pixels = rng.integers(0, 256, shape, np.uint8)
        rows, columns = (-1 if flip else 1 for flip in images._FLIPS[orientation])
        expected = pixels[::rows, ::columns]
        expected = expected.swapaxes(0, 1) if orientation >= 5 else expected
        turned = images._upright(pixels, orientation)
        np.testing.assert_array_equal(turned, expected)
        assert turned.flags.c_contiguous


def test_largest_size_is_allowed(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(_huge_png(10_000, MAX_PIXELS // 10_000))
    assert image_size(path) == (MAX_PIXELS // 10_000, 10_000)
