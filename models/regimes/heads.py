"""Auxiliary heads and losses of the blocks before the last one: a predictor, and a loss on similarities."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kirigami.errors import ArgumentError
from kirigami.models.networks.layers import PixelHead

FEATURES = 2048  # that a prediction is made from, at most
SMALLEST = 1e-8  # least length of a vector with a direction


def predictor(hidden: Tensor, outputs: Tensor) -> nn.Module:
    """Build a linear map from a block's outputs to the shape of the network's outputs.

    Images are averaged first, to the most pixels that leave `FEATURES` features or fewer.

    Args:
        hidden: the block's output: (N, F), (N, C, H, W), (N, T, F), or any other shape for outputs (N, K).
        outputs: the network's outputs for the same rows: (N, K), (N, T, K), or (N, H, W).

    Raises:
        ValueError: where neither fits: a block that has another length or size than the outputs.
    """
    if outputs.dim() == 2:
        return _classifier(hidden, outputs.shape[1])
    if hidden.dim() == outputs.dim() == 3 and hidden.shape[1] == outputs.shape[1]:
        return nn.Linear(hidden.shape[2], outputs.shape[2])
    if hidden.dim() == 4 and outputs.dim() == 3 and hidden.shape[2:] == outputs.shape[1:]:
        return PixelHead(hidden.shape[1])
    raise ArgumentError(
        "blocks",
        f": a block gives {tuple(hidden.shape[1:])} a sample, from which no linear head makes outputs of "
        f"{tuple(outputs.shape[1:])}. Name blocks that begin elsewhere.",
    )


def _classifier(hidden: Tensor, classes: int) -> nn.Module:
    parts: list[nn.Module] = []
    if hidden.dim() == 4:
        channels, *sides = hidden.shape[1:]
        side = min(*sides, max(1, int((FEATURES / channels) ** 0.5)))
        if [side, side] != sides:
            parts += [nn.AdaptiveAvgPool2d(side)]
        features = channels * side * side
    else:
        features = min(FEATURES, hidden[0].numel())
    parts += [nn.Flatten()] if hidden.dim() > 2 else []
    parts += [nn.AdaptiveAvgPool1d(features)] if hidden.dim() != 4 and hidden[0].numel() > features else []
    return nn.Sequential(*parts, nn.Linear(features, classes))


def projector(hidden: Tensor) -> nn.Module:
    """Build the linear map W_s before the similarities: 3x3 and convolutional for (N, C, H, W).

    Raises:
        ValueError: where the block gives something else.
    """
    if hidden.dim() == 4:
        return nn.Conv2d(hidden.shape[1], hidden.shape[1], 3, padding=1, bias=False)
    if hidden.dim() == 2:
        return nn.Linear(hidden.shape[1], hidden.shape[1], bias=False)
    raise ArgumentError(
        "beta",
        f"must be 0 for blocks that give {tuple(hidden.shape[1:])} a sample: similarities are of features or images.",
        ("beta", 0),
    )


def described(features: Tensor) -> Tensor:
    """Return the features that samples are compared by: (N, F) unchanged; of (N, C, H, W) each channel's deviation."""
    if features.dtype.itemsize < 4:
        features = features.float()
    if features.dim() == 2:
        return features
    features = features.flatten(2)
    return features.std(2) if features.shape[2] > 1 else features.squeeze(2)


def similarity(features: Tensor) -> Tensor:
    """Return the cosines (N, N) between the rows of features (N, F), each centred by its own mean.

    That is S of Nøkland & Eidnes (ICML 2019, section 2).
    """
    unit, _ = _directions(features)
    return unit @ unit.T


def mismatch(features: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared difference between the similarities of features (N, F) and those wanted, (N, N).

    Its gradient is worked out at once, so that it alone is kept for the backward pass.
    """
    return _Mismatch.apply(features, wanted)


class _Mismatch(torch.autograd.Function):
    """With u = c/|c|, c = x − mean(x), S = u uᵀ: ∂/∂u = 4 (S − W) u / N², for a symmetric W."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, wanted: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            unit, size = _directions(features)
            off = unit @ unit.T - wanted
            to_unit = 4 / off.numel() * (off @ unit)
            to_centred = (to_unit - unit * (unit * to_unit).sum(1, keepdim=True)) / size
            to_centred.masked_fill_(size <= SMALLEST, 0.0)  # a row without a direction
        ctx.save_for_backward(to_centred - to_centred.mean(1, keepdim=True))
        return off.square().mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradients[0] * gradient, None


def _directions(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of features, centred and of length 1, and their lengths (N, 1) before."""
    centred = features - features.mean(1, keepdim=True)
    size = centred.norm(dim=1, keepdim=True).clamp(min=SMALLEST)
    return centred / size, size


def alike(targets: Tensor, classes: int, like: Tensor) -> Tensor:
    """Return the similarities (N, N) of the one-hot rows of class numbers (N,), in the type of `like`."""
    return similarity(F.one_hot(targets.long(), classes).to(like.dtype if like.dtype.itemsize > 2 else torch.float32))


class LocalHead(nn.Module):
    """Holds the parameters of a block's local loss: the predictor and, for beta above 0, W_s.

    Args:
        hidden: the block's output.
        outputs: the network's outputs for the same rows.
        beta: share of the similarities in the loss.
    """

    def __init__(self, hidden: Tensor, outputs: Tensor, beta: float) -> None:
        super().__init__()
        self.predict = predictor(hidden, outputs)
        self.project = projector(hidden) if beta else None

    def forward(self, hidden: Tensor) -> Tensor:
        """Map the block's output to predictions."""
        return self.predict(hidden)

    def mismatch(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean squared difference between the block's similarities and those wanted, (N, N)."""
        assert self.project is not None
        return mismatch(described(self.project(hidden)), wanted)
