"""Continuous Sparsification: learn which weights to keep, by gates that grow sharp (Savarese et al., NeurIPS 2020)."""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from kirigami.arguments import within
from kirigami.errors import ArgumentError
from kirigami.models.sparsity.mask import Mask, Masking, check_density

# A gate's gradient is below 2 % of its largest where |beta s| is above this.
DECIDED = 4.0
SHARPEST = 1e5  # of beta, where all s are the same


@final
class Gate(Mask):
    """Multiply a weight by sigmoid(beta s) / sigmoid(s0), and once hard by H(s) / sigmoid(s0), 1 only where s > 0.

    The hard mask lies in `kept`, so that no later step of an optimiser moves it.

    Args:
        weight: the weight to mask, for its shape and device.
        initial: s0, where every s begins: the mask is then 1 everywhere.
    """

    beta: Tensor

    def __init__(self, weight: Tensor, initial: float) -> None:
        super().__init__(weight)
        self.logits = nn.Parameter(torch.full_like(weight, initial))
        self.register_buffer("beta", torch.ones((), device=weight.device))
        self.scale = 1 + math.exp(-initial)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight under its soft mask, or its hard one; any shape."""
        mask = self.kept if self.hard else torch.sigmoid(self.beta * self.logits)
        return weight * mask * self.scale

    def chosen(self) -> Tensor:
        """Return H(s), or the fixed mask."""
        return self.kept if self.hard else self.logits > 0

    def fix(self) -> None:
        """Fix the mask to H(s)."""
        self.kept.copy_(self.logits > 0)


@final
class ContinuousSparsification(Masking):
    """Train weights and gates together while beta rises from 1 to `beta_final`; then the gates are zeros and ones.

    Without a density, `penalty` times the sum of the gates is added to the loss, as published, and it depends on
    the penalty, on s0 and on the number of steps how much is kept. With a density there is no penalty: before each
    step all s are moved by one common offset such that the mean gate follows a path from sigmoid(s0) to the density.
    So the loss alone ranks the weights, and no scale has to be guessed. In short runs, above all at densities above
    10 %, s hardly spreads, and the published beta leaves most gates near a half; so with a density beta is also at
    least `sharpness` * t^4 over the standard deviation of s, t the share of the soft part. When the gates are fixed,
    exactly the density's share with the largest s is kept; `report` says as `moved` for which share this differed
    from H(s).

    Args:
        density: share of the masked weights' entries to keep, in (0, 1]; None leaves it to the penalty.
        initial: s0; without a density, lower keeps less.
        penalty: weight of the sum of all gates in the loss, without a density. The paper's 1e-8 is for its long
            runs; what it does grows with the number of steps.
        beta_final: beta at the end of the soft part, above 1.
        mask_lr_scale: learning rate of s, in units of that of the weights.
        settle: share of the soft part after which the path has reached the density, in (0, 1].
        sharpness: beta at the end of the soft part, at least, in units of 1 over the standard deviation of s, with a
            density; 0 leaves beta as published.
        names: see `Technique`.
        harden_at: share of the run after which the gates are fixed; the rest is fine-tuning.

    Raises:
        ValueError: where an argument is out of its range.
    """

    density: float | None

    def __init__(
        self,
        density: float | None = None,
        initial: float = 0.0,
        penalty: float = 1e-4,
        beta_final: float = 200.0,
        mask_lr_scale: float = 1.0,
        settle: float = 0.8,
        sharpness: float = 12.0,
        names: Iterable[str] | None = None,
        harden_at: float = 0.6,
    ) -> None:
        super().__init__(density, names, harden_at, mask=partial(Gate, initial=initial), lr_scale=mask_lr_scale)
        if density is not None:
            check_density(density)
        within("initial", initial, -10, 10)
        within("penalty", penalty, 0, math.inf)
        within("beta_final", beta_final, 1, math.inf)
        within("mask_lr_scale", mask_lr_scale, 0, math.inf)
        within("sharpness", sharpness, 0, math.inf)
        if not 0 < settle <= 1:
            raise ArgumentError("settle", f"must be above 0 and at most 1, but got {settle!r}.")
        self.initial = initial
        self.penalty_weight = penalty
        self.beta_final = beta_final
        self.settle = settle
        self.sharpness = sharpness
        self.moved = 0
        self._origin = 1 / (1 + math.exp(-initial))

    @property
    def gates(self) -> list[Gate]:
        """The gates in the order of their layers."""
        return cast("list[Gate]", self.masks)

    def learned(self) -> list[nn.Parameter]:
        """Return every s, at which no decay may pull, since that would be to undecided."""
        return [gate.logits for gate in self.gates]

    def path(self, progress: float) -> float:
        """Return the target mean gate at a share of the soft part: geometric, then constant."""
        assert self.density is not None
        return self._origin * (self.density / self._origin) ** min(1.0, progress / self.settle)

    def advance(self, progress: float) -> None:
        """Set beta, and with a density bring the mean gate to its path."""
        beta = torch.tensor(self.beta_final**progress, device=self.gates[0].beta.device)
        if self.density is not None:
            with torch.no_grad():
                logits = torch.cat([gate.logits.flatten() for gate in self.gates])
                sharp = (self.sharpness * progress**4 / logits.std()).nan_to_num(0.0).clamp(max=SHARPEST)
                beta = torch.maximum(beta, sharp.to(beta.dtype))
                offset = shift(logits, beta, self.path(progress))
                for gate in self.gates:
                    gate.logits.sub_(offset)
        for gate in self.gates:
            gate.beta.fill_(beta)

    def penalty(self) -> Tensor | None:
        """Return `penalty` times the sum of all gates, without a density."""
        return None if self.density is not None else self.penalty_weight * self.total()

    def total(self) -> Tensor:
        """Return the sum of all soft gates."""
        return torch.stack([torch.sigmoid(gate.beta * gate.logits).sum() for gate in self.gates]).sum()

    def finish(self) -> None:
        """Fix the gates: those with s > 0, or exactly the density's share with the largest s."""
        self.fix()
        if self.density is not None:
            self.moved = self.keep_largest([gate.logits for gate in self.gates], self.density)
            self._centre()

    def restart(self, density: float | None = None) -> None:
        """Make the gates soft again for another round: s <- min(beta s, s0) with the last beta, and only then beta 1.

        Pruned weights stay pruned, as beta s is far below 0 for them. (The released code sets beta to 1 first, and
        so revives them.)

        Args:
            density: that of the next round.
        """
        for gate in self.gates:
            with torch.no_grad():
                gate.logits.copy_((gate.beta * gate.logits).clamp(max=self.initial))
            gate.beta.fill_(1.0)
            gate.hard = False
        self._origin = float(self.total().detach()) / self.entries
        self.density = density

    def details(self) -> dict[str, float]:
        """Return the mean soft gate, and the shares undecided (|beta s| < 4) and moved."""
        undecided = sum(int(((gate.beta * gate.logits).abs() < DECIDED).sum()) for gate in self.gates)
        entries = max(1, self.entries)
        return {
            "soft_density": float(self.total().detach()) / entries if self.gates else 0.0,
            "undecided": undecided / entries,
            "moved": self.moved / entries,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the figure of the report that was taken when the gates were fixed."""
        return {"moved": self.moved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.moved = int(state_dict["moved"])

    def _centre(self) -> None:
        """Shift all s so that 0 lies between the remaining and the pruned ones, for a further round."""
        above = torch.cat([gate.logits.detach()[gate.kept] for gate in self.gates])
        below = torch.cat([gate.logits.detach()[~gate.kept] for gate in self.gates])
        if below.numel():
            with torch.no_grad():
                for gate in self.gates:
                    gate.logits.sub_((above.min() + below.max()) / 2)


def shift(logits: Tensor, beta: Tensor | float, mean: float) -> Tensor:
    """Return the offset, a scalar, for which sigmoid(beta (logits - offset)) has this mean, by bisection."""
    low, high = logits.min() - 20 / beta, logits.max() + 20 / beta
    for _ in range(24):
        middle = (low + high) / 2
        above = torch.sigmoid(beta * (logits - middle)).mean() > mean
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (low + high) / 2
