"""Prediction branches of the DB head."""

from torch import Tensor, nn


class MapBranch(nn.Sequential):
    """Stride-4 features to one full-resolution map of logits.

    (N, C, H / 4, W / 4) -> (N, 1, H, W). The paper's branch: a 3x3 convolution, then two
    transposed convolutions that double the size.
    """

    def __init__(self, *, in_channels: int) -> None:
        width = in_channels // 4
        super().__init__(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            *_double(width, width),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            *_double(width, 1),
        )


def _double(in_channels: int, out_channels: int) -> tuple[nn.Module, nn.Module]:
    """A transposed convolution with kernel 2 and stride 2, in its other spelling.

    Every output pixel sees one input pixel only; written as a 1x1 convolution whose channels are
    spread over 2x2 pixels, its backward pass is three times as fast on a CPU in bf16.
    """
    return nn.Conv2d(in_channels, 4 * out_channels, 1), nn.PixelShuffle(2)


class DBHead(nn.Module):
    """Probability and threshold branch. k and the binarization belong to the loss."""

    def __init__(self, *, in_channels: int) -> None:
        super().__init__()
        self.prob = MapBranch(in_channels=in_channels)
        self.thresh = MapBranch(in_channels=in_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # (N, C, H / 4, W / 4)
        return self.prob(x), self.thresh(x)  # 2 x (N, 1, H, W)
