"""Losses by name: what a network's linear outputs are compared with, and how."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from models.arguments import choose, within

Loss = Callable[[Tensor, Tensor], Tensor]

# Errors beyond this are taken linearly: exp(8) is about 3,000, and larger gradients only break training.
_LARGEST_ERROR = 8.0


def cross_entropy(outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of logits (N, C) or (N, T, C) against class indices (N,) or (N, T), in nats."""
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten().long(), label_smoothing=smoothing)


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return ½e² of linear outputs (N, C), e = z − T with T = ±1, summed over classes, mean over samples."""
    return 0.5 * _error(outputs, targets).square().sum(-1).mean()


def exponential(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return exp|e| − |e| − 1 of linear outputs (N, C), summed over classes, mean over samples.

    Its gradient is sign(e)(exp|e| − 1), with |e| clamped at 8 (Øland et al., 2017).
    """
    size, near = _clamped(_error(outputs, targets))
    beyond = (math.exp(_LARGEST_ERROR) - 1) * (size - near)
    return (near.expm1() - near + beyond).sum(-1).mean()


def cosh(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return cosh(e) − 1 of linear outputs (N, C), |e| clamped at 8 in the gradient, as in `exponential`."""
    size, near = _clamped(_error(outputs, targets))
    beyond = math.sinh(_LARGEST_ERROR) * (size - near)
    return (near.cosh() - 1 + beyond).sum(-1).mean()


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of logits (N, H, W) against 0/1 targets of the same shape, in nats."""
    return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of outputs (N,) or (N, 1) or (N, D) against targets (N,) or (N, D)."""
    return F.mse_loss(_like(outputs, targets), targets.to(outputs.dtype))


def mae(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean absolute error of outputs (N,) or (N, 1) or (N, D) against targets (N,) or (N, D)."""
    return F.l1_loss(_like(outputs, targets), targets.to(outputs.dtype))


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "squared": squared,
    "exponential": exponential,
    "cosh": cosh,
    "binary_cross_entropy": binary_cross_entropy,
    "mse": mse,
    "mae": mae,
}

# The first of each kind is what `auto` picks.
_SUITED: dict[str, tuple[str, ...]] = {
    "classes": ("cross_entropy", "squared", "exponential", "cosh"),
    "values": ("mse", "mae"),
    "pixels": ("binary_cross_entropy",),
    "characters": ("cross_entropy",),
}


def loss(name: str, kind: str, classes: Sequence[str] | int | None = None, *, smoothing: float = 0.0) -> Loss:
    """Return the loss called `name` for a task.

    Args:
        name: A key of `LOSSES`, or "auto" for what suits the task.
        kind: What the task predicts: "classes", "values", "pixels" or "characters".
        classes: The task's classes or their number, where it has any.
        smoothing: Share of probability spread over the wrong classes; cross-entropy only.

    Raises:
        ValueError: The name is unknown, does not suit the task, or cannot be smoothed.
    """
    choose("output.loss", name, ["auto", *LOSSES])
    suited = _SUITED[kind]
    name = suited[0] if name == "auto" else name
    if name not in suited:
        raise ValueError(f"output.loss must be one of ({', '.join(suited)}) for a task of {kind}, but got '{name}'.")
    if classes is not None and (classes if isinstance(classes, int) else len(classes)) < 2:
        raise ValueError(f"output.loss={name} needs at least 2 classes, but the task has {classes}.")
    within("output.smoothing", smoothing, 0, 1)
    if smoothing and name != "cross_entropy":
        raise ValueError(f"output.smoothing must be 0 with output.loss={name}, but got {smoothing}.")
    return partial(cross_entropy, smoothing=smoothing) if smoothing else LOSSES[name]


def _error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return e = z − T, (N, C), with T = +1 for the class and −1 for the others."""
    classes = torch.arange(outputs.shape[-1], device=outputs.device)
    return outputs - torch.where(targets.long().unsqueeze(-1) == classes, 1.0, -1.0)


def _clamped(error: Tensor) -> tuple[Tensor, Tensor]:
    """Return |e| and |e| clamped: their difference carries the constant gradient beyond the clamp."""
    size = error.abs()
    return size, size.clamp(max=_LARGEST_ERROR)


def _like(outputs: Tensor, targets: Tensor) -> Tensor:
    """Drop the last axis of (N, 1) where the targets are (N,): broadcasting would compare every pair."""
    return outputs.squeeze(-1) if outputs.ndim == targets.ndim + 1 else outputs
