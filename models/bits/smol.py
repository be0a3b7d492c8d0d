"""SMOL: learns how many bits each weight, input channel or layer needs.

Savarese, Yuan, Li & Maire, "Not All Bits have Equal Value: Heterogeneous Precisions via Trainable Noise", NeurIPS 2022.
There is no public code of the authors; this is a reconstruction from the paper's formulas.
"""

import math
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from kirigami.arguments import at_least
from kirigami.errors import ArgumentError, choose
from kirigami.models.bits.control import Price, bits_of, rounded_bits, s_of, shift_to
from kirigami.models.bits.levels import MAX_BITS, straight_through
from kirigami.models.bits.quantise import Quantisation, QuantiseLink, check_bits, root_mean_square

GRANULARITIES = ("weight", "channel", "layer")
MOMENTS = (0.9, 0.99)  # Adam's; the second is shorter than usual, since a whole run may have 300 steps
HIGHEST = 6.0  # of s: 1.004 bits; beyond it the gradient of s is gone and nothing would come back


@final
class SmolLink(QuantiseLink):
    """While soft, adds noise as large as the rounding error that the weight's bits would make; then rounds.

    Args:
        shape: Shape of s, which broadcasts to the weight.
        weight: The weight as it is now.
        initial_bits: Bits at the start.
    """

    noise: Tensor
    counts: Tensor

    def __init__(self, shape: tuple[int, ...], weight: Tensor, initial_bits: float) -> None:
        super().__init__(torch.full(shape, round(initial_bits)), root_mean_square(weight))
        self.top = math.ceil(initial_bits)
        self.s = nn.Parameter(torch.full_like(self.bits, s_of(initial_bits), dtype=weight.dtype))
        # Set before each step by the technique, so that forward stays a function of the link's tensors.
        self.register_buffer("noise", torch.zeros_like(weight), persistent=False)
        self.register_buffer("counts", torch.ones_like(weight).sum_to_size(shape), persistent=False)

    def soft(self, weight: Tensor) -> Tensor:
        """Return clip(w, ±(2 - sigmoid(s))) + sigmoid(s)·noise, in units of the scale; without noise in evaluation."""
        spread = self.s.sigmoid() * self.scale
        limit = (2 * self.scale - spread).detach()
        clipped = straight_through(weight, weight.detach().clamp(-limit, limit), limit)
        if not self.training:
            return clipped
        return clipped + torch.where(weight == 0, torch.zeros_like(weight), spread * self.noise)

    def whole_bits(self) -> Tensor:
        """Return the fixed bits, or the rounded ones of the present s."""
        return self.bits if self.hard else rounded_bits(self.s.detach(), self.top)

    def fix(self) -> None:
        """Fix the bits; s is no longer looked at."""
        self.bits.copy_(self.whole_bits())
        self.noise = self.noise.new_zeros(())


@final
class SMOL(Quantisation[SmolLink]):
    """Learn the bits of every weight, input channel or layer under a price on bits, then round and fine-tune.

    Minimises L(w + sigmoid(s)·e) + price · mean(bits - 1) over w and s, e uniform in [-1, 1] and fresh each step, with
    bits = 1 + log2(1 + e^-s). At `harden_at` the bits are rounded, and w is fine-tuned straight-through; the
    statistics of norms settle meanwhile. The range ±2 of the code is in units of a layer's scale, the root mean
    square of its weights when the technique is attached.

    The technique itself moves s, and takes it out of the optimiser: s needs even steps of a size that fits the run
    (Adam's, `travel` over the steps), whatever optimiser and schedule the weights have, and one that looks at all
    its parameters together must not see it. With a target a controller sets the price, and a common shift of s
    before rounding makes up what is left, so the target is met as nearly as the number of entries allows.

    Args:
        bits: Mean bits wanted over the weights that are not zero; None keeps the price fixed.
        granularity: What has bits of its own: "weight", "channel" (input channel) or "layer".
        initial_bits: Bits at the start, above 1 and at most 8.
        penalty: Price of one mean bit in units of the loss; with a target, only the first one.
        travel: How far s could move over the soft part; from 8 bits to 1 are about 10.
        activation_bits: Bits of the layers' inputs; see `Quantisation`.
        seed: Seed of the noise.
        names: See `Technique`.
        harden_at: See `Technique`.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        bits: float | None = None,
        granularity: str = "weight",
        initial_bits: float = 8,
        penalty: float = 0.1,
        *,
        travel: float = 20.0,
        activation_bits: int | None = None,
        seed: int = 0,
        names: list[str] | None = None,
        harden_at: float = 0.6,
    ) -> None:
        super().__init__(bits, activation_bits, names, harden_at, lr_scale=None)
        self.granularity = choose("granularity", granularity, GRANULARITIES)
        if not 1 < initial_bits <= MAX_BITS:
            raise ArgumentError("initial_bits", f"must be above 1 and at most {MAX_BITS}, but got {initial_bits!r}.")
        if bits is not None:
            check_bits("bits", bits, initial_bits)
        at_least("penalty", penalty, 0)
        at_least("travel", travel, 0)
        self.initial_bits, self.travel, self.seed = initial_bits, travel, seed
        self.price = Price(penalty, initial_bits, bits)
        self.progress, self.steps = 0.0, 0
        self.moments: dict[str, tuple[Tensor, Tensor]] = {}
        self.gradients: dict[str, Tensor] = {}  # of a checkpoint: a trainer that goes on drops those in place
        self.generator: torch.Generator | None = None

    def link(self, name: str, layer: nn.Module) -> SmolLink:
        """Make the link, with s in the shape of the granularity."""
        weight = layer.weight.detach()
        shapes = {
            "weight": tuple(weight.shape),
            "channel": (1, weight.shape[1], *[1] * (weight.ndim - 2)),
            "layer": (1,) * weight.ndim,
        }
        return SmolLink(shapes[self.granularity], weight, self.initial_bits)

    def learned(self) -> list[nn.Parameter]:
        """Return every s."""
        return [link.s for link in self.links.values()]

    def mean_bits(self) -> Tensor:
        """Return the mean of the unrounded bits over the weights that are not zero."""
        links = self.links.values()
        total = sum(link.counts.sum() for link in links)
        return sum((bits_of(link.s) * link.counts).sum() for link in links) / total.clamp(min=1)

    def penalty(self) -> Tensor:
        """Return price · (mean bits - 1)."""
        return self.price.now * (self.mean_bits() - 1)

    def advance(self, progress: float) -> None:
        """Move s by the gradients of the last step, set the price, and draw the noise of the next step."""
        self.inputs.advance(progress)
        passed, self.progress = progress - self.progress, progress
        with torch.no_grad():
            for name, gradient in self.gradients.items():
                self.links[name].s.grad = gradient.to(self.links[name].s)
            self.gradients.clear()
            if any(link.s.grad is not None for link in self.links.values()):
                self.steps += 1
                for name, link in self.links.items():
                    self._move(name, link.s, self.travel * passed)
            for name, weight in self.incoming().items():
                self.links[name].counts.copy_((weight != 0).to(weight).sum_to_size(self.links[name].s.shape))
                self._draw(self.links[name].noise)
            self.price.follow(float(self.mean_bits()), progress, passed)

    def _move(self, name: str, s: Tensor, rate: float) -> None:
        """Take one step of Adam (Kingma & Ba, ICLR 2015), and forget the gradient."""
        if s.grad is None:
            return
        gradient = s.grad.nan_to_num(0.0, 0.0, 0.0)  # a loss scaled for half precision may overflow
        first, second = self.moments.setdefault(name, (torch.zeros_like(s), torch.zeros_like(s)))
        first.lerp_(gradient, 1 - MOMENTS[0])
        second.lerp_(gradient.square(), 1 - MOMENTS[1])
        size = (second / (1 - MOMENTS[1] ** self.steps)).sqrt()
        s.sub_(rate * first / (1 - MOMENTS[0] ** self.steps) / (size + 1e-12))
        s.clamp_(s_of(self.initial_bits), HIGHEST)
        s.grad = None

    def _draw(self, noise: Tensor) -> None:
        if self.generator is None or self.generator.device != noise.device:
            self.generator = torch.Generator(noise.device).manual_seed(self.seed)
        noise.uniform_(-1, 1, generator=self.generator)

    def finish(self) -> None:
        """Shift s to the target, so that the rounded bits meet it, and fix the ranges of inputs."""
        if self.bits is not None:
            counts = [link.counts for link in self.links.values()]
            with torch.no_grad():
                shift = shift_to(self.bits, list(self.learned()), counts, math.ceil(self.initial_bits))
                for s in self.learned():
                    s.add_(shift)
        self.inputs.fix()
        self.moments.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a checkpoint needs besides the network's tensors to resume the run exactly."""
        return {
            "calls": self.inputs.steps,
            "progress": self.progress,
            "steps": self.steps,
            "integral": self.price.integral,
            "price": self.price.now,
            # Of the last step, by which s has not moved yet.
            "gradients": {name: link.s.grad.clone() for name, link in self.links.items() if link.s.grad is not None},
            "moments": {name: [value.clone() for value in pair] for name, pair in self.moments.items()},
            "generator": None if self.generator is None else self.generator.get_state(),
            "device": None if self.generator is None else str(self.generator.device),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.inputs.steps = int(state_dict["calls"])
        self.progress, self.steps = state_dict["progress"], state_dict["steps"]
        self.price.integral, self.price.now = state_dict["integral"], state_dict["price"]
        self.moments = {name: (pair[0].clone(), pair[1].clone()) for name, pair in state_dict["moments"].items()}
        self.gradients = dict(state_dict.get("gradients", {}))
        if state_dict["generator"] is not None:
            self.generator = torch.Generator(state_dict["device"])
            self.generator.set_state(state_dict["generator"].cpu())
