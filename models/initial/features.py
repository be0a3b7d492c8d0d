"""The inputs of a layer as rows, with their targets."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kirigami.errors import ArgumentError
from kirigami.models.technique import weighted

KINDS = ("classes", "values", "pixels", "characters")


class Placed:
    """Batches of (inputs, targets) on a device, which can be iterated several times.

    Raises:
        ValueError: where the batches can be read only once.
    """

    def __init__(self, batches: Iterable[Any], device: torch.device) -> None:
        if iter(batches) is batches:
            raise ArgumentError("batches", "must be a loader, not an iterator: they are read several times.")
        self.batches, self.device = batches, device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, targets in self.batches:
            yield inputs.to(self.device), targets.to(self.device)


class _Reached(Exception):
    """Ends a forward pass at the layer whose inputs are read."""


def inputs_of(network: nn.Module, layer: nn.Module, inputs: Tensor) -> Tensor:
    """Return the layer's inputs for a batch, without computing the layers after it."""
    recorded: list[Tensor] = []

    def look(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        recorded.append(args[0].detach())
        raise _Reached

    hook = layer.register_forward_pre_hook(look)
    try:
        network(inputs)
    except _Reached:
        return recorded[0]
    finally:
        hook.remove()
    raise ArgumentError("", "a layer that took part in one forward pass took none in another.")


def calls(network: nn.Module, inputs: Tensor) -> tuple[dict[str, int], dict[str, Tensor], Tensor]:
    """Return the number of calls of each weighted layer, in order, the last output of each, and the network's."""
    counts: dict[str, int] = {}
    outputs: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def count(_module: nn.Module, _args: Any, output: Tensor) -> None:
            counts[name] = counts.get(name, 0) + 1
            outputs[name] = output

        return count

    hooks = [layer.register_forward_hook(hook(name)) for name, layer in weighted(network)]
    try:
        return counts, outputs, network(inputs)
    finally:
        for handle in hooks:
            handle.remove()


def is_linear_map(layer: nn.Module) -> bool:
    """Return whether the layer maps rows of numbers by one matrix: linear, or a plain 2-d convolution of patches."""
    if isinstance(layer, nn.Linear):
        return True
    if not isinstance(layer, nn.Conv2d):
        return False
    return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def rows(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Return the rows (R, d) that a layer multiplies by its weight (k, d): samples, positions or patches."""
    if isinstance(layer, nn.Linear):
        return inputs.reshape(-1, layer.in_features)
    assert isinstance(layer, nn.Conv2d)
    patches = F.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
    return patches.transpose(1, 2).flatten(0, 1)


def encode(targets: Tensor, kind: str, outputs: int) -> Tensor:
    """Return targets as rows of numbers (R, outputs): ±1 for classes, characters and pixels, values unchanged.

    Raises:
        ValueError: where the outputs do not fit the targets.
    """
    if kind == "values":
        encoded = targets.reshape(len(targets), -1).double()
    elif kind == "pixels":
        encoded = targets.reshape(-1, 1).double() * 2 - 1
    else:
        classes = targets.flatten().long()
        if int(classes.max()) >= outputs:
            raise ArgumentError("", f"class {int(classes.max())} has no output among {outputs}.")
        encoded = F.one_hot(classes, outputs).double() * 2 - 1
    if encoded.shape[1] != outputs:
        raise ArgumentError("", f"the last layer has {outputs} outputs for {encoded.shape[1]} a sample.")
    return encoded


def decode(encoded: Tensor, kind: str) -> Tensor:
    """Return encoded targets as a loss takes them with rows of outputs."""
    if kind == "values":
        return encoded
    return (encoded.squeeze(1) > 0).double() if kind == "pixels" else encoded.argmax(1)


def head_of(network: nn.Module, inputs: Tensor) -> tuple[str, nn.Module]:
    """Return the last linear or convolutional layer, after checking that its output is the network's output.

    Raises:
        ValueError: where it is not, or its weight is not its own.
    """
    layers = dict(weighted(network))
    if not layers:
        raise ArgumentError("", f"a closed form needs a linear layer, but {type(network).__name__} has none.")
    name, layer = list(layers.items())[-1]
    counts, outputs, whole = calls(network, inputs)
    last = outputs.get(name)
    same = last is not None and last.numel() == whole.numel() and torch.equal(last.flatten(), whole.flatten())
    if counts.get(name) != 1 or not same or not is_linear_map(layer):
        raise ArgumentError(
            "",
            f"a closed form fits the last layer, {name!r}, but what it gives is not the output of "
            f"{type(network).__name__}.",
        )
    check_own(name, layer)
    return name, layer


def check_own(name: str, layer: nn.Module) -> None:
    """Raise `ValueError` where a technique computes the layer's weight from others."""
    if parametrize.is_parametrized(layer, "weight"):
        raise ArgumentError(
            "",
            f"a closed form cannot set the weight of {name!r}, which a technique computes. Leave the layer out of the "
            "technique.",
            ("cascade", 0),
        )
