"""Causal transformer over characters (Vaswani et al., 2017), norms first (Xiong et al., ICML 2020)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kirigami.errors import ArgumentError
from kirigami.models.activations import activations
from kirigami.models.networks.layers import dropout as build_dropout
from kirigami.models.networks.layers import sizes


class CausalAttention(nn.Module):
    """Let each position look at itself and those before it, in several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        # No bias: that of the keys would cancel in the softmax and never learn.
        self.inward = nn.Linear(width, 3 * width, bias=False)
        self.outward = nn.Linear(width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, T, width) to (N, T, width)."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in self.inward(inputs).chunk(3, -1)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.outward(mixed.transpose(-3, -2).flatten(-2))


class TransformerBlock(nn.Module):
    """Return x + attention(norm(x)), and to that its own feed-forward network of its norm."""

    def __init__(self, width: int, heads: int, expansion: int, activation: nn.Module, dropout: float) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), CausalAttention(width, heads), build_dropout(dropout))
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, expansion * width),
            activation,
            nn.Linear(expansion * width, width),
            build_dropout(dropout),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, T, width) to (N, T, width)."""
        hidden = inputs + self.attention(inputs)
        return hidden + self.feedforward(hidden)


class Transformer(nn.Module):
    """Predict the next character at each position from those before it and the one at it.

    Args:
        in_shape: (T,), the longest sequence: each position has an embedding of its own.
        vocabulary: Number of characters.
        out_features: Outputs a position.
        width: Size of the embedding, a multiple of `heads`.
        depth: Number of blocks.
        heads: Attention heads.
        expansion: Factor of the hidden units of the feed-forward networks.
        activation: Name in `kirigami.models.activations.ACTIVATIONS`, or a list of names that the layers take in turn.
        dropout: Share of the features dropped in training, after each part of a block.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        vocabulary: int,
        out_features: int,
        *,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        expansion: int = 4,
        activation: str | Sequence[str] = "gelu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes(width=width, depth=depth, heads=heads, expansion=expansion)
        if width % heads:
            raise ArgumentError("width", f"must be a multiple of heads={heads}, but got {width}.")
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.empty(in_shape[0], width))
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.02)
        functions = activations(activation)
        blocks = [TransformerBlock(width, heads, expansion, next(functions), dropout) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out_features))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map character indices (N, T) to logits (N, T, out_features)."""
        hidden = self.embedding(inputs.long()) + self.positions[: inputs.shape[-1]]
        return self.output(self.blocks(hidden))
