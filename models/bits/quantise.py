"""What the techniques of this room share: a link whose hard form is the p-bit code, and the figures they report."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from models.bits.levels import MAX_BITS, encode, integers, quantise, step
from models.bits.stored import entropy, layer_sizes
from models.technique import Link, Technique


class QuantiseLink(Link):
    """Maps a weight to its p-bit code once hard; a subclass says what it does before.

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

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight as the layer uses it."""
        return self.coded(weight, self.bits) if self.hard else self.soft(weight)

    def soft(self, weight: Tensor) -> Tensor:
        """Return what the layer uses before hardening."""
        raise NotImplementedError

    def whole_bits(self) -> Tensor:
        """Return the integer bits that hardening now would fix."""
        return self.bits

    def coded(self, weight: Tensor, bits: Tensor) -> Tensor:
        """Return the p-bit code of the weight, straight-through."""
        return quantise(weight, bits, self.scale, (2 - step(bits)).to(weight.dtype) * self.scale)

    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        """Return `levels` (int8 or int16), `bits` (uint8) and `scale`, from which `levels.decode` makes the weight.

        A map of bits with an entry a weight has 0 where the weight is 0.
        """
        with torch.no_grad():
            bits = self.whole_bits()
            levels = encode(weight, bits, self.scale)
            stored = torch.where(levels == 0, 0, bits) if bits.shape == weight.shape else bits
            return {"levels": integers(levels, bits), "bits": stored.to(torch.uint8), "scale": self.scale.clone()}


class Quantisation(Technique):
    """Base of the techniques that quantise: the figures of what they have made."""

    links: dict[str, QuantiseLink]  # type: ignore[assignment]

    def incoming(self) -> dict[str, Tensor]:
        """Return the weight that enters each link."""
        return {name: incoming(self.layers[name], link) for name, link in self.links.items()}

    def report(self) -> dict[str, float]:
        """Return figures in bits a weight, over the layers taken on; a soft state is counted as if hardened now.

        `bits`: mean p over the weights that are not zero. `zeros`: share of weights that are zero. The others are
        divided by all weights of those layers: `map_bits` and `level_bits` are entropies (of the map; of the levels
        given the map), `stored_bits` is the whole as an adaptive coder writes it, scales included.
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
        }


def incoming(layer: nn.Module, link: Link) -> Tensor:
    """Return the weight that enters a link of a layer: its stored tensors through the links before it."""
    links = layer.parametrizations.weight
    assert isinstance(links, ParametrizationList)
    with torch.no_grad():
        if links.is_tensor:
            values = (links.original,)
        else:
            values = tuple(getattr(links, f"original{index}") for index in range(links.ntensors))
        for other in links:
            if other is link:
                break
            values = (other(*values),)
        return values[0].detach()


def root_mean_square(weight: Tensor) -> Tensor:
    """Return the root mean square of the weights that are not zero, 1 where there is none."""
    kept = (weight != 0).sum()
    return torch.where(kept > 0, (weight.square().sum() / kept.clamp(min=1)).sqrt(), torch.ones_like(weight.sum()))


def check_bits(where: str, bits: float, most: float = MAX_BITS) -> None:
    """Refuse bits out of the range from 1 to `most`.

    Raises:
        ValueError: They are.
    """
    if not 1 <= bits <= most:
        raise ValueError(f"{where} must be from 1 to {most}, but got {bits!r}.")
