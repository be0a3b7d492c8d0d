"""Small convolutional network, for images of 8x8 and up."""

from collections.abc import Sequence

from torch import Tensor, nn

from kirigami.errors import ArgumentError
from kirigami.models.activations import activations
from kirigami.models.networks.layers import convolution_block, head, sizes
from kirigami.models.networks.layers import dropout as build_dropout


class ConvNet(nn.Module):
    """Stack `depth` convolutions; after each the image is halved and the channels multiply, while 4 pixels remain.

    Args:
        in_shape: (channels, height, width) of one image.
        out_features: Outputs a sample, or a pixel if `dense`.
        dense: Keep size and channels throughout, and give outputs for each pixel.
        width: Channels of the first convolution.
        depth: Number of convolutions.
        multiplier: Of the channels at each halving; with 1, all convolutions but the first have one shape.
        kernel: Side of the convolutions, odd.
        activation: Name in `kirigami.models.activations.ACTIVATIONS`, or a list of names that the layers take in turn.
        norm: "batch", "group" or "none", before each activation.
        dropout: Share of the features dropped in training, before the output layer.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_features: int,
        *,
        dense: bool = False,
        width: int = 16,
        depth: int = 3,
        multiplier: int = 2,
        kernel: int = 3,
        activation: str | Sequence[str] = "relu",
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes(width=width, depth=depth, multiplier=multiplier, kernel=kernel)
        if kernel % 2 == 0:
            raise ArgumentError("kernel", f"must be odd, but got {kernel}.", ("kernel", kernel + 1))
        channels, side = in_shape[0], min(in_shape[1:])
        layers: list[nn.Module] = []
        functions = activations(activation)
        for index in range(depth):
            layers += convolution_block(channels, width, kernel, norm=norm, activation=next(functions))
            channels = width
            if not dense and side >= 4 and index < depth - 1:
                layers += [nn.MaxPool2d(2)]
                side, width = side // 2, width * multiplier
        self.features = nn.Sequential(*layers)
        self.dropout = build_dropout(dropout)
        self.head = head(channels, out_features, dense=dense)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, out_features), or to (N, H, W) or (N, out_features, H, W) if dense."""
        return self.head(self.dropout(self.features(inputs)))
