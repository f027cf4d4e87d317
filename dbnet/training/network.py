"""The network to train: built, filled with weights, placed on its device."""

from typing import Any, cast

import torch
from torch import nn

from dbnet.checkpoint import load_checkpoint, load_weights
from dbnet.model.backbone import load_imagenet, sync_batchnorm
from dbnet.model.compiled import FullBatchesCompiled
from dbnet.model.dbnet import DBNet
from dbnet.runtime import distributed
from dbnet.settings import ModelConfig


def build_network(cfg: Any, device: torch.device, *, resumed: bool) -> tuple[DBNet, str]:
    """The detector on `device`, and what its weights are, for config.json.

    Args:
        cfg: settings of train.py.
        resumed: the weights are those of a checkpoint to come; none are loaded here.

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
        print(f"WARNING: training starts from RANDOM weights: {failure}", flush=True)
    return f"random: {failure}" if failure else "imagenet"


def for_training(model: DBNet, cfg: Any, device: torch.device) -> nn.Module:
    """`model` as `train_one_epoch` takes it: compiled where asked, gradients shared by ranks."""
    network: nn.Module = model
    if cfg.train.compile:
        network = FullBatchesCompiled(model=model, batch_size=cfg.data.batch_size)
    return distributed.parallel(network, device)
