"""Say the same with fewer numbers, for a network that is done: norms of two vectors, and coarser numbers.

`reduce` changes outputs by float rounding alone; what `rounded` changes has to be measured.
"""

import copy
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from kirigami.arguments import within
from kirigami.models.bits.inputs import InputQuantiser
from kirigami.models.bits.levels import step
from kirigami.models.bits.quantise import QuantiseLink
from kirigami.models.compact.effective import is_linked, outside_links
from kirigami.models.technique import weighted

FEWEST, MOST = 2, 8
SHARES = 24  # ranges compared for a weight, as shares of that of its largest entry


def reduce(network: nn.Module) -> nn.Module:
    """Return a copy whose batch norms have a mean and a variance that do nothing, with the rest in weight and bias.

    In evaluation mode it computes the same up to float rounding. The two vectors that do nothing are constants, which
    cost an encoded file next to nothing. Norms without a weight and a bias, or without running statistics, stay.
    """
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if isinstance(module, _BatchNorm) and module.running_var is not None and module.weight is not None:
            _neutralise(module)
    return copied


def _neutralise(norm: _BatchNorm) -> None:
    """Bring y = (x - mean) / sqrt(var + eps) * weight + bias to x * weight + bias."""
    with torch.no_grad():
        mean, variance = norm.running_mean.double(), norm.running_var.double()
        weight = norm.weight.double() / torch.sqrt(variance + norm.eps)
        norm.bias.copy_(norm.bias.double() - mean * weight)
        norm.weight.copy_(weight)
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)


@final
class FixedLink(QuantiseLink):
    """Gives the codes of a weight, hard from the start."""

    def __init__(self, bits: Tensor, scale: Tensor) -> None:
        super().__init__(bits, scale)
        self.harden()

    def soft(self, weight: Tensor) -> Tensor:
        """Return the codes, as ever."""
        return self.coded(weight, self.bits)

    def whole_bits(self) -> Tensor:
        """Return the bits, which are fixed."""
        return self.bits


def rounded(network: nn.Module, bits: int) -> nn.Module:
    """Return a copy in which the tensors that no technique has rounded have few bits: weights, norms and biases.

    Weights of linear and convolutional layers without links become codes of `bits` bits with a scale that errs least
    in the mean square. Every number of other float tensors without links keeps `bits` significant bits: scales of norms
    may lie far apart. Constants stay as they are. Outputs change: measure them.

    Args:
        network: any module; links, templates and input quantisers are not changed.
        bits: 2 to 8.

    Raises:
        ValueError: where `bits` is out of its range.
    """
    within("bits", bits, FEWEST, MOST + 1)
    copied = copy.deepcopy(network)
    coded = [layer for _, layer in weighted(copied) if not is_linked(layer) and layer.weight.is_floating_point()]
    for layer in coded:
        parametrize.register_parametrization(layer, "weight", _link(layer.weight.detach(), bits))
    with torch.no_grad():
        for _, module in outside_links(copied):
            if not isinstance(module, InputQuantiser):
                for value in (*module._parameters.values(), *module._buffers.values()):
                    if value is not None and value.is_floating_point() and value.unique().numel() > 1:
                        value.copy_(_coarse(value, bits))
    return copied


def _coarse(value: Tensor, bits: int) -> Tensor:
    """Return the nearest numbers of so many significant bits."""
    mantissa, exponent = torch.frexp(value.double())
    return torch.ldexp((mantissa * 2.0**bits).round() / 2.0**bits, exponent)


def _link(weight: Tensor, bits: int) -> FixedLink:
    """Return the link of a weight's codes, its scale the best of some."""
    width = torch.tensor(bits)
    largest = weight.abs().max() / (2 - step(width))
    scales = [largest * (share / SHARES) for share in range(SHARES // 3, SHARES + 1)] if largest else [largest + 1]
    links = [FixedLink(width, scale.to(weight.dtype)) for scale in scales]
    return min(links, key=lambda link: float((link(weight) - weight).square().sum()))
