"""Multi-layer perceptron."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from kirigami.arguments import at_least
from kirigami.models.activations import activations
from kirigami.models.networks.layers import dropout as build_dropout
from kirigami.models.networks.layers import norm_1d, sizes


class MLP(nn.Module):
    """Stack `depth` hidden layers of `width` units on the flattened input, and a linear output layer.

    Args:
        in_shape: Shape of one sample, any number of axes.
        out_features: Outputs a sample.
        width: Units of each hidden layer.
        depth: Number of hidden layers; 0 is a linear model.
        activation: Name in `kirigami.models.activations.ACTIVATIONS`, or a list of names that the layers take in turn.
        norm: "batch", "group" or "none", before each activation.
        dropout: Share of hidden units dropped in training, after each activation.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_features: int,
        *,
        width: int = 128,
        depth: int = 2,
        activation: str | Sequence[str] = "relu",
        norm: str = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes(width=width)
        at_least("depth", depth, 0)
        layers: list[nn.Module] = []
        features, functions = math.prod(in_shape), activations(activation)
        for _ in range(depth):
            layers += [nn.Linear(features, width, bias=norm == "none")]
            layers += [norm_1d(norm, width)] if norm != "none" else []
            layers += [next(functions)]
            layers += [build_dropout(dropout)] if dropout else []
            features = width
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(features, out_features)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, *in_shape) to (N, out_features)."""
        return self.output(self.hidden(inputs.flatten(1)))
