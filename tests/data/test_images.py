"""Image files: upright once, one shape for header and pixels, clear refusals."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from dbnet.data.images import MAX_PIXELS, decode_image, decode_reduced, image_size
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
def test_exif_orientation_of_grey_jpeg(tmp_path, orientation):
    path = tmp_path / "a.jpg"
    Image.fromarray(_corners()).convert("L").save(path, exif=_exif(orientation), quality=95)
    grey = Image.fromarray(np.array([UPRIGHT[orientation]], np.uint8)).convert("L")
    image = decode_image(path)
    assert image_size(path) == image.shape[:2]
    np.testing.assert_allclose(_read_corners(image)[0], [np.array(grey)[0, 0]] * 3, atol=4)
    np.testing.assert_allclose(np.array(_read_corners(image))[:, 0], np.array(grey)[0], atol=4)


def test_png_exif_behind_the_pixels(tmp_path):
    """The format allows the block there, and some writers put it there."""
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


def test_palette(tmp_path):
    Image.fromarray(_corners()).convert("P", palette=Image.Palette.ADAPTIVE).save(
        tmp_path / "a.png"
    )
    assert Image.open(tmp_path / "a.png").mode == "P"
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png"), _corners())


def test_cmyk(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(decode_image(tmp_path / "a.jpg")[8, 8], (255, 0, 0), atol=3)


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


def test_animation_gives_first_frame(tmp_path):
    frames = [Image.new("RGB", (5, 4), color) for color in (RED, GREEN)]
    for suffix in ("gif", "png", "webp"):
        lossless = {"lossless": True} if suffix == "webp" else {}
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **lossless)
        assert Image.open(path).n_frames == 2
        np.testing.assert_array_equal(decode_image(path), np.broadcast_to(RED, (4, 5, 3)))


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
    """A header and nothing else: whoever decodes before looking at the size fails otherwise."""
    body = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I4s", 13, b"IHDR") + body + struct.pack(">I", zlib.crc32(b"IHDR" + body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I4s", 0, b"IDAT") + b"\0" * 4


@pytest.mark.parametrize("read", [image_size, decode_image])
@pytest.mark.parametrize("side", [9_000, 11_000, 20_000])
def test_huge_images_are_refused_by_their_header(tmp_path, read, side):
    path = tmp_path / "huge.png"
    path.write_bytes(_huge_png(side, side))
    with pytest.raises(ValueError, match=rf"huge\.png: .*more than {MAX_PIXELS:,} pixels"):
        read(path)


def test_largest_size_is_allowed(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(_huge_png(10_000, MAX_PIXELS // 10_000))
    assert image_size(path) == (MAX_PIXELS // 10_000, 10_000)
