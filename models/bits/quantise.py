"""What the techniques of this room share: a link whose hard form is the p-bit code, and the figures they report."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from kirigami.errors import ArgumentError
from kirigami.models.bits.inputs import FEWEST, MOST, InputQuantiser, insert
from kirigami.models.bits.levels import MAX_BITS, encode, integers, quantise, step
from kirigami.models.bits.stored import entropy, layer_sizes
from kirigami.models.technique import Least, Link, Technique, weighted

WATCHED_FROM = 0.5  # share of the soft part from which inputs are watched, each WATCHED_EVERY-th step
WATCHED_EVERY = 4


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
    """Base of the techniques that quantise: rounding of the layers' inputs, and the figures of what they have made.

    Args:
        names: See `Technique`.
        harden_at: See `Technique`.
        activation_bits: Bits, 2 to 8, of what goes into the layers, on a uniform grid per layer; None rounds no inputs.
            Ranges are watched over the second half of the soft part, and fixed when the weights are. The network's
            first layer sees the data, and has 8 bits, as is usual (Esser et al., "Learned Step Size Quantization",
            ICLR 2020, section 3). A layer whose `forward` is not called, as inside attention, rounds nothing.

    Raises:
        ValueError: `activation_bits` is out of its range.
    """

    links: dict[str, QuantiseLink]  # type: ignore[assignment]
    bits: float | None

    def __init__(self, names: Iterable[str] | None, harden_at: float, activation_bits: int | None = None) -> None:
        super().__init__(names, harden_at)
        if activation_bits is not None and not FEWEST <= activation_bits <= MOST:
            raise ArgumentError("activation_bits", f"must be from {FEWEST} to {MOST}, but got {activation_bits!r}.")
        self.activation_bits = activation_bits
        self.quantisers: dict[str, InputQuantiser] = {}
        self._calls = 0

    def attach(self, network: nn.Module) -> None:
        """Add the links, and the quantisers of the inputs where there are any; see `Technique.attach`."""
        known = self.network is network
        super().attach(network)
        if known or self.activation_bits is None:
            return
        first = next(layer for _, layer in weighted(network))
        for name, layer in self.layers.items():
            made = InputQuantiser(MOST if layer is first else self.activation_bits)
            self.quantisers[name] = made.to(layer.weight.device)
            insert(layer, self.quantisers[name])

    def advance(self, progress: float) -> None:
        """Let the quantisers of inputs watch the first step, and every few steps once training has come some way."""
        watching = self._calls == 0 or (progress >= WATCHED_FROM and self._calls % WATCHED_EVERY == 0)
        self._calls += 1
        for quantiser in self.quantisers.values():
            quantiser.watching = watching

    def harden(self) -> None:
        """Fix every link, and the ranges of inputs."""
        if not self.hard:
            for quantiser in self.quantisers.values():
                quantiser.fix()
        super().harden()

    def state_dict(self) -> dict[str, Any]:
        """Return what says when inputs are watched."""
        return {"calls": self._calls}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._calls = int(state_dict["calls"])

    def incoming(self) -> dict[str, Tensor]:
        """Return the weight that enters each link."""
        return {name: incoming(self.layers[name], link) for name, link in self.links.items()}

    def least(self) -> Least:
        """Return the mean bits wanted; 1 where they are left to training."""
        return Least(bits=1.0 if self.bits is None else self.bits)

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
        found = {
            "bits": bits / max(kept, 1),
            "zeros": 1 - kept / total,
            "map_bits": coded / total,
            "level_bits": levels / total,
            "stored_bits": stored / total,
        }
        seen = [q.wanted if bool(q.range.any()) else 32 for q in self.quantisers.values()]
        return {**found, "activation_bits": sum(seen) / len(seen)} if seen else found


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
        raise ArgumentError(where, f"must be from 1 to {most}, but got {bits!r}.")
