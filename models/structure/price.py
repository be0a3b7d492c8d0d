"""The cost of a network for any choice of its units: parameters, multiplications or units, without building it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kirigami.errors import choose
from kirigami.models.compact import plain
from kirigami.models.operations import UNCOUNTED, unfused
from kirigami.models.structure.calls import Inputs, calls_of
from kirigami.models.structure.units import CONVOLUTIONS, Units

OF = ("units", "params", "macs")


@dataclass(frozen=True)
class Side:
    """One dimension of a tensor: its size, and how many entries each unit of a set of units has on it."""

    size: int
    entries: tuple[tuple[int, Tensor], ...]

    def left(self, kept: Sequence[Tensor]) -> int:
        """Return the size when only the kept units stay."""
        return self.size - sum(int(entries[~kept[place]].sum()) for place, entries in self.entries)


@dataclass(frozen=True)
class Price:
    """A sum of products of sizes.

    Attributes:
        fixed: the part of the cost that no unit changes.
        terms: (factor, sides) of each tensor that units change.
    """

    fixed: float
    terms: tuple[tuple[float, tuple[Side, ...]], ...]

    def total(self, kept: Sequence[Tensor]) -> float:
        """Return the cost when only the kept units stay: one mask (count,) of booleans for each set of units."""
        return self.fixed + sum(factor * math.prod(side.left(kept) for side in sides) for factor, sides in self.terms)


def price(network: nn.Module, units: Sequence[Units], inputs: Inputs, of: str = "params") -> Price:
    """Return a network's cost as a function of the remaining units.

    Args:
        network: the network of the units, as it is now.
        units: from `kirigami.models.structure.units`.
        inputs: an example of the network's inputs; `macs` are for one sample of it.
        of: "units", "params" (a weight with links counts as without them) or "macs" (as `models.cost.macs` has them).

    Raises:
        ValueError: `of` is none of them.
    """
    choose("of", of, OF)
    if of == "units":
        each = [Side(one.count, ((place, torch.ones(one.count)),)) for place, one in enumerate(units)]
        return Price(0, tuple((1.0, (side,)) for side in each))
    bare = plain(network).eval()
    places, total = ({}, 0.0) if of == "params" else _places(bare, inputs)
    terms, changing = [], 0.0
    for module, tensor, sides in _tensors(bare, units):
        parameter = bare.get_submodule(module)._parameters.get(tensor)
        factor = float(parameter is not None) if of == "params" else places.get(module, 0.0) * (tensor == "weight")
        if factor:
            terms.append((factor, sides))
            changing += factor * math.prod(side.size for side in sides)
    total = float(sum(parameter.numel() for parameter in bare.parameters())) if of == "params" else total
    return Price(total - changing, tuple(terms))


def lowest(price: Price, scores: Sequence[Tensor], limit: float, least: int) -> list[Tensor]:
    """Return which units stay when the lowest by score go, over all layers, until a network costs at most a limit.

    Args:
        price: of the network.
        scores: (count,) for each set of units.
        limit: the cost allowed.
        least: so many of the highest stay in each set, whatever the cost.

    Returns:
        A mask (count,) of booleans for each set of units.
    """
    scores = [score.double().cpu() for score in scores]
    flat = torch.cat(scores)
    safe = torch.cat([_ranks(score) < least for score in scores])
    order = torch.argsort(flat.masked_fill(safe, math.inf), stable=True)[: int((~safe).sum())]
    sizes = [len(score) for score in scores]

    def kept(removed: int) -> list[Tensor]:
        stays = torch.ones(len(flat), dtype=torch.bool)
        stays[order[:removed]] = False
        return list(stays.split(sizes))

    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if price.total(kept(middle)) <= limit else (middle + 1, high)
    return kept(low)


def _ranks(score: Tensor) -> Tensor:
    """Return the rank of each score, 0 for the highest."""
    return torch.argsort(score, descending=True, stable=True).argsort()


def _tensors(bare: nn.Module, units: Sequence[Units]) -> Iterator[tuple[str, str, tuple[Side, ...]]]:
    """Yield (module, tensor, sides) of each tensor that units change."""
    touched: dict[tuple[str, str], dict[int, list[tuple[int, Tensor]]]] = {}
    for place, one in enumerate(units):
        for axis in one.axes:
            entries = torch.bincount(axis.unit, minlength=one.count)
            for tensor, dim in axis.tensors.items():
                touched.setdefault((axis.module, tensor), {}).setdefault(dim, []).append((place, entries))
    for (module, tensor), dims in touched.items():
        shape = getattr(bare.get_submodule(module), tensor).shape
        yield module, tensor, tuple(Side(size, tuple(dims.get(dim, ()))) for dim, size in enumerate(shape))


def _places(bare: nn.Module, inputs: Inputs) -> tuple[dict[str, float], float]:
    """Return how often each layer's weight is used for one sample, and the multiplications of the whole network."""
    calls = calls_of(inputs)
    uses_of: dict[str, float] = {}

    def count(name: str) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, nn.Linear):
                uses = output.numel() / module.out_features
            else:
                uses = (
                    inputs[0].numel() / module.in_channels
                    if module.transposed
                    else output.numel() / output.shape[-len(module.kernel_size) - 1]
                )
            uses_of[name] = uses_of.get(name, 0.0) + uses / calls.samples

        bare.get_submodule(name).register_forward_hook(hook)

    for name, module in bare.named_modules():
        if isinstance(module, (nn.Linear, *CONVOLUTIONS)):
            count(name)
    with torch.no_grad(), unfused(), FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        calls.outputs(bare)
    return uses_of, counter.get_total_flops() / 2 / calls.samples
