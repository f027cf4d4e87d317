"""Collates samples to a batch, and adds the target maps."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dbnet.data.storage.caches import TargetCache
from dbnet.data.targets import make_targets
from dbnet.errors import InputError
from dbnet.runtime.profiler import StageTimer
from dbnet.settings import TargetsConfig
from dbnet.structures import Batch, Sample, TargetMaps


def drawn_maps(sample: Sample, *, targets: TargetsConfig) -> TargetMaps:
    """Target maps of the sample."""
    return make_targets(sample.polygons, sample.ignored, *sample.image.shape[:2], **vars(targets))


def cached_maps(sample: Sample, *, cache: TargetCache) -> TargetMaps:
    """Target maps of the sample from the cache.

    A mirrored sample and the same sample without mirroring share one entry: the key is computed
    from the polygons before mirroring.
    """
    before = sample.unmirrored
    polygons = sample.polygons if before is None else before
    height, width = sample.image.shape[:2]
    return cache.get(polygons, sample.ignored, height, width, flipped=before is not None)


class Collate:
    """Stacks samples of equal size.

    Args:
        target_maps: `drawn_maps` or `cached_maps` with its settings bound.
    """

    def __init__(self, *, target_maps: Callable[[Sample], TargetMaps]) -> None:
        self.target_maps = target_maps

    def __call__(self, samples: list[Sample]) -> Batch:
        timer = StageTimer(synchronize=None)
        with timer("targets"):
            targets = [self._draw(sample) for sample in samples]
        for sample in samples:
            for stage, seconds in sample.seconds.items():
                timer.add(stage, seconds)
        maps = {
            name: _stack_maps([getattr(target, name) for target in targets])
            for name in TargetMaps._fields
        }
        # Stacked as (N, H, W, 3) and permuted: channels_last without a copy.
        images = torch.from_numpy(np.stack([sample.image for sample in samples]))
        return Batch(
            images=images.permute(0, 3, 1, 2),
            **maps,
            polygons=[sample.polygons for sample in samples],
            orig_polygons=[sample.orig_polygons for sample in samples],
            ignored=[sample.ignored for sample in samples],
            texts=[sample.texts for sample in samples],
            image_ids=[sample.image_id for sample in samples],
            matrices=np.stack([sample.matrix for sample in samples]),
            orig_sizes=[sample.orig_size for sample in samples],
            seconds=timer.totals(),
        )

    def _draw(self, sample: Sample) -> TargetMaps:
        try:
            return self.target_maps(sample)
        except ValueError as error:
            raise InputError(f"{sample.image_id}: {error}") from None


def _stack_maps(maps: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(maps)).unsqueeze(1)  # (N, 1, H, W)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch with its tensors on `device`; asynchronous from pinned memory."""

    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    return batch._replace(
        images=moved(batch.images),
        shrink_map=moved(batch.shrink_map),
        shrink_mask=moved(batch.shrink_mask),
        thresh_map=moved(batch.thresh_map),
        thresh_mask=moved(batch.thresh_mask),
    )
