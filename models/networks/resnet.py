"""Residual networks for small images (He et al., CVPR 2016 and ECCV 2016)."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from kirigami.errors import ArgumentError
from kirigami.models.activations import activations
from kirigami.models.networks.layers import convolution, head, norm_2d, sizes
from kirigami.models.networks.layers import dropout as build_dropout


class Block(nn.Module):
    """Return act(x' + norm(conv(act(norm(conv(x)))))), x' = x or its projection (He et al., CVPR 2016)."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        stride: int,
        norm: str,
        activations: Iterator[nn.Module],
        dropout: float,
    ) -> None:
        super().__init__()
        bias = norm == "none"
        self.conv1 = convolution(channels, out_channels, 3, stride=stride, bias=bias)
        self.norm1 = norm_2d(norm, out_channels)
        self.activation1 = next(activations)
        self.dropout = build_dropout(dropout)
        self.conv2 = convolution(out_channels, out_channels, 3, bias=bias)
        self.norm2 = norm_2d(norm, out_channels)
        self.activation2 = next(activations)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out_channels:
            projection = convolution(channels, out_channels, 1, stride=stride, bias=bias)
            self.shortcut = nn.Sequential(projection, norm_2d(norm, out_channels))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H/stride, W/stride)."""
        hidden = self.dropout(self.activation1(self.norm1(self.conv1(inputs))))
        return self.activation2(self.shortcut(inputs) + self.norm2(self.conv2(hidden)))


class PreactivationBlock(nn.Module):
    """Return x' + conv(act(norm(conv(a)))), a = act(norm(x)), x' = x or the projection of a (He et al., ECCV 2016)."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        stride: int,
        norm: str,
        activations: Iterator[nn.Module],
        dropout: float,
    ) -> None:
        super().__init__()
        bias = norm == "none"
        self.norm1 = norm_2d(norm, channels)
        self.activation1 = next(activations)
        self.conv1 = convolution(channels, out_channels, 3, stride=stride, bias=bias)
        self.norm2 = norm_2d(norm, out_channels)
        self.activation2 = next(activations)
        self.dropout = build_dropout(dropout)
        self.conv2 = convolution(out_channels, out_channels, 3, bias=bias)
        self.shortcut: nn.Module | None = None
        if stride != 1 or channels != out_channels:
            self.shortcut = convolution(channels, out_channels, 1, stride=stride, bias=bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H/stride, W/stride)."""
        active = self.activation1(self.norm1(inputs))
        shortcut = inputs if self.shortcut is None else self.shortcut(active)
        return shortcut + self.conv2(self.dropout(self.activation2(self.norm2(self.conv1(active)))))


class ResNet(nn.Module):
    """Stack a stem, stages of residual blocks, and a head; each stage after the first halves the image.

    Channels are `width`, 2 `width`, 4 `width`, ...; a `dense` network keeps the image's size.

    Args:
        in_shape: (channels, height, width) of one image.
        out_features: Outputs a sample, or a pixel if `dense`.
        dense: Give outputs for each pixel.
        depth: Layers with weights, 2 · stages · n + 2 for n blocks a stage: 20, 32, 44, 56, ... for 3 stages.
        width: Channels of the first stage.
        stages: Number of stages.
        blocks: Blocks a stage, in place of `depth`.
        stem: Channels of the first convolution; `width` if null.
        preactivation: Norm and activation before each convolution instead of after it.
        activation: Name in `kirigami.models.activations.ACTIVATIONS`, or a list of names that the layers take in turn.
        norm: "batch", "group" or "none".
        dropout: Share of the features dropped in training, between the convolutions of a block.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_features: int,
        *,
        dense: bool = False,
        depth: int = 20,
        width: int = 16,
        stages: int = 3,
        blocks: int | None = None,
        stem: int | None = None,
        preactivation: bool = False,
        activation: str | Sequence[str] = "relu",
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes(width=width, stages=stages)
        functions = activations(activation)
        blocks = _blocks(depth, stages) if blocks is None else blocks
        channels = width if stem is None else stem
        sizes(blocks=blocks, stem=channels)
        self.stem = nn.Sequential(convolution(in_shape[0], channels, 3, bias=norm == "none"))
        if not preactivation:
            self.stem.extend([norm_2d(norm, channels), next(functions)])
        kind = PreactivationBlock if preactivation else Block
        self.stages = nn.ModuleList()
        for stage in range(stages):
            stack = nn.Sequential()
            for block in range(blocks):
                stride = 2 if stage and not block and not dense else 1
                out = width * 2**stage
                stack.append(kind(channels, out, stride=stride, norm=norm, activations=functions, dropout=dropout))
                channels = out
            self.stages.append(stack)
        last = [norm_2d(norm, channels), next(functions)] if preactivation else []
        self.last = nn.Sequential(*last)
        self.head = head(channels, out_features, dense=dense)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, out_features), or to (N, H, W) or (N, out_features, H, W) if dense."""
        hidden = self.stem(inputs)
        for stage in self.stages:
            hidden = stage(hidden)
        return self.head(self.last(hidden))


def _blocks(depth: int, stages: int) -> int:
    """Return the number of blocks a stage that makes up `depth`."""
    blocks, rest = divmod(depth - 2, 2 * stages)
    if rest or blocks < 1:
        near = 2 * stages * max(1, blocks) + 2
        raise ArgumentError("depth", f"must be {2 * stages}n+2, but got {depth}.", ("depth", near))
    return blocks
