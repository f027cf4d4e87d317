"""From settings to records, caches and loaders."""

import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from itertools import chain, islice
from typing import overload

import numpy as np
from tqdm import tqdm

from dbnet.data.collate import Collate, cached_maps, drawn_maps
from dbnet.data.dataset import DetectionDataset
from dbnet.data.samples import load_sample
from dbnet.data.storage.caches import Caches, ImageCache, TargetCache
from dbnet.data.transforms import EvalTransform, TrainTransform
from dbnet.data.workers import Loader, make_loader
from dbnet.runtime import distributed
from dbnet.settings import AugmentConfig, DataConfig, EvalDataConfig, TargetsConfig
from dbnet.structures import Batch, Record


def open_caches(data: EvalDataConfig, targets: TargetsConfig) -> Caches:
    """The caches that the settings ask for, shared by all loaders."""
    folder = data.cache_dir
    return Caches(
        targets=TargetCache(folder=folder / "targets", targets=targets)
        if data.cache != "none"
        else None,
        images=ImageCache(folder=folder / "images") if data.cache == "all" else None,
    )


def train_loader(
    records: Sequence[Record],
    data: DataConfig,
    augment: AugmentConfig,
    targets: TargetsConfig,
    *,
    seed: int,
    caches: Caches,
) -> Loader:
    """Shuffled and augmented; set `loader.sampler.epoch` before each pass.

    The ranks share the records; a batch of a rank has data.batch_size images. With random geometry
    the caches are not used, because an entry would hardly ever be read again.
    """
    transform = TrainTransform(augment, image_size=data.train_size or data.image_size)
    random = _random_geometry(augment)
    if random and data.cache == "all":
        print(f"training images: not cached, the geometry is random ({', '.join(random)})")
    used = Caches(targets=None, images=None) if random else caches
    loader = _loader(records, transform, data, targets, used, seed=seed, shuffle=True)
    loader.sampler.split = data.batch_size
    return loader


def val_loader(
    records: Sequence[Record],
    data: EvalDataConfig,
    targets: TargetsConfig,
    *,
    caches: Caches | None = None,
) -> Loader:
    """This rank's share of the records, in their order, only resized and padded.

    Without `caches` the loader opens its own.
    """
    transform = EvalTransform(image_size=data.image_size)
    if caches is None:
        caches = open_caches(data, targets)
    own = _Share(records)
    return _loader(own, transform, data, targets, caches, seed=0, shuffle=False)


class _Share(Sequence[Record]):
    """This rank's part of the records, without copying them."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.rows = distributed.shard(range(len(records)))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self.records[row] for row in self.rows[index]]
        return self.records[self.rows[index]]


def _random_geometry(augment: AugmentConfig) -> list[str]:
    """Settings that change the geometry in every epoch. A flip does not: one entry serves both."""
    still = {"rotate": 0, "quarter_turns": 0, "scale": (1, 1), "crop": 0, "stretch": (1, 1)}
    return [name for name, value in still.items() if getattr(augment, name) != value]


def _loader(
    records: Sequence[Record],
    transform: EvalTransform | TrainTransform,
    data: EvalDataConfig,
    targets: TargetsConfig,
    caches: Caches,
    *,
    seed: int,
    shuffle: bool,
) -> Loader:
    load = load_sample
    if caches.images:
        load = partial(caches.images.load, image_size=transform.image_size)
    target_maps = partial(drawn_maps, targets=targets)
    if caches.targets:
        target_maps = partial(cached_maps, cache=caches.targets)
    return make_loader(
        DetectionDataset(records=records, load=load, transform=transform, seed=seed),
        Collate(target_maps=target_maps),
        shuffle=shuffle,
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        prefetch_factor=data.prefetch_factor,
        persistent_workers=data.persistent_workers,
        pin_memory=data.pin_memory,
    )


def fill_cache(
    records: dict[str, Sequence[Record]],
    data: DataConfig,
    augment: AugmentConfig,
    targets: TargetsConfig,
) -> int:
    """Load every sample of "train" and "val" that can be cached once, and print the counts.

    Every rank loads its share. If this is stopped, entries that exist are not lost, and the next
    call reads them quickly. Returns the exit status: 1 if the cache cannot be written.
    """
    data = dataclasses.replace(data, persistent_workers=False)
    caches = open_caches(data, targets)
    own = _Share(records["train"])
    train = train_loader(own, data, augment, targets, seed=0, caches=caches)
    train.sampler.split = None  # all of its own
    val = val_loader(records["val"], data, targets, caches=caches)
    random = _random_geometry(augment)
    loaders = [val] if random else [train, val]
    total = sum(len(loader.sampler) for loader in loaders)
    started, done = time.perf_counter(), 0
    try:
        with tqdm(
            total=total, desc="fill cache", unit="image", leave=False,
            disable=not distributed.is_main(),
        ) as bar:  # fmt: skip
            for batch in chain.from_iterable(loaders):
                done += len(batch.image_ids)
                bar.update(len(batch.image_ids))
    finally:
        counts = caches.counts()
        done, total = distributed.all_reduce_sum(np.array([done, total])).astype(int)
        print(f"images: {done} of {total}, {time.perf_counter() - started:.1f} s")
        if random:
            print(f"training images are left out: the geometry is random ({', '.join(random)})")
        for name, own_counts in counts.items():
            hits, misses, stored = distributed.all_reduce_sum(np.array(own_counts)).astype(int)
            print(f"{name}: hits {hits}, misses {misses}, stored {stored / 1e6:.1f} MB", flush=True)
    is_off = any(cache is not None and cache.store.is_off for cache in caches)
    return distributed.all_reduce_max(int(is_off))


def batch_sizes(loader: Loader) -> list[int]:
    """Images in each batch of one training pass, over all ranks."""
    total = loader.sampler.length - loader.sampler.start
    size = loader.batch_size * distributed.world()
    return [min(size, total - start) for start in range(0, total, size)]


def first_samples(loader: Loader, count: int) -> Batch:
    """The first `count` samples of the next pass as one batch, made in this process."""
    keys = islice(loader.sampler, count)
    return loader.collate_fn([loader.dataset[key] for key in keys])
