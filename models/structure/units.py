"""The units of a network: all entries of all tensors that are removed together with one channel or neuron."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from kirigami.models.activations import LEARNED

Role = Literal["out", "along", "in"]
"""A layer makes units (`out`), works on each for itself (`along`: norms, depthwise convolutions), or reads them."""


@dataclass
class Axis:
    """One side of one module on which units lie.

    Attributes:
        module: dotted name of the module.
        role: see `Role`.
        tensors: {name: dimension} of the module's parameters and buffers that have this side.
        attributes: {name: entries a step} of its whole numbers that count this side, such as `out_features`: 1, or
            `num_groups` of a group norm: the channels of a group.
        index: (E,) positions on this side, rising.
        unit: (E,) the unit that each position belongs to. A position that is in no unit is not listed.
    """

    module: str
    role: Role
    tensors: dict[str, int]
    attributes: dict[str, int]
    index: Tensor
    unit: Tensor

    def entries(self, units: Sequence[int] | Tensor) -> Tensor:
        """Return the positions of the units, one unit after another: (sum of their entries,)."""
        return torch.cat([self.index[self.unit == int(unit)] for unit in units] or [self.index[:0]])


@dataclass
class Units:
    """Units that are coupled alike: all can be removed, and more can be added.

    `kirigami.models.structure.remove` and `widen` keep this and all others from the same call of `units` up to date.

    Attributes:
        name: dotted name of the first layer that makes them.
        count: how many there are.
        axes: the sides on which they lie: `out` first, then `along`, then `in`.
    """

    name: str
    count: int
    axes: list[Axis]
    family: list["Units"] = field(default_factory=list, repr=False, compare=False)

    def of(self, role: Role) -> list[Axis]:
        """Return the axes of a role."""
        return [axis for axis in self.axes if axis.role == role]


def axis_of(name: str, module: nn.Module, role: Role, index: Tensor, unit: Tensor) -> Axis | None:
    """Return the axis of a module of a supported kind, or None.

    Linear layers, convolutions without groups or depthwise, batch, instance and group norms, PReLU and activations with
    a number of their own are understood.
    Left out on purpose: convolutions of several groups, where a channel is coupled to one of each other group, and
    layer norms, whose statistics run over all units so that none can go without changing the others.
    """
    side = _side(module, role)
    if side is None:
        return None
    tensors, attributes = side
    parameters = {key for key, _ in module.named_parameters() if not key.startswith("parametrizations.")}
    if parameters - {"weight", "bias"} and not isinstance(
        module, LEARNED
    ):  # a foreign subclass with further parameters
        return None
    present = {tensor: dim for tensor, dim in tensors.items() if getattr(module, tensor, None) is not None}
    return Axis(name, role, present, attributes, index, unit)


def role_of(module: nn.Module, out: bool) -> Role:
    """Return the role of a module in a group, given whether its outputs or its inputs are coupled."""
    if isinstance(module, nn.Linear) or (isinstance(module, CONVOLUTIONS) and not _depthwise(module)):
        return "out" if out else "in"
    return "along"


def _side(module: nn.Module, role: Role) -> tuple[dict[str, int], dict[str, int]] | None:
    """Return the tensors and attributes of one side of a module."""
    if isinstance(module, nn.Linear):
        out, inward = ({"weight": 0, "bias": 0}, {"out_features": 1}), ({"weight": 1}, {"in_features": 1})
        return out if role == "out" else inward
    if isinstance(module, CONVOLUTIONS):
        if _depthwise(module):
            return {"weight": 0, "bias": 0}, {"in_channels": 1, "out_channels": 1, "groups": 1}
        if module.groups != 1:
            return None
        first = 1 if module.transposed else 0
        if role == "out":
            return {"weight": first, "bias": 0}, {"out_channels": 1}
        return {"weight": 1 - first}, {"in_channels": 1}
    if isinstance(module, NORMS):
        return {"weight": 0, "bias": 0, "running_mean": 0, "running_var": 0}, {"num_features": 1}
    if isinstance(module, nn.GroupNorm):
        return {"weight": 0, "bias": 0}, {"num_channels": 1, "num_groups": module.num_channels // module.num_groups}
    if isinstance(module, nn.PReLU):
        return ({"weight": 0}, {"num_parameters": 1}) if module.num_parameters > 1 else ({}, {})
    return ({}, {}) if isinstance(module, LEARNED) else None


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


def _depthwise(module: nn.Module) -> bool:
    """Tell whether a convolution maps each channel to one of its own."""
    return module.groups == module.in_channels == module.out_channels and module.groups > 1


def related(units: Units, axis: Axis) -> Iterable[Axis]:
    """Yield the axes, of these units and all found with them, that lie on the same side of the same module."""
    for other in units.family or [units]:
        for candidate in other.axes:
            if candidate.module == axis.module and candidate.role == axis.role:
                yield candidate
