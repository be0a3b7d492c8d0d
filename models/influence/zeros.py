"""How often a unit is zero after its activation."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.models.influence.gates import Gates, side_of
from kirigami.models.influence.probe import Loss
from kirigami.models.structure import Axis, Units

ACTIVATIONS = ("torch.nn.modules.activation", "kirigami.models.activations")


def zeros(gates: Gates, batches: Sequence[Any], loss: Loss) -> dict[str, Tensor]:
    """Return for each unit the share of its values that are zero, over rows and places.

    They are counted in the outputs of the activation modules that directly follow the layers and norms of a unit;
    where there is none, as with `relu` called as a function, in what the layers get that read the unit.

    Returns:
        (count,) for the name of each set of units.
    """
    count = Count(gates)
    with torch.no_grad(), ExitStack() as stack:
        for module in gates.network.modules():
            if not any(True for _ in module.children()):
                stack.callback(module.register_forward_hook(count.watch).remove)
        for batch in batches:
            count.made.clear()
            loss(batch)
    return count.shares()


class Count:
    """Counts zeros of units while the network runs.

    Args:
        gates: which know the network and its units.
    """

    def __init__(self, gates: Gates) -> None:
        self.makes: dict[nn.Module, list[tuple[Units, Axis]]] = {}
        self.reads: dict[nn.Module, list[tuple[Units, Axis]]] = {}
        for one in gates.units:
            for axis in one.axes:
                side = self.reads if axis.role == "in" else self.makes
                side.setdefault(gates.network.get_submodule(axis.module), []).append((one, axis))
        self.made: dict[int, tuple[Tensor, nn.Module]] = {}
        self.after = {one.name: torch.zeros(2, one.count) for one in gates.units}
        self.before = {one.name: torch.zeros(2, one.count) for one in gates.units}

    def watch(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Remember what units' layers put out, and count in what activations make of it and readers get."""
        if module in self.makes:
            self.made[id(output)] = (output, module)  # held, so that no other tensor takes its id
        for one, axis in self.reads.get(module, ()):
            self._add(self.before[one.name], inputs[0], side_of(module, inputs[0]), axis)
        if type(module).__module__ in ACTIVATIONS and inputs and id(inputs[0]) in self.made:
            source = self.made[id(inputs[0])][1]
            for one, axis in self.makes[source]:
                self._add(self.after[one.name], output, side_of(source, output), axis)

    def shares(self) -> dict[str, Tensor]:
        """Return the shares, after activations where some were seen."""
        chosen = {name: seen if seen[1].any() else self.before[name] for name, seen in self.after.items()}
        return {name: zero / total.clamp_min(1) for name, (zero, total) in chosen.items()}

    @staticmethod
    def _add(seen: Tensor, values: Tensor, side: int, axis: Axis) -> None:
        flat = (values == 0).transpose(0, side).flatten(1).float()
        seen[0].index_add_(0, axis.unit, flat.sum(1).cpu()[axis.index])
        seen[1].index_add_(0, axis.unit, torch.full((len(axis.unit),), float(flat.shape[1])))
