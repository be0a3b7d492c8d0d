"""The bytes of a network on disk: of the encoded file, and a practical lower bound known before training."""

import math
from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from kirigami.arguments import within
from kirigami.errors import ArgumentError, choose
from kirigami.models.compact.effective import held, is_linked, outside_links
from kirigami.models.compact.encoder import REST, encode
from kirigami.models.technique import Link, chosen

# Bits a number that are counted. Of a trained float32 the lower bytes of the mantissa are noise to every coder; sign,
# exponent and the common part of norms and running statistics are not counted. Masks and levels may be skewed
# or regular, so half of the bits of random ones is counted.
WEIGHT_BITS = 24
NORM_BITS = 16
HALF_BITS = 8
SHARE = 0.5
CONTAINER = 96  # bytes of header, seal and plan of the smallest file


def encoded_bytes(network: nn.Module) -> int:
    """Return the bytes of the encoded file of a network whose links are hard, everything counted.

    Raises:
        ValueError: see `encode`.
    """
    return len(encode(network))


def lower_bound(
    network: nn.Module,
    *,
    density: float = 1.0,
    bits: float | None = None,
    names: Iterable[str] | None = None,
    rest: str = "float32",
) -> int:
    """Return bytes that the encoded file of a trained network exceeds, from its shapes and the plan for its weights.

    It is a bound by what coders find in practice, not by proof: a network that has not been trained, or whose weights
    are few different numbers, can be smaller. Links that share weights are counted where they are attached.

    Args:
        network: any module, on the meta device too.
        density: share of the chosen layers' weights that is to be kept, in (0, 1].
        bits: planned for those weights, from 1; None where they stay float32.
        names: of those layers; by default every linear and convolutional layer but the last, as techniques have it.
        rest: type in which everything else will be stored, as for `encode`.

    Raises:
        ValueError: where an argument is out of its range.
    """
    if not 0 < density <= 1:
        raise ArgumentError("density", f"must be above 0 and at most 1, but got {density!r}.")
    if bits is not None:
        within("bits", bits, 1, math.inf)
    choose("rest", rest, REST)
    planned = {id(layer) for layer in chosen(network, names).values()} if density < 1 or bits is not None else set()
    tensors: dict[int, float] = {}  # by identity, since one that stands in several places is stored once
    banks: dict[int, _Bank] = {}
    for _, module in outside_links(network):
        tensors |= {id(tensor): _rest(tensor, rest) for _, tensor in held(module)}
        plan = (density, bits) if id(module) in planned else (1.0, None)
        for name, source, bank in _weights(module, id(module) in planned):
            if bank is not None:
                banks.setdefault(id(bank), _Bank(bank, plan[1])).add(module, plan[0])
            else:
                tensors[id(source)] = _weight(getattr(module, name).numel(), *plan)
    return CONTAINER + math.floor((sum(tensors.values()) + sum(bank.bits() for bank in banks.values())) / 8)


def _weights(module: nn.Module, planned: bool) -> Iterator[tuple[str, Tensor, nn.Parameter | None]]:
    """Yield (name, source tensor, templates or None) of each weight computed by links, or of a planned weight."""
    if not is_linked(module):
        yield from [("weight", module.weight, None)] if planned else []
        return
    for name, links in module.parametrizations.items():
        shared = (link for link in links if isinstance(link, Link) and link.stage == "share")
        templates = [part for link in shared for part in link.parameters()]
        yield name, next(links.parameters()), templates[0] if templates else None


def _rest(tensor: Tensor, rest: str) -> float:
    """Return the bits that are counted for a tensor without links."""
    if not tensor.is_floating_point():
        return 0.0
    if tensor.element_size() < 4 or rest == "float16":
        return float(tensor.numel() * HALF_BITS)
    return float(tensor.numel() * (WEIGHT_BITS if tensor.dim() > 1 else NORM_BITS))


def _weight(entries: int, density: float, bits: float | None) -> float:
    """Return the bits counted for a weight of `entries` entries: its mask and the remaining numbers."""
    entropy = 0.0 if density == 1 else -density * math.log2(density) - (1 - density) * math.log2(1 - density)
    return entries * (SHARE * entropy + density * (WEIGHT_BITS if bits is None else SHARE * bits))


class _Bank:
    """Counts the layers of one bank both ways, as mixes and each for itself: the encoder takes the smaller.

    Layers may come to mix alike. Then their masks are alike, and their codes where they have any, and the file has
    hardly more than those of one layer; so of these only the largest are counted.
    """

    def __init__(self, templates: nn.Parameter, planned: float | None) -> None:
        self.templates = float(WEIGHT_BITS * templates.numel())
        self.planned = planned
        self.masks: list[float] = []
        self.numbers: list[float] = []

    def add(self, layer: nn.Module, density: float) -> None:
        """Count a layer."""
        entries = layer.weight.numel()
        self.masks.append(_weight(entries, density, 0.0))
        self.numbers.append(_weight(entries, density, self.planned) - self.masks[-1])

    def bits(self) -> float:
        """Return the smaller count."""
        remainder = max(self.numbers) if self.planned is not None else min(self.templates, sum(self.numbers))
        return max(self.masks) + remainder
