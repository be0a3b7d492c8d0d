"""Uniform quantisation: the same number of bits for every weight, with training that knows of it."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from kirigami.models.bits.quantise import Quantisation, QuantiseLink, check_bits, root_mean_square

# Scales that quantise a Gaussian of unit variance best in the mean square, by bits 1 to 8: half the step of
# J. Max, "Quantizing for Minimum Distortion", IRE Trans. Inf. Theory 6(1), 1960, table II, over 2^(1-p).
GAUSSIAN = (0.798, 0.996, 1.172, 1.341, 1.505, 1.666, 1.819, 1.969)


@final
class UniformLink(QuantiseLink):
    """Leaves the weight alone until it is hard."""

    def soft(self, weight: Tensor) -> Tensor:
        """Return the weight."""
        return weight

    def whole_bits(self) -> Tensor:
        """Return the bits, the same soft and hard."""
        return self.bits


@final
class Uniform(Quantisation[UniformLink]):
    """Train in full precision first, then with all weights of the layers at `bits` bits and one scale a layer.

    From `harden_at` on the forward pass sees the codes, and the gradient goes straight through to the weights (Bengio,
    Léonard & Courville, arXiv:1308.3432). The scales are fitted to the weights at that moment and stay.

    Args:
        bits: Bits of every weight, 1 to 8.
        activation_bits: Bits of the layers' inputs; see `Quantisation`.
        names: See `Technique`.
        harden_at: See `Technique`.

    Raises:
        ValueError: `bits` or `activation_bits` is out of its range.
    """

    bits: int

    def __init__(
        self,
        bits: int = 4,
        *,
        activation_bits: int | None = None,
        names: list[str] | None = None,
        harden_at: float = 0.6,
    ) -> None:
        super().__init__(bits, activation_bits, names, harden_at)
        check_bits("bits", bits)

    def link(self, name: str, layer: nn.Module) -> UniformLink:
        """Make the link, its scale fitted to the weights there are."""
        with torch.no_grad():
            return UniformLink(torch.tensor(self.bits), self.scale(layer.weight))

    def scale(self, weight: Tensor) -> Tensor:
        """Return the best scale for Gaussian weights of this spread; zeros are left out."""
        return GAUSSIAN[self.bits - 1] * root_mean_square(weight)

    def advance(self, progress: float) -> None:
        """Let the quantisers of inputs watch."""
        self.inputs.advance(progress)

    def finish(self) -> None:
        """Fit the scales to the weights, and fix the ranges of inputs."""
        for name, weight in self.incoming().items():
            self.links[name].scale.copy_(self.scale(weight))
        self.inputs.fix()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the input quantisers' measurement."""
        return {"calls": self.inputs.steps}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.inputs.steps = int(state_dict["calls"])
