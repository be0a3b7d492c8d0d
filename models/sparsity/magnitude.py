"""Masks by magnitude, at once or step by step, and random masks: the baselines of every better choice."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, final

import torch

from kirigami.arguments import within
from kirigami.errors import ArgumentError, did_you_mean
from kirigami.models.sparsity.mask import Masking, check_densities, check_density, count


class ByMagnitude(Masking):
    """Base of the techniques whose mask keeps the largest weights by magnitude over all layers at once."""

    density: float

    @final
    def prune(self, share: float) -> None:
        """Keep the share of the entries with the largest magnitudes, whatever the mask was before."""
        self.keep_largest([weight.abs() for weight in self.incoming().values()], share)

    @final
    def finish(self) -> None:
        """Prune to the density."""
        self.prune(self.density)


@final
class MagnitudePruning(ByMagnitude):
    """Train dense, then keep the largest weights by magnitude over all layers at once (Han et al., NeurIPS 2015).

    Args:
        density: share of the masked weights' entries to keep, in (0, 1].
        names: see `Technique`.
        harden_at: share of the run after which the weights are pruned; the rest is fine-tuning.

    Raises:
        ValueError: where an argument is out of its range.
    """

    def __init__(self, density: float = 0.1, names: Iterable[str] | None = None, harden_at: float = 0.6) -> None:
        super().__init__(density, names, harden_at)
        check_density(density)


@final
class GradualPruning(ByMagnitude):
    """Prune by magnitude step by step: sparsity s_f (1 - (1 - t)^3) over the soft part (Zhu & Gupta, 2017).

    A weight that is pruned keeps its value without a gradient, and comes back if its rank rises again.

    Args:
        density: share of the masked weights' entries to keep in the end, in (0, 1].
        start: share of the soft part before the first pruning, in [0, 1).
        updates: how often the mask is chosen anew.
        names: see `Technique`.
        harden_at: share of the run over which the density falls; the rest is fine-tuning.

    Raises:
        ValueError: where an argument is out of its range.
    """

    def __init__(
        self,
        density: float = 0.1,
        start: float = 0.2,
        updates: int = 100,
        names: Iterable[str] | None = None,
        harden_at: float = 0.6,
    ) -> None:
        super().__init__(density, names, harden_at)
        check_density(density)
        within("start", start, 0, 1)
        within("updates", updates, 1, math.inf)
        self.start = start
        self.updates = updates
        self._last = -1

    def path(self, progress: float) -> float:
        """Return the target density at a share of the soft part."""
        done = min(1.0, max(0.0, (progress - self.start) / (1 - self.start)))
        return 1 - (1 - self.density) * (1 - (1 - done) ** 3)

    def advance(self, progress: float) -> None:
        """Prune to the scheduled density, `updates` times in the whole soft part."""
        update = math.floor(progress * self.updates)
        if update != self._last and progress > self.start:
            self.prune(self.path(progress))
        self._last = update

    def state_dict(self) -> dict[str, Any]:
        """Return the index of the last update."""
        return {"last": self._last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the last update of a saved run."""
        self._last = int(state_dict["last"])


@final
class RandomPruning(Masking):
    """Draws a random mask before training and trains the remaining weights for the whole run: the control.

    Args:
        density: share of the masked weights' entries to keep, in (0, 1], over all layers; or that of each layer by
            name, such as another technique's `densities()`, where a layer's mask has exactly its share.
        seed: of the lot.
        names: see `Technique`.

    Raises:
        ValueError: where a density is out of its range, or a masked layer has none.
    """

    density: float | Mapping[str, float]

    def __init__(
        self, density: float | Mapping[str, float] = 0.1, seed: int = 0, names: Iterable[str] | None = None
    ) -> None:
        super().__init__(density, names, harden_at=1.0)
        check_densities(density)
        self.seed = seed

    def advance(self, progress: float) -> None:
        """Fix the masks at the first step."""
        self.harden()

    def finish(self) -> None:
        """Draw the masks."""
        generator = torch.Generator().manual_seed(self.seed)
        scores = [torch.rand(mask.kept.shape, generator=generator).to(mask.kept.device) for mask in self.masks]
        if not isinstance(self.density, Mapping):
            self.keep_largest(scores, self.density)
            return
        for name, mask, score in zip(self.links, self.masks, scores, strict=True):
            if name not in self.density:
                raise ArgumentError("density", f"has none for {name!r}.{did_you_mean(name, self.density)}")
            largest = torch.sort(score.flatten(), descending=True, stable=True).indices
            mask.kept.zero_().view(-1)[largest[: count(self.density[name], score.numel())]] = True
