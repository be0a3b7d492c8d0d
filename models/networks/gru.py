"""Gated recurrent network over characters (Cho et al., EMNLP 2014)."""

import torch
from torch import Tensor, nn

from kirigami.models.networks.layers import dropout as build_dropout
from kirigami.models.networks.layers import sizes


class GRULayer(nn.Module):
    """Run one gated recurrent layer; the equations are those of `torch.nn.GRU`.

    r = σ(Wr x + Ur h), z = σ(Wz x + Uz h), n = tanh(Wn x + r⊙(Un h)), h' = (1 − z)⊙n + z⊙h, with biases on both sides.
    Two linear maps hold the weights, so that whatever works on `nn.Linear` works here, under `vmap` too.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.inward = nn.Linear(features, 3 * width)
        self.recurrent = nn.Linear(width, 3 * width)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(width**-0.5), width**-0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, T, F) to (N, T, width)."""
        state = inputs.new_zeros(inputs.shape[0], self.recurrent.in_features)
        states = []
        for inward in self.inward(inputs).unbind(1):
            reset, update, new = inward.chunk(3, -1)
            from_reset, from_update, from_new = self.recurrent(state).chunk(3, -1)
            new = torch.tanh(new + torch.sigmoid(reset + from_reset) * from_new)
            state = torch.lerp(new, state, torch.sigmoid(update + from_update))
            states.append(state)
        return torch.stack(states, 1)


class GRU(nn.Module):
    """Predict the next character at each position from those before it and the one at it.

    Args:
        vocabulary: Number of characters.
        out_features: Outputs a position.
        width: Units of each layer, and size of the embedding.
        depth: Number of recurrent layers.
        dropout: Share of the features dropped in training, before each layer and the output.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self, vocabulary: int, out_features: int, *, width: int = 128, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        sizes(width=width, depth=depth)
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.Sequential()
        for _ in range(depth):
            self.layers.extend([build_dropout(dropout), GRULayer(width, width)])
        self.output = nn.Sequential(build_dropout(dropout), nn.Linear(width, out_features))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map character indices (N, T) to logits (N, T, out_features)."""
        return self.output(self.layers(self.embedding(inputs.long())))
