"""The start of a training, before anything is built: device, precision, seeds, data."""

import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch

from dbnet.data import loaders, splits
from dbnet.model.backbone import stages_of
from dbnet.runtime import distributed, torchrun
from dbnet.runtime.device import autocast_dtype, resolve_device, resolve_precision, seed_everything
from dbnet.runtime.memory import keep_freed_memory
from dbnet.structures import Record
from dbnet.training.folder import StoredRun
from dbnet.training.resume import run_to_resume
from dbnet.training.settings import TrainingSettings


class Start(NamedTuple):
    """The result of `set_up`."""

    cfg: TrainingSettings  # settings of train.py, with the device and the precision that are used
    earlier: StoredRun | None  # the run to resume
    device: torch.device
    dtype: torch.dtype | None  # of autocast; None for full float32


def set_up(cfg: TrainingSettings, earlier: StoredRun | None) -> Start:
    """Choose the device and the precision, check the encoder, and seed torch.

    Args:
        cfg: settings of train.py.
        earlier: the stored run of --train.resume, if it has been read.

    Raises:
        InputError: the device is not usable, timm does not have the encoder, the encoder lacks a
            stride, or the run to resume cannot be read.
    """
    keep_freed_memory()
    restarts = distributed.all_reduce_max(torchrun.restarts())
    cfg, earlier = distributed.on_main(partial(run_to_resume, cfg, earlier, restarts=restarts))
    with distributed.main_first():
        device = resolve_device(named_device(cfg, earlier))
        stages_of(cfg.model.encoder)  # refuses unknown ones before data is read or drawn
    precision = resolve_precision(cfg.train.precision, device)
    name = device.type if distributed.world() > 1 else str(device)  # each rank has its own
    train = dataclasses.replace(cfg.train, device=name, precision=precision)
    seed_everything(train.seed, deterministic=train.deterministic)
    return Start(dataclasses.replace(cfg, train=train), earlier, device, autocast_dtype(precision))


def named_device(cfg: TrainingSettings, earlier: StoredRun | None) -> str:
    """The name of the device, --train.device.

    For a run of an earlier version on several ranks, only the type: its config.json has the GPU of
    rank 0.
    """
    name = str(cfg.train.device)
    if earlier and earlier.built.get("ranks", 1) > 1 and name == earlier.config.train.device:
        return name.partition(":")[0]
    return name


def load_records(cfg: TrainingSettings) -> dict[str, Sequence[Record]]:
    """The records of "train" and "val".

    Raises:
        InputError: as `splits.load_records`.
        SystemExit: after --data.check-only or --data.fill-cache.
    """
    if cfg.data.check_only:
        sys.exit(distributed.on_main(partial(splits.check, cfg.data, ["train", "val"])))
    with distributed.main_first():
        records = splits.load_records(cfg.data, ["train", "val"])
    if cfg.data.fill_cache:
        sys.exit(loaders.fill_cache(records, cfg.data, cfg.augment, cfg.targets))
    return records
