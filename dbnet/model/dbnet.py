"""The detector: encoder, feature pyramid, head (Liao et al., "Real-time Scene Text Detection
with Differentiable Binarization", AAAI 2020)."""

import torch
from torch import Tensor, nn

from dbnet.model.backbone import Encoder
from dbnet.model.fpn import FPN
from dbnet.model.head import DBHead
from dbnet.structures import DBOutputs

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class DBNet(nn.Module):
    """Text detector for raw images. It normalises them itself, on its own device.

    Args:
        encoder: timm model name.
        fpn_channels: width of the feature pyramid.
    """

    mean: Tensor  # (1, 3, 1, 1), of pixel values 0..255
    std: Tensor

    def __init__(self, *, encoder: str, fpn_channels: int) -> None:
        super().__init__()
        self.encoder = Encoder(name=encoder)
        self.fpn = FPN(in_channels=self.encoder.channels, channels=fpn_channels)
        self.head = DBHead(in_channels=fpn_channels)
        for module in (self.fpn, self.head):
            module.apply(_initialise)
        for branch in (self.head.prob, self.head.thresh):
            # Logits start near zero: the loss selects its hardest pixels, and the hardest pixels of
            # a random map with large values carry no information.
            nn.init.normal_(branch.logits.weight, std=0.01)
        mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255
        std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) RGB -> the pyramid's map (N, C, H / 4, W / 4)."""
        x = images.to(self.mean.dtype, memory_format=torch.channels_last)
        return self.fpn(self.encoder((x - self.mean) / self.std))

    def forward(self, images: Tensor) -> DBOutputs:
        """uint8 (N, 3, H, W) RGB, H and W multiples of 32 -> logits (N, 1, H, W)."""
        return DBOutputs(*self.head(self.features(images)))

    def predict(self, images: Tensor) -> Tensor:
        """Probability map P, float32 (N, 1, H, W), 0..1; skips the threshold branch."""
        return self.head.prob(self.features(images)).float().sigmoid()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
