"""Small networks with random batch-norm statistics, and checkpoints of them."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from dbnet.checkpoint import save_checkpoint
from dbnet.model.dbnet import DBNet

ENCODER = "mobilenetv3_small_050"


def with_random_statistics(encoder: str, *, seed: int = 0) -> DBNet:
    """A DBNet in eval mode with random weights, and random statistics in every batch norm."""
    torch.manual_seed(seed)
    model = DBNet(encoder=encoder, fpn_channels=32).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    nn.init.normal_(model.head.prob.logits.weight, std=0.5)  # maps that use all of 0..1
    return model


def save_trained(
    path: Path, model: DBNet, *, image_size: int, shrink_ratio: float, postprocess: dict[str, Any]
) -> Path:
    """Write a checkpoint of a `with_random_statistics(ENCODER)`, with the settings that export
    needs; returns its path."""
    config = {
        "data": {"image_size": image_size},
        "targets": {"shrink_ratio": shrink_ratio},
        "postprocess": postprocess,
    }
    save_checkpoint(
        path,
        {
            "model_args": {"encoder": ENCODER, "fpn_channels": 32},
            "model": model.state_dict(),
            "ema": None,
            "config": config,
        },
    )
    return path
