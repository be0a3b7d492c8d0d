"""A network with pre- and postprocessing: raw data in, the task's predictions out."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kirigami.models.bits.inputs import CHILD
from kirigami.models.networks.gru import GRULayer
from kirigami.several import Tensors, run


class Served(nn.Module):
    """Prepare inputs, run the network, and bring its outputs to their own unit.

    Args:
        network: in evaluation mode.
        preprocessing: from raw inputs to the network's inputs; None passes them on.
        postprocessing: from the network's outputs to predictions; None passes them on.
        names: of several inputs, which the network takes by name; empty where it takes them by place.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: nn.Module | None = None,
        postprocessing: nn.Module | None = None,
        names: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.preprocessing = copy.deepcopy(preprocessing)
        self.network = network
        self.postprocessing = copy.deepcopy(postprocessing) or nn.Identity()
        self.names = tuple(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map raw inputs (N, ...), of which there may be several, to outputs (N, ...)."""
        raw: Tensors = dict(zip(self.names, inputs, strict=True)) if self.names else inputs
        prepared = raw if self.preprocessing is None else run(self.preprocessing, raw)
        return self.postprocessing(run(self.network, prepared))


class _Recurrent(nn.Module):
    """A recurrent layer by torch's own operator, which is one operator in ONNX too, for sequences of any length."""

    def __init__(self, layer: GRULayer) -> None:
        super().__init__()
        self.inward, self.recurrent = layer.inward, layer.recurrent

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, T, F) to (N, T, width)."""
        state = inputs.new_zeros(1, inputs.shape[0], self.recurrent.in_features)
        weights = [self.inward.weight, self.recurrent.weight, self.inward.bias, self.recurrent.bias]
        return torch.gru(inputs, state, weights, True, 1, 0.0, False, False, True)[0]


def fuse(network: nn.Module) -> nn.Module:
    """Replace recurrent layers by torch's operator, in place, unless inputs are quantised inside the loop."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, GRULayer) and not any(hasattr(part, CHILD) for part in child.modules()):
                setattr(module, name, _Recurrent(child))
    return network
