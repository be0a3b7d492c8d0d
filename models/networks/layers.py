"""Pieces that the networks are built of: norms, dropout, convolutions, heads."""

import math

from torch import Tensor, nn

from kirigami.arguments import at_least, within
from kirigami.errors import choose

NORMS = ("batch", "group", "none")


def norm_2d(name: str, channels: int) -> nn.Module:
    """Build the norm called `name` over the channels of (N, C, H, W).

    Group norm takes the largest group count up to 8 that divides `channels`.

    Raises:
        ValueError: The name is unknown.
    """
    choose("norm", name, NORMS)
    if name == "none":
        return nn.Identity()
    return nn.BatchNorm2d(channels) if name == "batch" else nn.GroupNorm(math.gcd(8, channels), channels)


def norm_1d(name: str, features: int) -> nn.Module:
    """Build the norm called `name` over the features of (N, F), grouped as in `norm_2d`.

    Raises:
        ValueError: The name is unknown.
    """
    choose("norm", name, NORMS)
    if name == "none":
        return nn.Identity()
    return nn.BatchNorm1d(features) if name == "batch" else nn.GroupNorm(math.gcd(8, features), features)


def dropout(share: float) -> nn.Module:
    """Build dropout of a share in [0, 1); none at all for 0, so that it costs nothing."""
    within("dropout", share, 0, 1)
    return nn.Dropout(share) if share else nn.Identity()


def sizes(**values: int) -> None:
    """Raise `ValueError` unless every size of the network is 1 or more."""
    for name, value in values.items():
        at_least(name, value, 1)


def convolution(channels: int, out_channels: int, kernel: int, *, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """Build a convolution that keeps the size (up to its stride), with Kaiming-normal weights (He et al., 2015)."""
    layer = nn.Conv2d(channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=bias)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def convolution_block(
    channels: int, out_channels: int, kernel: int, *, norm: str, activation: nn.Module
) -> nn.Sequential:
    """Put a convolution and a norm before an activation; a bias only where no norm would cancel it."""
    return nn.Sequential(
        convolution(channels, out_channels, kernel, bias=norm == "none"),
        norm_2d(norm, out_channels),
        activation,
    )


class ClassHead(nn.Module):
    """Average (N, C, H, W) over its pixels and map it linearly to (N, out_features)."""

    def __init__(self, channels: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, out_features)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, out_features)."""
        return self.linear(inputs.mean((-2, -1)))


class PixelHead(nn.Module):
    """Map (N, C, H, W) to one logit a pixel, (N, H, W), or to one for each class, (N, out_features, H, W)."""

    def __init__(self, channels: int, out_features: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, out_features, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, H, W), or to (N, out_features, H, W)."""
        outputs = self.convolution(inputs)
        return outputs.squeeze(-3) if self.convolution.out_channels == 1 else outputs


def head(channels: int, out_features: int, *, dense: bool) -> nn.Module:
    """Build the head of a convolutional network: `out_features` a pixel if `dense`, else a sample."""
    return PixelHead(channels, out_features) if dense else ClassHead(channels, out_features)
