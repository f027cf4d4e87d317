"""Feature pyramid of the DBNet paper (figure 3)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FPN(nn.Module):
    """Merges four feature maps, top down, into one at stride 4.

    Args:
        in_channels: channels of the encoder's maps at strides 4, 8, 16, 32.
        channels: width of the lateral maps and of the result, a multiple of 4.
    """

    def __init__(self, *, in_channels: list[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1, bias=False) for c in in_channels)
        self.smooth = nn.ModuleList(
            nn.Conv2d(channels, channels // 4, 3, padding=1, bias=False) for _ in in_channels
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        maps = [conv(x) for conv, x in zip(self.lateral, features, strict=True)]
        for fine, coarse in ((2, 3), (1, 2), (0, 1)):
            maps[fine] = maps[fine] + _resize_to(maps[coarse], maps[fine])
        maps = [conv(x) for conv, x in zip(self.smooth, maps, strict=True)]
        merged = [maps[0], *(_resize_to(x, maps[0]) for x in maps[1:])]
        return torch.cat(merged, dim=1)  # (N, channels, H / 4, W / 4)


def _resize_to(x: Tensor, target: Tensor) -> Tensor:
    return F.interpolate(x, size=target.shape[-2:], mode="nearest")
