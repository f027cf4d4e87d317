"""Geometry is exact in every combination; photometry is reproducible."""

import cv2
import numpy as np
import pytest

from dbnet.data import photometry
from dbnet.data.transforms import EvalTransform, TrainTransform, letterbox, text_height
from dbnet.geometry import transform
from dbnet.settings import AugmentConfig
from dbnet.structures import Sample

PLAIN = {"flip": 0.0}
GEOMETRY = {
    "flip": {"flip": 1.0},
    "rotate": {"rotate": 20.0},
    "quarter": {"quarter_turns": 1.0},
    "zoom in": {"scale": (1.3, 1.8)},
    "zoom out": {"scale": (0.5, 0.8)},
    "crop": {"crop": 1.0},
    "stretch": {"stretch": (0.7, 1.4)},
    "stretch and turn": {"stretch": (0.8, 1.25), "rotate": 25.0, "scale": (0.7, 1.5)},
    "all": {"flip": 0.5, "rotate": 30.0, "quarter_turns": 0.5, "scale": (0.6, 1.7), "crop": 0.3},
}
PHOTOMETRY = [
    "color", "blur", "noise", "jpeg", "low_resolution", "defocus", "shade", "invert",
    "show_through", "crease", "fade",
]  # fmt: skip


def train_transform(image_size, **augment):
    return TrainTransform(AugmentConfig(**augment), image_size=image_size)


def dots(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Black paper with bright gaussian dots, and their centres (n, 2), to subpixel accuracy."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:height, 0:width]
    steps_x, steps_y = np.arange(40, width - 40, 60), np.arange(40, height - 40, 60)
    centres = np.stack(np.meshgrid(steps_x, steps_y), -1).reshape(-1, 2) + rng.uniform(-8, 8, 2)
    image = np.zeros((height, width))
    for cx, cy in centres:
        image += 250 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 60)
    return np.repeat(image.astype(np.uint8)[:, :, None], 3, axis=2), centres.astype(np.float32)


def sample_of(image: np.ndarray, polygons: list[np.ndarray]) -> Sample:
    return Sample(
        image, polygons, np.zeros(len(polygons), bool), [""] * len(polygons),
        "x", np.eye(3), polygons, image.shape[:2],
    )  # fmt: skip


def apply(make: EvalTransform | TrainTransform, sample: Sample, seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    return make(sample, make.geometry(rng), rng)


@pytest.mark.parametrize("shape", [(500, 300), (300, 500), (333, 333), (257, 301)])
@pytest.mark.parametrize("name", GEOMETRY)
def test_pixels_and_polygons_move_together_and_come_back(shape, name):
    image, centres = dots(*shape)
    polygons = [centre + np.float32([[-3, -3], [3, -3], [3, 3], [-3, 3]]) for centre in centres]
    make = train_transform(320, **{**PLAIN, **GEOMETRY[name]})
    checked = 0
    for seed in range(4):
        out = apply(make, sample_of(image, polygons), seed)
        assert out.image.shape == (320, 320, 3) and out.image.dtype == np.uint8
        for polygon, original in zip(out.polygons, polygons, strict=True):
            (back,) = transform([polygon], np.linalg.inv(out.matrix))
            assert np.abs(back - original).max() < 1e-3
            cx, cy = polygon.mean(axis=0)
            if not (12 < cx < 307 and 12 < cy < 307):
                continue
            # Where the pixels really went: the centre of mass around the expected place.
            x0, y0 = int(cx) - 10, int(cy) - 10
            patch = out.image[y0 : y0 + 21, x0 : x0 + 21, 0].astype(float)
            patch = np.maximum(patch - 60, 0)
            mass = patch.sum()
            mx = (patch.sum(0) * np.arange(21)).sum() / mass + x0
            my = (patch.sum(1) * np.arange(21)).sum() / mass + y0
            unit = np.sqrt(abs(np.linalg.det(out.matrix[:2, :2])))
            assert np.hypot(mx - cx, my - cy) / unit < 0.5, "in original pixels"
            checked += 1
    assert checked > 10


def test_letterbox_fits_the_longest_side_and_pads_with_black():
    image = np.full((400, 200, 3), 255, np.uint8)
    out = apply(EvalTransform(image_size=128), sample_of(image, []), 0)
    assert (out.image[:, :64] == 255).all() and (out.image[:, 64:] == 0).all()
    # Outer corners of the original land on outer corners of the content.
    corners = [np.float32([[-0.5, -0.5], [199.5, 399.5]])]
    (corners,) = transform(corners, letterbox((400, 200), 128))
    assert np.allclose(corners, [[-0.5, -0.5], [63.5, 127.5]], atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (700, 3), (5000, 40)])
def test_extreme_shapes_survive(shape):
    image = np.full((*shape, 3), 200, np.uint8)
    out = apply(EvalTransform(image_size=64), sample_of(image, []), 0)
    # Enlarged from a pixel or two, the rim fades into the black around it.
    assert out.image.shape == (64, 64, 3) and 190 <= out.image.max() <= 200


def test_flip_is_the_mirror_image():
    image = np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8)
    quad = np.float32([[5, 5], [30, 5], [30, 12], [5, 12]])
    plain = apply(train_transform(96, **PLAIN), sample_of(image, [quad]), 0)
    flip = train_transform(96, **{**PLAIN, "flip": 1.0})
    flipped = apply(flip, sample_of(image, [quad]), 0)
    assert np.array_equal(flipped.image, plain.image[:, ::-1])
    assert np.allclose(flipped.polygons[0][:, 0], 95 - plain.polygons[0][:, 0], atol=1e-4)


def test_the_seed_decides_and_the_input_is_left_alone():
    options = {**PLAIN, **GEOMETRY["all"], **dict.fromkeys(PHOTOMETRY, 0.5)}
    make = train_transform(160, **options)
    image, centres = dots(300, 200)
    polygons = [centres[:4].copy()]
    before, points = image.copy(), polygons[0].copy()
    first, again, other = (apply(make, sample_of(image, polygons), s) for s in (1, 1, 2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.polygons[0], again.polygons[0])
    assert not np.array_equal(first.image, other.image)
    assert np.array_equal(image, before) and np.array_equal(polygons[0], points)


@pytest.fixture(scope="module")
def page() -> tuple[np.ndarray, list[np.ndarray]]:
    """Grey paper, 320 x 240, with six lines of large print, and their boxes."""
    image = np.full((320, 240, 3), 220, np.uint8)
    boxes = []
    for y in range(50, 320, 50):
        cv2.putText(image, "TOTAL 12.90", (20, y), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (40,) * 3, 2)
        boxes.append(np.float32([[18, y - 25], [215, y - 25], [215, y + 4], [18, y + 4]]))
    return image, boxes


@pytest.mark.parametrize("name", PHOTOMETRY)
def test_photometry_changes_pixels_but_not_geometry(page, name):
    make = train_transform(320, **{**PLAIN, name: 1.0})
    image, boxes = page
    plain = apply(train_transform(320, **PLAIN), sample_of(image, boxes), 0)
    for seed in range(6):
        out = apply(make, sample_of(image, boxes), seed)
        assert out.image.shape == (320, 320, 3) and out.image.dtype == np.uint8
        assert np.array_equal(out.matrix, plain.matrix)
        assert np.array_equal(out.polygons, plain.polygons)
        difference = np.abs(out.image.astype(int) - plain.image)[:, :240].mean()
        assert 0.2 < difference < 200
        again = apply(make, sample_of(image, boxes), seed)
        assert np.array_equal(out.image, again.image)


@pytest.mark.parametrize("name", ["shade", "invert", "show_through", "crease", "fade"])
def test_the_padding_stays_black(page, name):
    make = train_transform(320, **{**PLAIN, name: 1.0})
    for seed in range(6):
        assert (apply(make, sample_of(*page), seed).image[:, 240:] == 0).all()


def test_half_of_the_images_when_probability_is_half(page):
    make = train_transform(320, **{**PLAIN, "invert": 0.5})
    plain = apply(train_transform(320, **PLAIN), sample_of(*page), 0).image
    changed = [
        not np.array_equal(apply(make, sample_of(*page), seed).image, plain) for seed in range(60)
    ]
    assert 18 <= sum(changed) <= 42


def test_invert_swaps_everything_or_bars_behind_texts(page):
    image, boxes = page
    inside = np.full(image.shape[:2], 255, np.uint8)
    whole = bars = coloured = 0
    for seed in range(20):
        out = photometry.invert(image, inside, boxes, np.random.default_rng(seed))
        if np.array_equal(out, 255 - image):
            whole += 1
            continue
        bars += 1
        middles = [np.median(out[int(b[0, 1]) : int(b[2, 1]), 20:210], axis=(0, 1)) for b in boxes]
        dark = [middle.min() < 110 for middle in middles]
        assert 1 <= sum(dark) <= 3, "one to three bars"
        coloured += any(np.ptp(middle) > 30 for middle in middles)
        assert (out[:16] == image[:16]).all(), "nothing far from the texts"
    assert whole > 2 and bars > 4
    assert 1 < coloured < bars


def test_show_through_darkens_paper_by_a_mirror_image(page):
    image, _ = page
    inside = np.full(image.shape[:2], 255, np.uint8)
    for seed in range(6):
        out = photometry.show_through(image, inside, 25.0, np.random.default_rng(seed))
        assert (out <= image).all()
        paper = out[image.min(axis=2) == 220].min()
        assert 70 < paper < 215, "fainter than print, which is 40"


def test_faint_print_keeps_its_contrast_to_the_paper(page):
    image, _ = page
    inside = np.full(image.shape[:2], 255, np.uint8)
    print_pixels = image.min(axis=2) == 40
    for seed in range(6):
        out = photometry.fade(image, inside, 25.0, np.random.default_rng(seed))
        contrast = 220.0 - np.percentile(out[print_pixels], 20)
        assert 25 < contrast < 150, "it was 180"
        assert (np.abs(out[image.min(axis=2) == 220].astype(int) - 220) <= 1).all()
    faint = cv2.addWeighted(image, 0.12, np.full_like(image, 220), 0.88, 0)
    assert np.array_equal(photometry.fade(faint, inside, 25.0, np.random.default_rng(0)), faint)


@pytest.mark.parametrize(("paper", "ink"), [(250, 200), (240, 60), (110, 70), (60, 20)])
def test_contrast_and_brightness_never_erase_print(paper, ink):
    image = np.full((64, 64, 3), paper, np.uint8)
    image[20:30, 10:50] = ink
    for seed in range(300):
        changed = photometry.jitter_color(image, 0.6, np.random.default_rng(seed)).astype(int)
        assert np.ptp(changed, axis=(0, 1)).max() >= 8


def test_small_text_keeps_its_resolution(page):
    image, _ = page
    rng = np.random.default_rng(0)
    assert np.array_equal(photometry.low_resolution(image, 7.0, rng), image)
    assert not np.array_equal(photometry.low_resolution(image, 25.0, rng), image)


def test_text_height_is_that_of_the_smaller_visible_texts():
    boxes = [np.float32([[0, y], [60, y], [60, y + h], [0, y + h]]) for y, h in
             ((0, 8), (20, 8), (40, 30), (80, 30), (500, 2))]  # fmt: skip
    sample = sample_of(np.zeros((120, 120, 3), np.uint8), boxes)
    assert text_height(sample) == 8
    assert text_height(sample_of(sample.image, [])) == 12
