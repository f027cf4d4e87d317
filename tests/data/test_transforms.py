"""Geometry stays exact through every combination; photometry is reproducible."""

import cv2
import numpy as np
import pytest

from dbnet.data.transforms import EvalTransform, TrainTransform, letterbox
from dbnet.geometry import transform
from dbnet.settings import AugmentConfig
from dbnet.structures import Sample

PLAIN = dict(
    flip=0.0, rotate=0.0, quarter_turns=0.0, scale=(1.0, 1.0), crop=0.0,
    color=0.0, blur=0.0, noise=0.0, jpeg=0.0,
)  # fmt: skip
GEOMETRY = {
    "flip": {"flip": 1.0},
    "rotate": {"rotate": 20.0},
    "quarter": {"quarter_turns": 1.0},
    "zoom in": {"scale": (1.3, 1.8)},
    "zoom out": {"scale": (0.5, 0.8)},
    "crop": {"crop": 1.0},
    "all": {"flip": 0.5, "rotate": 30.0, "quarter_turns": 0.5, "scale": (0.6, 1.7), "crop": 0.3},
}


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
    options = {**PLAIN, **GEOMETRY["all"], "color": 0.5, "blur": 0.5, "noise": 0.5, "jpeg": 0.5}
    make = train_transform(160, **options)
    image, centres = dots(300, 200)
    polygons = [centres[:4].copy()]
    before, points = image.copy(), polygons[0].copy()
    first, again, other = (apply(make, sample_of(image, polygons), s) for s in (1, 1, 2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.polygons[0], again.polygons[0])
    assert not np.array_equal(first.image, other.image)
    assert np.array_equal(image, before) and np.array_equal(polygons[0], points)


@pytest.mark.parametrize("name", ["color", "blur", "noise", "jpeg"])
def test_photometry_changes_pixels_but_not_geometry(name):
    make = train_transform(96, **{**PLAIN, name: 1.0})
    image = cv2.resize(
        np.random.default_rng(3).integers(0, 255, (24, 24, 3), dtype=np.uint8), (96, 96)
    )
    out = apply(make, sample_of(image, []), 0)
    assert np.allclose(out.matrix, np.eye(3))
    difference = np.abs(out.image.astype(int) - image).mean()
    assert 0.2 < difference < 80
