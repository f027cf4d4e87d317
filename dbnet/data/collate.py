"""Samples to a batch, target maps included."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dbnet.structures import Batch, Sample, TargetMaps


class Collate:
    """Stacks samples of equal size.

    Args:
        target_maps: answers like `make_targets(polygons, ignored, height, width)`.
    """

    def __init__(self, *, target_maps: Callable[..., TargetMaps]) -> None:
        self.target_maps = target_maps

    def __call__(self, samples: list[Sample]) -> Batch:
        targets = [
            self.target_maps(sample.polygons, sample.ignored, *sample.image.shape[:2])
            for sample in samples
        ]
        maps = {
            name: _stack_maps([getattr(target, name) for target in targets])
            for name in TargetMaps._fields
        }
        # Shape (N, 3, H, W) over memory that is already channels_last: nothing is moved again.
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
        )


def _stack_maps(maps: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(maps)).unsqueeze(1)  # (N, 1, H, W)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch with its tensors on `device`; asynchronous from pinned memory."""
    tensors = {
        name: value.to(device, non_blocking=True)
        for name, value in batch._asdict().items()
        if isinstance(value, Tensor)
    }
    return batch._replace(**tensors)
