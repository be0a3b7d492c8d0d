"""How often a unit is zero after its activation."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.models.saliency.gates import Gates, side_of
from kirigami.models.saliency.probe import Loss
from kirigami.models.structure import Axis, Units

ACTIVATIONS = ("torch.nn.modules.activation", "kirigami.models.activations")


def zeros(gates: Gates, batches: Sequence[Any], loss: Loss) -> dict[str, Tensor]:
    """Return for each unit the share of its values that are zero, over rows and positions.

    Zeros are counted in the outputs of the activation modules that directly follow the layers and norms of a unit. If
    there is no such module (`relu` called as a function), they are counted in the inputs of the layers that read it.

    Returns:
        (count,) for the name of each set of units.
    """
    count = Count(gates)
    with torch.no_grad(), ExitStack() as stack:
        for module in gates.network.modules():
            if not any(True for _ in module.children()):
                stack.callback(module.register_forward_hook(count.watch).remove)
        for batch in batches:
            count.outputs.clear()
            loss(batch)
    return count.shares()


class Count:
    """Counts zeros of units while the network runs.

    Args:
        gates: give the network and its units.
    """

    def __init__(self, gates: Gates) -> None:
        self.writers: dict[nn.Module, list[tuple[Units, Axis]]] = {}
        self.readers: dict[nn.Module, list[tuple[Units, Axis]]] = {}
        for group in gates.units:
            for axis in group.axes:
                side = self.readers if axis.role == "in" else self.writers
                side.setdefault(gates.network.get_submodule(axis.module), []).append((group, axis))
        self.outputs: dict[int, tuple[Tensor, nn.Module]] = {}
        self.after = {group.name: torch.zeros(2, group.count) for group in gates.units}
        self.before = {group.name: torch.zeros(2, group.count) for group in gates.units}

    def watch(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Remember the outputs of layers with units; count zeros in activations' outputs and in readers' inputs."""
        if module in self.writers:
            self.outputs[id(output)] = (output, module)  # referenced, so that no other tensor takes its id
        for group, axis in self.readers.get(module, ()):
            self._add(self.before[group.name], inputs[0], side_of(module, inputs[0]), axis)
        if type(module).__module__ in ACTIVATIONS and inputs and id(inputs[0]) in self.outputs:
            source = self.outputs[id(inputs[0])][1]
            for group, axis in self.writers[source]:
                self._add(self.after[group.name], output, side_of(source, output), axis)

    def shares(self) -> dict[str, Tensor]:
        """Return each unit's share of zeros: after its activation if one ran, else before the layers that read it."""
        chosen = {name: seen if seen[1].any() else self.before[name] for name, seen in self.after.items()}
        return {name: zero / total.clamp_min(1) for name, (zero, total) in chosen.items()}

    @staticmethod
    def _add(seen: Tensor, values: Tensor, side: int, axis: Axis) -> None:
        flat = (values == 0).transpose(0, side).flatten(1).float()
        seen[0].index_add_(0, axis.unit, flat.sum(1).cpu()[axis.index])
        seen[1].index_add_(0, axis.unit, torch.full((len(axis.unit),), float(flat.shape[1])))
