"""Loaders: order, seeds, workers, batches."""

from functools import partial
from itertools import chain

import cv2
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from dbnet.data.annotations import scan as annotations
from dbnet.data.collate import Collate, cached_maps, drawn_maps
from dbnet.data.dataset import DetectionDataset
from dbnet.data.sampler import EpochSampler
from dbnet.data.samples import load_sample
from dbnet.data.storage.caches import ImageCache, TargetCache
from dbnet.data.transforms import EvalTransform, Geometry, TrainTransform
from dbnet.data.workers import make_loader
from dbnet.geometry import transform as apply_matrix
from dbnet.settings import AugmentConfig, TargetsConfig
from dbnet.structures import Record, Sample
from dbnet.synthetic.dataset import draw_receipt
from tests.drawing import write_dataset

PARAMETERS = dict(shrink_ratio=0.4, thresh_min=0.3, thresh_max=0.7)
TARGETS = partial(drawn_maps, targets=TargetsConfig(**PARAMETERS))
AUGMENT = dict(
    flip=0.5, rotate=5.0, quarter_turns=0.1, scale=(0.8, 1.2), crop=0.3,
    color=0.3, blur=0.3, noise=0.3, jpeg=0.3,
)  # fmt: skip
STILL = AUGMENT | dict(rotate=0.0, quarter_turns=0.0, scale=(1.0, 1.0), crop=0.0)


def train_transform(image_size, **augment):
    return TrainTransform(AugmentConfig(**augment), image_size=image_size)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    root = write_dataset(tmp_path_factory.mktemp("pages"), train=7, val=1)
    return annotations.load_records(root, "train", format="ufo")[0]


def loader_of(
    records, *, workers, shuffle=True, transform=None, load=load_sample, target_maps=TARGETS
):
    transform = transform or train_transform(96, **AUGMENT)
    return make_loader(
        DetectionDataset(records=records, load=load, transform=transform, seed=1),
        Collate(target_maps=target_maps),
        shuffle=shuffle, batch_size=3, num_workers=workers, prefetch_factor=2,
        persistent_workers=True, pin_memory=False,
    )  # fmt: skip


def epoch_of(loader, epoch):
    loader.sampler.epoch = epoch
    return list(loader)


def test_batches_are_the_same_whatever_the_number_of_workers(records):
    loaders = [loader_of(records, workers=workers) for workers in (0, 2)]
    for epoch in (0, 1, 0):
        for a, b in zip(*(epoch_of(loader, epoch) for loader in loaders), strict=True):
            assert a.image_ids == b.image_ids
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.thresh_map, b.thresh_map)
            assert np.array_equal(a.matrices, b.matrices)


@pytest.mark.faults("epochs all alike")
def test_epochs_differ_in_order_and_augmentation(records):
    loader = loader_of(records, workers=0)
    first, second = (
        {
            name: image
            for batch in epoch_of(loader, epoch)
            for name, image in zip(batch.image_ids, batch.images, strict=True)
        }
        for epoch in (0, 1)
    )
    assert sorted(first) == sorted(second) == sorted(r.image_id for r in records)
    assert list(first) != list(second)
    assert not any(torch.equal(first[name], second[name]) for name in first)


def test_last_batch_is_smaller_and_nothing_is_lost(records):
    loader = loader_of(records, workers=0, shuffle=False, transform=EvalTransform(image_size=96))
    batches = list(loader)
    assert [len(b.images) for b in batches] == [3, 3, 1]
    assert [name for b in batches for name in b.image_ids] == [r.image_id for r in records]


def test_a_batch_holds_what_its_samples_do(records):
    transform = EvalTransform(image_size=96)
    batch = next(iter(loader_of(records, workers=0, shuffle=False, transform=transform)))
    dataset = DetectionDataset(records=records, load=load_sample, transform=transform, seed=1)
    assert batch.images.shape == (3, 3, 96, 96) and batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    for index in range(3):
        sample = dataset[(0, index)]
        assert np.array_equal(batch.images[index].permute(1, 2, 0).numpy(), sample.image)
        maps = TARGETS(sample)
        assert np.array_equal(batch.shrink_map[index, 0].numpy(), maps.shrink_map)
        assert np.array_equal(batch.thresh_mask[index, 0].numpy(), maps.thresh_mask)
        assert batch.orig_sizes[index] == (160, 128)
        for a, b in zip(batch.orig_polygons[index], records[index].polygons, strict=True):
            assert np.array_equal(a, b)


def test_sampler_without_shuffle_is_in_order():
    sampler = EpochSampler(length=4, shuffle=False, seed=0)
    sampler.epoch = 3
    assert list(sampler) == [(3, 0), (3, 1), (3, 2), (3, 3)]


@pytest.mark.faults("image no worker can read")
@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_is_named(records, workers, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    bad = [*records[:2], records[2]._replace(image_path=str(broken))]
    with pytest.raises(ValueError, match=r"broken\.png"):
        list(loader_of(bad, workers=workers, shuffle=False))


TRANSFORMS = [
    EvalTransform(image_size=96),
    train_transform(96, **STILL | {"flip": 0.0}),
    train_transform(96, **STILL),
    train_transform(224, **STILL),
]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=["eval", "train", "flips", "enlarges"])
def test_cached_batches_are_those_without_a_cache(records, transform, workers, tmp_path):
    images = ImageCache(folder=tmp_path / "images")
    targets = TargetCache(folder=tmp_path / "targets", targets=TargetsConfig(**PARAMETERS))
    drawn = loader_of(records, workers=0, transform=transform)
    cached = loader_of(
        records,
        workers=workers,
        transform=transform,
        load=partial(images.load, image_size=transform.image_size),
        target_maps=partial(cached_maps, cache=targets),
    )
    plain = mirrored = 0
    for epoch in (0, 1, 2):
        for a, b in zip(epoch_of(drawn, epoch), epoch_of(cached, epoch), strict=True):
            assert a.image_ids == b.image_ids and a.orig_sizes == b.orig_sizes
            assert torch.equal(a.images, b.images)
            assert np.array_equal(a.matrices, b.matrices)
            for p, q in zip(chain(*a.polygons), chain(*b.polygons), strict=True):
                assert np.array_equal(p, q)
            flips = a.matrices[:, 0, 0] < 0
            for name in ("shrink_map", "shrink_mask", "thresh_mask"):
                differs = getattr(a, name) != getattr(b, name)
                assert not differs[~flips].any()
                assert differs.float().mean() < 5e-3  # lines are not drawn alike from both ends
            assert (a.thresh_map - b.thresh_map).abs().max() <= (0.7 - 0.3) / 510 + 1e-6
            plain, mirrored = plain + int((~flips).sum()), mirrored + int(flips.sum())
    flips = isinstance(transform, TrainTransform) and transform.augment.flip > 0
    assert (mirrored > 3) == flips and plain > 3
    for cache in (images, targets):  # the flipped share the entries of the plain
        assert cache.counts()[:2] == (2 * len(records), len(records))


def full_sample(record: Record, geometry: Geometry) -> Sample:
    """The sample with every pixel decoded."""
    return load_sample(record, lambda shape: np.eye(3))


LARGE = AUGMENT | dict(color=0.0, blur=0.0, noise=0.0, jpeg=0.0)
STEADY = LARGE | dict(rotate=0.0, quarter_turns=0.0, scale=(1.0, 1.0), crop=0.0)
REDUCED = {  # transform, and the mean of the absolute differences in grey levels
    "eval": (EvalTransform(image_size=320), 2.0),
    "flips": (train_transform(320, **STEADY), 2.0),
    "turns": (train_transform(256, **LARGE | {"scale": (0.4, 1.4)}), 3.0),
}


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("orientation", [1, 6])
def test_reduced_images_give_the_same_samples(tmp_path, name, orientation):
    transform, tolerance = REDUCED[name]
    image, quads, _ = draw_receipt(np.random.default_rng(3))
    quads = quads[:10]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    reduced = 0
    for shape in ((1600, 1200), (1283, 1041)):
        path = tmp_path / f"{shape[0]}.jpg"
        pixels = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)
        Image.fromarray(pixels).save(path, quality=90, exif=exif)
        record = Record(str(path), path.name, quads, np.zeros(len(quads), bool), [""] * len(quads))
        for epoch in range(3):
            samples = []
            for load in (full_sample, load_sample):
                dataset = DetectionDataset(records=[record], load=load, transform=transform, seed=2)
                samples.append(dataset[(epoch, 0)])
            full, ours = samples
            reduced += not np.array_equal(full.image, ours.image)
            assert np.array_equal(full.matrix, ours.matrix)
            assert all(map(np.array_equal, full.polygons, ours.polygons))
            back = apply_matrix(ours.polygons, np.linalg.inv(ours.matrix))
            assert np.abs(np.subtract(back, quads)).max() < 1e-3
            assert np.abs(full.image.astype(int) - ours.image).mean() < tolerance
    assert reduced >= 2


def test_a_sample_is_reduced_as_far_as_its_geometry_allows(tmp_path):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.full((1600, 900, 3), 200, np.uint8))
    record = Record(str(path), path.name, [np.float32([[0, 0], [9, 0], [9, 9]])], np.ones(1), [""])
    for size, side in ((1600, 1600), (800, 1600), (700, 800), (400, 800), (350, 400), (64, 200)):
        sample = load_sample(record, EvalTransform(image_size=size).geometry(None))
        assert max(sample.image.shape) == side and sample.orig_size == (1600, 900)
        (back,) = apply_matrix(sample.polygons, np.linalg.inv(sample.matrix))
        assert np.abs(back - record.polygons[0]).max() < 1e-3
    zoomed = train_transform(400, **AUGMENT | {"crop": 1.0})
    sides = {
        max(load_sample(record, zoomed.geometry(np.random.default_rng(seed))).image.shape)
        for seed in range(20)
    }
    assert sides == {800, 1600}, "a window of the image needs more of its pixels"


@pytest.mark.parametrize(("size", "factor"), [(65, 8), (89, 8), (98, 4), (100, 4), (400, 1)])
def test_a_reduced_letterbox_is_where_the_full_one_is(tmp_path, size, factor):
    """801 = 8 * 100 + 1 pixels become 101; the last one covers a single pixel instead of eight."""
    path = tmp_path / "a.jpg"
    y, x = np.mgrid[:801, :641]
    spot = 160 * np.exp(-((x - 597.3) ** 2 + (y - 752.8) ** 2) / 400)
    pixels = np.repeat((90 + spot).astype(np.uint8)[:, :, None], 3, axis=2)
    cv2.imwrite(str(path), pixels)
    record = Record(str(path), path.name, [], np.zeros(0, bool), [])
    transform = EvalTransform(image_size=size)
    geometry = transform.geometry(None)
    width = round(641 * size / 801)
    loaded = load_sample(record, geometry)
    assert loaded.image.shape == (-(-801 // factor), -(-641 // factor), 3)
    centres = []
    for sample in (full_sample(record, geometry), loaded):
        image = transform(sample, geometry, None).image[:, :, 0].astype(float)
        assert (image[:, :width] > 80).all() and not image[:, width:].any()
        weights = np.maximum(image[:, :width] - 95, 0)
        centres.append([np.average(axis, weights=weights) for axis in np.indices(weights.shape)])
    assert np.abs(np.subtract(*centres)).max() < 0.03
