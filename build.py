"""From settings to objects: what train.py, evaluate.py and profile_val.py share."""

from functools import partial
from itertools import islice

import numpy as np
import torch
from torch.utils.data import DataLoader

from configs import AugmentConfig, DataConfig, MetricConfig, PostprocessConfig, TargetsConfig
from dbnet.data import annotations, synthetic
from dbnet.data.collate import Collate
from dbnet.data.dataset import DetectionDataset, make_loader
from dbnet.data.targets import make_targets
from dbnet.data.transforms import EvalTransform, TrainTransform
from dbnet.engine import Metric, autocast
from dbnet.metrics.cleval import CLEval
from dbnet.metrics.iou import IoUMetric
from dbnet.model.dbnet import DBNet
from dbnet.postprocess import DBPostprocessor
from dbnet.structures import Batch, Detections, Record


def load_records(cfg: DataConfig, splits: list[str]) -> dict[str, list[Record]]:
    """Read and check the splits, drawing receipts first where no root is given; prints a table.

    Raises:
        ValueError: the data set has problems, or a split no usable text.
    """
    root, format = cfg.root, cfg.format
    if root is None:
        root, format = (
            synthetic.build(
                cfg.drawn_dir,
                train=cfg.drawn_train,
                val=cfg.drawn_val,
                seed=cfg.drawn_seed,
                workers=cfg.num_workers,
            ),
            "ufo",
        )
    loaded = {split: annotations.load_records(root, split, format=format) for split in splits}
    records = {split: loaded[split][0] for split in splits}
    reports = {split: loaded[split][1] for split in splits}
    print(annotations.summary_table(records, reports, image_size=cfg.image_size), flush=True)
    for split in splits:
        if all(record.ignored.all() for record in records[split]):
            raise ValueError(f"{root}: {split} has no usable text; annotate some first")
    return records


def train_loader(
    records: list[Record],
    data: DataConfig,
    augment: AugmentConfig,
    targets: TargetsConfig,
    *,
    seed: int,
) -> DataLoader[Batch]:
    """Shuffled and augmented; set `loader.sampler.epoch` before each pass."""
    transform = TrainTransform(image_size=data.train_size or data.image_size, **vars(augment))
    dataset = DetectionDataset(records=records, transform=transform, seed=seed)
    return _loader(dataset, data, targets, shuffle=True)


def val_loader(
    records: list[Record], data: DataConfig, targets: TargetsConfig
) -> DataLoader[Batch]:
    """In the records' order, only resized and padded."""
    transform = EvalTransform(image_size=data.image_size)
    dataset = DetectionDataset(records=records, transform=transform, seed=0)
    return _loader(dataset, data, targets, shuffle=False)


def _loader(
    dataset: DetectionDataset, data: DataConfig, targets: TargetsConfig, *, shuffle: bool
) -> DataLoader[Batch]:
    return make_loader(
        dataset,
        Collate(target_maps=partial(make_targets, **vars(targets))),
        shuffle=shuffle,
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        prefetch_factor=data.prefetch_factor,
        persistent_workers=data.persistent_workers,
        pin_memory=data.pin_memory,
    )


def batch_sizes(loader: DataLoader[Batch]) -> list[int]:
    """Images in each batch of one pass."""
    total, size = len(loader.sampler), loader.batch_size
    return [min(size, total - start) for start in range(0, total, size)]


def first_samples(loader: DataLoader[Batch], count: int) -> Batch:
    """The first `count` samples of the next pass as one batch, made in this process."""
    keys = islice(loader.sampler, count)
    return loader.collate_fn([loader.dataset[key] for key in keys])


def postprocessor(cfg: PostprocessConfig, targets: TargetsConfig) -> DBPostprocessor:
    """The exact unclip needs to know the shrink."""
    return DBPostprocessor(**vars(cfg), shrink_ratio=targets.shrink_ratio)


def metrics(cfg: MetricConfig) -> dict[str, Metric]:
    return {"cleval": CLEval(**vars(cfg.cleval)), "iou": IoUMetric(**vars(cfg.iou))}


@torch.inference_mode()
def predict(
    model: DBNet,
    batch: Batch,
    *,
    postprocess: DBPostprocessor,
    device: torch.device,
    dtype: torch.dtype | None,
) -> tuple[np.ndarray, list[Detections]]:
    """Probability maps, float32 (N, 1, H, W), and detections in the batch's pixels."""
    model.eval()
    with autocast(device, dtype):
        prob_maps = model.predict(batch.images.to(device)).cpu().numpy()
    return prob_maps, [postprocess(prob_map[0]) for prob_map in prob_maps]
