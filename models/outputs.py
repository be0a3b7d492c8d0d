"""Losses by name, between a network's linear outputs and the targets."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import isclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kirigami.arguments import accept, names, within
from kirigami.errors import ArgumentError, at, choose
from kirigami.targets import KEY, leading, located, options_of, run

Loss = Callable[[Tensor, Tensor], Tensor]

# Errors beyond this are taken linearly: exp(8) is about 3,000, and larger gradients only break training.
_LARGEST_ERROR = 8.0


def cross_entropy(outputs: Tensor, targets: Tensor, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of logits (N, C) or (N, T, C) against class indices (N,) or (N, T), in nats.

    Args:
        outputs: The logits.
        targets: The class indices.
        smoothing: Share of probability spread over the classes.
        weights: (C,), by which the loss of a sample of each class is multiplied; the mean stays one over samples.
    """
    rows, classes = outputs.flatten(0, -2), targets.flatten().long()
    if weights is None:
        return F.cross_entropy(rows, classes, label_smoothing=smoothing)
    return _mean(F.cross_entropy(rows, classes, label_smoothing=smoothing, reduction="none"), classes, weights)


def squared(outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return ½e² of linear outputs (N, C), e = z − T with T = ±1, summed over classes, mean over samples."""
    return 0.5 * _mean(_error(outputs, targets).square().sum(-1), targets, weights)


def exponential(outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return exp|e| − |e| − 1 of linear outputs (N, C), summed over classes, mean over samples.

    Its gradient is sign(e)(exp|e| − 1), with |e| clamped at 8 (Øland et al., 2017).
    """
    size, near = _clamped(_error(outputs, targets))
    beyond = (math.exp(_LARGEST_ERROR) - 1) * (size - near)
    return _mean((near.expm1() - near + beyond).sum(-1), targets, weights)


def cosh(outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return cosh(e) − 1 of linear outputs (N, C), |e| clamped at 8 in the gradient, as in `exponential`."""
    size, near = _clamped(_error(outputs, targets))
    beyond = math.sinh(_LARGEST_ERROR) * (size - near)
    return _mean((near.cosh() - 1 + beyond).sum(-1), targets, weights)


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of logits (N, H, W) or (N, C) against 0/1 targets alike, in nats."""
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
    "labels": ("binary_cross_entropy",),
    "values": ("mse", "mae"),
    "pixels": ("binary_cross_entropy",),
    "characters": ("cross_entropy",),
}


class Weighted:
    """A loss of classes in which each sample counts as its class's weight says.

    The mean is one over the samples, not over their weights: it stays an unbiased estimate of the weighted risk in
    every batch, and weights that average 1 over the training rows keep the size of the gradient.

    Args:
        function: One of the four losses of classes, which takes `weights`.
        weights: (C,); they follow the outputs to their device.
    """

    def __init__(self, function: Callable[..., Tensor], weights: Tensor) -> None:
        self.function = function
        self.weights = weights

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of outputs (N, C) against class indices (N,)."""
        if self.weights.device != outputs.device:
            self.weights = self.weights.to(outputs.device)
        return self.function(outputs, targets, weights=self.weights)


def loss(
    name: str | Mapping[str, Any],
    kind: str,
    classes: Sequence[str] | int | None = None,
    *,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Loss:
    """Return the loss called `name` for a task.

    Args:
        name: A key of `LOSSES`, "auto" for the task's default, or `{_target_: package.module.name, ...}`: anybody's
            function of outputs and targets, or a class of which an instance is one. It gets the config's other keys,
            and `class_weights` where its signature names them.
        kind: What the task predicts: "classes", "labels", "values", "pixels" or "characters".
        classes: The task's classes or their number, where it has any. Pixels of classes have logits (N, C, H, W), and
            targets (N, H, W), of which -100 does not count.
        smoothing: Share of probability spread over the wrong classes; cross-entropy only.
        weights: (C,), by which the loss of a sample of each class is multiplied (see `Weighted`); tasks of classes
            only. None leaves the loss as it is, bit by bit.

    Raises:
        ValueError: The name is unknown, does not suit the task, or cannot be smoothed or weighted.
    """
    if isinstance(name, Mapping):
        with at("loss"):
            return _foreign(name, smoothing, weights)
    choose("loss", name, ["auto", *LOSSES])
    is_classes_of_pixels = kind == "pixels" and bool(classes)
    suited = ("cross_entropy",) if is_classes_of_pixels else _SUITED[kind]
    name = suited[0] if name == "auto" else name
    if name not in suited:
        raise ArgumentError("loss", f"must be one of ({', '.join(suited)}) for a task of {kind}, but got '{name}'.")
    count = classes if classes is None or isinstance(classes, int) else len(classes)
    if count is not None and count < 2 and kind != "labels":
        raise ArgumentError("loss", f"={name} needs at least 2 classes, but the task has {classes}.")
    within("smoothing", smoothing, 0, 1)
    if smoothing and name != "cross_entropy":
        raise ArgumentError("smoothing", f"must be 0 with loss={name}, but got {smoothing}.")
    if is_classes_of_pixels:
        return partial(F.cross_entropy, label_smoothing=smoothing)
    function = partial(cross_entropy, smoothing=smoothing) if smoothing else LOSSES[name]
    return function if weights is None else Weighted(function, _checked(weights, kind, count))


def _foreign(config: Mapping[str, Any], smoothing: float, weights: Tensor | None) -> Loss:
    """Return the user's own loss."""
    path, target = config.get(KEY), located(config.get(KEY))
    takes_weights = "class_weights" in names(target)
    if smoothing:
        raise ArgumentError("", f"{path} takes no smoothing of ours, but got smoothing={smoothing}. Set it to 0.")
    if weights is not None and not takes_weights:
        raise ArgumentError("", f"{path} has no argument class_weights, which imbalance=weights needs. Add it.")
    first = [] if isclass(target) else leading(target, 2)
    provided = {**dict.fromkeys(first), **({"class_weights": weights} if takes_weights else {})}
    arguments = accept(target, options_of(config, target), name=str(path), provided=provided)
    arguments = {key: value for key, value in arguments.items() if key not in first}
    if not isclass(target):
        return partial(target, **arguments)
    instance = run(path, target, arguments)
    if not callable(instance) or (isinstance(instance, nn.Module) and any(True for _ in instance.parameters())):
        raise ArgumentError(KEY, f"must be a function of outputs and targets without parameters to train: {path}.")
    return instance  # type: ignore[no-any-return]


def _checked(weights: Tensor, kind: str, count: int | None) -> Tensor:
    """Return the weights, after a look at the task and at each of them."""
    if kind != "classes":
        raise ValueError(f"class weights need a task of classes, but got one of {kind}. Leave the weights out.")
    if weights.ndim != 1 or (count is not None and len(weights) != count):
        want = "one number a class" if count is None else f"{count} numbers, one a class"
        raise ValueError(f"class weights must be {want}, but got shape {tuple(weights.shape)}.")
    if not bool((weights.isfinite() & (weights >= 0)).all()) or not bool(weights.any()):
        raise ValueError(f"class weights must be finite, at least 0 and not all 0, but got {weights.tolist()}.")
    return weights.detach()


def _mean(losses: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over samples, each times the weight of its class."""
    return losses.mean() if weights is None else (losses * weights.to(losses.dtype)[targets.long()]).mean()


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
