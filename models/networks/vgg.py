"""VGG networks (Simonyan & Zisserman, ICLR 2015), with norms and one linear layer, as used on small images."""

from collections.abc import Sequence

from torch import Tensor, nn

from kirigami.errors import ArgumentError
from kirigami.models.activations import activations
from kirigami.models.networks.layers import convolution_block, head, sizes
from kirigami.models.networks.layers import dropout as build_dropout

# Convolutions in each of the five stages; the channels of the stages are 1, 2, 4, 8 and 8 times the width.
_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_FACTORS = (1, 2, 4, 8, 8)


class VGG(nn.Module):
    """Stack 3x3 convolutions with max pooling between the stages; small images are pooled while 2 pixels remain.

    Args:
        in_shape: (channels, height, width) of one image.
        out_features: Outputs a sample, or a pixel if `dense`.
        dense: Leave out the pooling, and give outputs for each pixel.
        depth: 11, 13, 16 or 19.
        width: Channels of the first stage.
        plan: In place of `depth` and `width`: channels of each convolution, and 0 for a pooling.
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
        depth: int = 11,
        width: int = 64,
        plan: Sequence[int] | None = None,
        activation: str | Sequence[str] = "relu",
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes(width=width)
        channels, side = in_shape[0], min(in_shape[1:])
        layers: list[nn.Module] = []
        functions = activations(activation)
        for entry in _plan(depth, width) if plan is None else _checked(plan):
            if entry:
                layers += convolution_block(channels, entry, 3, norm=norm, activation=next(functions))
                channels = entry
            elif side >= 2 and not dense:
                layers += [nn.MaxPool2d(2)]
                side //= 2
        self.features = nn.Sequential(*layers)
        self.dropout = build_dropout(dropout)
        self.head = head(channels, out_features, dense=dense)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, out_features), or to (N, H, W) or (N, out_features, H, W) if dense."""
        return self.head(self.dropout(self.features(inputs)))


def _plan(depth: int, width: int) -> list[int]:
    """Return channels of each convolution, with 0 for the pooling after each stage."""
    if depth not in _STAGES:
        raise ArgumentError("depth", f"must be one of (11, 13, 16, 19) for vgg, but got {depth}.")
    plan: list[int] = []
    for count, factor in zip(_STAGES[depth], _FACTORS, strict=True):
        plan += [width * factor] * count + [0]
    return plan


def _checked(plan: Sequence[int]) -> Sequence[int]:
    whole = all(isinstance(entry, int) and not isinstance(entry, bool) and entry >= 0 for entry in plan)
    if not whole or not any(plan):
        raise ArgumentError("plan", f"must list channels, and 0 for a pooling, but got {list(plan)}.")
    return plan
