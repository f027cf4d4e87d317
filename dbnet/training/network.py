"""Builds the network to train, loads its weights, and moves it to the device."""

from typing import cast

import torch
from torch import Tensor, nn

from dbnet.checkpoint import load_checkpoint, load_weights
from dbnet.model.backbone import load_imagenet, sync_batchnorm
from dbnet.model.dbnet import DBNet
from dbnet.runtime import distributed
from dbnet.settings import ModelConfig
from dbnet.structures import DBOutputs
from dbnet.training.settings import TrainingSettings


class FullBatchesCompiled(nn.Module):
    """Compiles `model` for batches of `batch_size`; others, such as an epoch's last, run eagerly.

    Only one shape is compiled. This module shares its weights with `model`: save and evaluate
    `model`.
    """

    def __init__(self, *, model: nn.Module, batch_size: int) -> None:
        super().__init__()
        self.model = model
        self.batch_size = batch_size
        self._compiled = torch.compile(model.forward, dynamic=False)

    def forward(self, images: Tensor) -> DBOutputs:
        run = self._compiled if len(images) == self.batch_size else self.model
        return run(images)


def build_network(
    cfg: TrainingSettings, device: torch.device, *, resumed: bool
) -> tuple[DBNet, str]:
    """The detector on `device`, and a description of its weights for config.json.

    Args:
        cfg: settings of train.py.
        resumed: a checkpoint will be loaded later; no weights are loaded here.

    Raises:
        InputError: --model.weights does not fit, or the device cannot synchronise batch norms.
    """
    model = DBNet(encoder=cfg.model.encoder, fpn_channels=cfg.model.fpn_channels)
    weights = "random" if resumed else _load_start(model, cfg.model)
    if cfg.train.sync_batchnorm:
        model = cast(DBNet, sync_batchnorm(model, device))
    model.to(device).to(memory_format=torch.channels_last)
    model.encoder.recompute = cfg.train.recompute_encoder
    return model, weights


def _load_start(model: DBNet, cfg: ModelConfig) -> str:
    """Load --model.weights or the encoder's ImageNet weights; returns which."""
    if cfg.weights:
        load_weights(model, load_checkpoint(cfg.weights))
        return str(cfg.weights)
    if not cfg.pretrained:
        return "random"
    failure = load_imagenet(model.encoder, cfg.encoder)
    if failure:
        print(f"WARNING: RANDOM weights, {failure}", flush=True)
    return f"random: {failure}" if failure else "imagenet"


def for_training(model: DBNet, cfg: TrainingSettings, device: torch.device) -> nn.Module:
    """`model` for `train_one_epoch`: compiled if asked for, with gradients averaged over ranks."""
    network: nn.Module = model
    if cfg.train.compile:
        network = FullBatchesCompiled(model=model, batch_size=cfg.data.batch_size)
    return distributed.parallel(network, device)
