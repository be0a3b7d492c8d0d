"""The base of quantisation: a link whose hard form is the p-bit code, and the figures that techniques report."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Generic, TypeVar, final

import torch
from torch import Tensor, nn

from kirigami.errors import ArgumentError
from kirigami.models.bits.inputs import InputRounding
from kirigami.models.bits.levels import MAX_BITS, encode, integers, quantise, step
from kirigami.models.bits.stored import entropy, layer_sizes
from kirigami.models.technique import Least, Link, Linked


class QuantiseLink(Link):
    """Maps a weight to its p-bit code once hard; a subclass defines the soft form.

    A weight that is exactly 0, as a hard mask leaves it, stays 0, soft and hard.

    Args:
        bits: Integers p that broadcast to the weight.
        scale: The layer's scale.
    """

    stage = "quantise"
    bits: Tensor
    scale: Tensor

    def __init__(self, bits: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("bits", bits.to(torch.uint8))
        self.register_buffer("scale", scale.detach().clone())

    @final
    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight as the layer uses it."""
        return self.coded(weight, self.bits) if self.hard else self.soft(weight)

    @abstractmethod
    def soft(self, weight: Tensor) -> Tensor:
        """Return the soft form of the weight."""

    @abstractmethod
    def whole_bits(self) -> Tensor:
        """Return the integer bits that hardening now would fix, or those that are fixed."""

    @final
    def coded(self, weight: Tensor, bits: Tensor) -> Tensor:
        """Return the p-bit code of the weight, straight-through."""
        return quantise(weight, bits, self.scale, (2 - step(bits)).to(weight.dtype) * self.scale)

    @final
    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        """Return `levels` (int8 or int16), `bits` (uint8) and `scale`, from which `levels.decode` makes the weight.

        A map of bits with an entry a weight has 0 where the weight is 0.
        """
        with torch.no_grad():
            bits = self.whole_bits()
            levels = encode(weight, bits, self.scale)
            stored = torch.where(levels == 0, 0, bits) if bits.shape == weight.shape else bits
            return {"levels": integers(levels, bits), "bits": stored.to(torch.uint8), "scale": self.scale.clone()}


Coder = TypeVar("Coder", bound=QuantiseLink)


class Quantisation(Linked[Coder], Generic[Coder]):
    """Base of the techniques that quantise: quantised inputs of layers, and the figures of the codes.

    Args:
        bits: Mean bits wanted; None leaves them to training.
        activation_bits: Bits, 2 to 8, of the layers' inputs, on a uniform grid per layer; None rounds no inputs.
            Ranges are watched over the second half of the soft part, and fixed when the weights are. The network's
            first layer sees the data, and has 8 bits, as is usual (Esser et al., "Learned Step Size Quantization",
            ICLR 2020, section 3). A layer whose `forward` is not called, as inside attention, rounds nothing.
        names: See `Technique`.
        harden_at: See `Technique`.
        lr_scale: See `Linked`.

    Raises:
        ValueError: `activation_bits` is out of its range.
    """

    bits: float | None

    def __init__(
        self,
        bits: float | None,
        activation_bits: int | None,
        names: Iterable[str] | None,
        harden_at: float,
        lr_scale: float | None = 1.0,
    ) -> None:
        super().__init__(names, harden_at, lr_scale)
        self.bits = bits
        self.inputs = InputRounding(activation_bits)

    @final
    def complete(self, network: nn.Module) -> None:
        """Add the quantisers of the inputs, where there are any."""
        self.inputs.insert(network, self.layers)

    @property
    @final
    def watches_inputs(self) -> bool:
        """Whether inputs are rounded, by the ranges that were seen."""
        return self.inputs.bits is not None

    @final
    def least(self) -> Least:
        """Return the target mean bits; 1 where training decides on them."""
        return Least(bits=1.0 if self.bits is None else self.bits)

    @final
    def report(self) -> dict[str, float]:
        """Return figures in bits a weight, over the layers taken on; a soft state is counted as if hardened now.

        `bits`: mean p over the weights that are not zero. `zeros`: share of weights that are zero. The others are
        divided by all weights of those layers: `map_bits` and `level_bits` are entropies (of the map; of the levels
        given the map), `stored_bits` is the whole as an adaptive coder writes it, scales included. Where inputs are
        rounded, `activation_bits` is the mean over the layers (8 for the first, 32 where an input was never seen).
        """
        parts = {name: self.links[name].parts(weight) for name, weight in self.incoming().items()}
        total = sum(part["levels"].numel() for part in parts.values())
        kept, bits, coded, stored, levels = 0, 0.0, 0.0, 0.0, 0.0
        for part in parts.values():
            spread, alive = part["bits"].expand_as(part["levels"]), part["levels"] != 0
            kept += int(alive.sum())
            bits += float(spread[alive].sum())
            coded += entropy(part["bits"]) * part["bits"].numel()
            levels += sum(
                entropy(chosen) * chosen.numel()
                for p in torch.unique(part["bits"]).tolist()
                if (chosen := part["levels"][(spread == p) & alive]).numel()
            )
            stored += sum(layer_sizes(part).values())
        return {
            "bits": bits / max(kept, 1),
            "zeros": 1 - kept / total,
            "map_bits": coded / total,
            "level_bits": levels / total,
            "stored_bits": stored / total,
            **self.inputs.report(),
        }


def root_mean_square(weight: Tensor) -> Tensor:
    """Return the root mean square of the weights that are not zero, 1 where there is none."""
    nonzero = (weight != 0).sum()
    return torch.where(
        nonzero > 0, (weight.square().sum() / nonzero.clamp(min=1)).sqrt(), torch.ones_like(weight.sum())
    )


def check_bits(where: str, bits: float, most: float = MAX_BITS) -> None:
    """Refuse bits out of the range from 1 to `most`.

    Raises:
        ValueError: They are.
    """
    if not 1 <= bits <= most:
        raise ArgumentError(where, f"must be from 1 to {most}, but got {bits!r}.")
