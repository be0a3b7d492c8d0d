"""Gates before every layer that reads a unit: with a closed gate, the network computes as without the unit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.models.structure import Axis, Units

Closed = Mapping[str, Tensor]
"""Booleans (count,) by the name of the units: true for the units that are removed."""


class Gates:
    """Multiplies the inputs of all layers that read units by a factor per unit: 1, or 0 where the gate is closed.

    While `listening`, the factor is a leaf tensor for each input row and unit, so that gradients by it can be taken; a
    layer whose inputs have another number of rows than the batch (time steps, say) has separate gates.

    Args:
        network: the network of the units.
        units: the sets of units, each under its own name.
        closed: the units removed from the start; none by default.
    """

    def __init__(self, network: nn.Module, units: Sequence[Units], closed: Closed | None = None) -> None:
        self.network = network
        self.units = units
        self.closed = {group.name: torch.zeros(group.count, dtype=torch.bool) for group in units}
        for name, value in (closed or {}).items():
            self.closed[name] = value.cpu().clone()
        self.listening = False
        self.leaves: dict[tuple[str, int], Tensor] = {}

    @contextmanager
    def placed(self) -> Iterator["Gates"]:
        """Hook the gates before the layers while the context lasts."""
        with ExitStack() as stack:
            for group in self.units:
                for axis in group.of("in"):
                    layer = self.network.get_submodule(axis.module)
                    stack.callback(layer.register_forward_pre_hook(self._hook(group, axis)).remove)
            yield self

    def listen(self) -> None:
        """Make new leaves in the next forward pass."""
        self.listening = True
        self.leaves.clear()

    def _hook(self, units: Units, axis: Axis) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def hook(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (self._gated(units, axis, layer, inputs[0]), *inputs[1:])

        return hook

    def _gated(self, units: Units, axis: Axis, layer: nn.Module, inputs: Tensor) -> Tensor:
        side = side_of(layer, inputs)
        gate = (~self.closed[units.name]).to(inputs).unsqueeze(0)
        if self.listening:
            key = (units.name, inputs.shape[0])
            if key not in self.leaves:
                self.leaves[key] = inputs.new_ones(inputs.shape[0], units.count).requires_grad_()
            gate = gate * self.leaves[key]
        index, unit = axis.index.to(inputs.device), axis.unit.to(inputs.device)
        factors = gate.new_ones(len(gate), inputs.shape[side]).index_copy(1, index, gate[:, unit])
        shape = [1] * inputs.dim()
        shape[0], shape[side] = factors.shape
        return inputs * factors.view(shape)


def side_of(layer: nn.Module, values: Tensor) -> int:
    """Return the dimension of a layer's inputs or outputs on which its units lie: the last of linear layers, else 1."""
    return values.dim() - 1 if isinstance(layer, nn.Linear) else 1
