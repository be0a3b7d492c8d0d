"""The coupled channels of a network, read off its autograd graph by torch-pruning; the only place of its private names.

The private names are the classes of operations without weights, and the attributes of a dependency. A contract test
lists them, and `pyproject.toml` sets an upper bound on torch-pruning's version.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch_pruning import DependencyGraph, ops
from torch_pruning.pruner import function

from kirigami.models.structure.calls import Calls
from kirigami.models.structure.opaque import opaque

OPERATIONS = (
    ops._ElementWiseOp,
    ops._ReshapeOp,
    ops._ConcatOp,
    ops._SplitOp,
    ops._SliceOp,
    ops._ExpandOp,
    ops._UnbindOp,
)


@dataclass(frozen=True)
class Coupled:
    """One side of a module, or of an operation, with the channels of it that go when channels of a layer go.

    Attributes:
        target: the module, or the operation, which is none of the network's modules.
        out: whether it is the side of the outputs.
        positions: the channels on this side.
        roots: for each of them, the channel of the layer that it goes with.
    """

    target: nn.Module
    out: bool
    positions: list[int]
    roots: list[int]


class Coupling:
    """The coupling of a network's channels (Fang et al., DepGraph, CVPR 2023).

    Args:
        network: traced by its calls.
        calls: how it is called.

    Raises:
        ValueError: the graph cannot be followed.
    """

    def __init__(self, network: nn.Module, calls: Calls) -> None:
        norms = {
            type(module) for module in network.modules() if isinstance(module, nn.modules.instancenorm._InstanceNorm)
        }
        self._graph = DependencyGraph()
        try:
            with opaque(network):
                self._graph.build_dependency(
                    network,
                    (),
                    forward_fn=lambda model, _: [value for value in calls.outputs(model) if value.grad_fn],
                    customized_pruners={norm: function.InstanceNormPruner() for norm in norms},
                    verbose=False,
                )
        except (RuntimeError, IndexError, TypeError, AttributeError, ZeroDivisionError, AssertionError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{type(network).__name__} cannot be traced with these inputs: {reason}") from error

    def reaches(self, layer: nn.Module) -> bool:
        """Tell whether the layer was called."""
        return layer in self._graph.module2node

    def channels(self, layer: nn.Module) -> int:
        """Return how many channels come out of a layer."""
        return int(self._graph.get_pruner_of_module(layer).get_out_channels(layer))

    def of(self, layer: nn.Module, channels: Sequence[int]) -> list[Coupled]:
        """Return all entries coupled to channels of a layer, itself first; [] if the graph cannot follow them."""
        pruner = self._graph.get_pruner_of_module(layer)
        try:
            group = list(self._graph.get_pruning_group(layer, pruner.prune_out_channels, list(channels)))
        except (IndexError, TypeError, ValueError, ZeroDivisionError):
            return []
        return [self._side(item) for item in group]

    def _side(self, item: Any) -> Coupled:
        out = self._graph.is_out_channel_pruning_fn(item.dep.handler)
        return Coupled(item.dep.target.module, out, item.idxs, item.root_idxs)


def is_operation(target: nn.Module) -> bool:
    """Tell whether a side's target is an operation without weights."""
    return isinstance(target, OPERATIONS)


def is_opaque(target: nn.Module) -> bool:
    """Tell whether a side's target is a module that was made opaque."""
    return isinstance(target, ops._ElementWiseOp) and "Opaque" in str(target._grad_fn)
