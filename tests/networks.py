"""Small networks whose batch norms have seen something."""

import torch
from torch import nn

from dbnet.model.dbnet import DBNet


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
