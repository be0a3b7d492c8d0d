"""Wide residual networks (Zagoruyko & Komodakis, BMVC 2016)."""

from collections.abc import Sequence

from kirigami.errors import ArgumentError
from kirigami.models.networks.layers import sizes
from kirigami.models.networks.resnet import ResNet


def wrn(
    in_shape: Sequence[int],
    out_features: int,
    *,
    dense: bool = False,
    depth: int = 28,
    widen: int = 10,
    activation: str | Sequence[str] = "relu",
    norm: str = "batch",
    dropout: float = 0.0,
) -> ResNet:
    """Build WRN-depth-widen: a stem of 16 channels and three stages of (depth − 4)/6 pre-activation blocks.

    Args:
        in_shape: (channels, height, width) of one image.
        out_features: Outputs a sample, or a pixel if `dense`.
        dense: Give outputs for each pixel.
        depth: Layers with weights, 6n+4.
        widen: Factor of the channels 16, 32, 64 of the stages.
        activation: Name in `kirigami.models.activations.ACTIVATIONS`, or a list of names that the layers take in turn.
        norm: "batch", "group" or "none".
        dropout: Share of the features dropped in training, between the convolutions of a block.

    Raises:
        ValueError: An argument is out of its range.
    """
    sizes(widen=widen)
    blocks, rest = divmod(depth - 4, 6)
    if rest or blocks < 1:
        raise ArgumentError("depth", f"must be 6n+4, but got {depth}.", ("depth", 6 * max(1, blocks) + 4))
    return ResNet(
        in_shape,
        out_features,
        dense=dense,
        width=16 * widen,
        blocks=blocks,
        stem=16,
        preactivation=True,
        activation=activation,
        norm=norm,
        dropout=dropout,
    )
