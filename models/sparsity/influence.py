"""Masks by what a weight's removal does to the loss, by any criterion of `kirigami.models.influence`."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from kirigami.errors import ArgumentError, choose
from kirigami.models.arguments import at_least, within
from kirigami.models.influence import WEIGHT_CRITERIA, surgeon, weight_scores
from kirigami.models.influence.probe import Loss
from kirigami.models.sparsity.mask import Mask, Masking, check_density, count
from kirigami.models.technique import batches_of, loss_of

EARLY = ("snip", "grasp", "synflow")
SCHEDULES = ("one_shot", "gradual")


@final
class InfluencePruning(Masking):
    """Keep the weights whose removal would cost most, chosen at once or step by step (Zhu & Gupta, 2017).

    What is removed stays so: the loss no longer says what it is worth. With `obs`, the weights that stay make up for
    those that go, unless a layer shares its weight with others. Without a run there are no rows to score by, so
    `harden` alone prunes only by magnitude and by lot; `prune` takes rows from anywhere.

    Args:
        criterion: a name in `kirigami.models.influence.WEIGHT_CRITERIA`.
        density: share of the masked weights' entries to keep in the end, in (0, 1].
        schedule: "one_shot", or "gradual": sparsity s_f (1 - (1 - t)^3) over the soft part.
        at: share of the soft part at which "one_shot" prunes, in [0, 1]; by default at the beginning for snip, grasp
            and synflow, as published, and at the end for the others.
        start: share of the soft part before the first removal of "gradual", in [0, 1).
        updates: how often "gradual" scores and removes.
        batches: training batches to score by.
        rows: of these at most for fisher, obs and blend, with one gradient each.
        probes: vectors a batch for obd.
        seed: of what is drawn.
        names: see `Technique`.
        harden_at: share of the run over which weights are removed; the rest is fine-tuning.

    Raises:
        ValueError: where an argument is out of its range.
    """

    density: float

    def __init__(
        self,
        criterion: str = "obs",
        density: float = 0.1,
        schedule: str = "one_shot",
        at: float | None = None,
        start: float = 0.2,
        updates: int = 10,
        batches: int = 8,
        rows: int = 256,
        probes: int = 8,
        seed: int = 0,
        names: Iterable[str] | None = None,
        harden_at: float = 0.6,
    ) -> None:
        super().__init__(density, names, harden_at)
        check_density(density)
        self.criterion = choose("criterion", criterion, WEIGHT_CRITERIA)
        self.schedule = choose("schedule", schedule, SCHEDULES)
        if at is not None and not 0 <= at <= 1:
            raise ArgumentError("at", f"must be at least 0 and at most 1, but got {at!r}.")
        within("start", start, 0, 1)
        for name, value in (("updates", updates), ("batches", batches), ("rows", rows), ("probes", probes)):
            at_least(name, value, 1)
        self.at = float(criterion not in EARLY) if at is None else at
        self.start, self.updates, self.batches = start, updates, batches
        self.effort = {"rows": rows, "probes": probes, "seed": seed}
        self._last = -1

    def path(self, progress: float) -> float:
        """Return the density to have at a share of the soft part."""
        if self.schedule == "one_shot":
            return self.density if progress >= self.at else 1.0
        done = min(1.0, max(0.0, (progress - self.start) / (1 - self.start)))
        return 1 - (1 - self.density) * (1 - (1 - done) ** 3)

    def advance(self, progress: float) -> None:
        """Prune to the path's density, once or `updates` times in the soft part."""
        update = math.floor(progress * self.updates) if self.schedule == "gradual" else 0
        if self.schedule == "one_shot" or update != self._last:
            self._prune(self.path(progress))
        self._last = update

    def finish(self) -> None:
        """Prune to the density if that is still to be done."""
        self._prune(self.density)

    def state_dict(self) -> dict[str, Any]:
        """Return which update was the last."""
        return {"last": self._last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a run was."""
        self._last = int(state_dict["last"])

    def prune(self, share: float, batches: Sequence[Any], loss: Loss) -> None:
        """Remove what scores least until a share of all entries is left; what is removed already stays so.

        Args:
            share: of the masked weights' entries to keep, in (0, 1].
            batches: to score by.
            loss: maps a batch to the network's scalar loss, with a graph.
        """
        early = self.schedule == "one_shot" and self.at == 0  # norms have no statistics yet
        names, settings = list(self.links), {**self.effort, "density": share, "training": early}
        masks, weights = self.masks, self.incoming().values()
        effective = [weight * mask.kept for weight, mask in zip(weights, masks, strict=True)]
        blocks = surgeon(self.network, batches, loss, names, **settings) if self.criterion == "obs" else {}
        if blocks:
            scores = [blocks[name].scores(weight) for name, weight in zip(names, effective, strict=True)]
        else:
            scores = list(weight_scores(self.network, self.criterion, batches, loss, names, **settings).values())
        alive = [score.masked_fill(~mask.kept, -torch.inf) for score, mask in zip(scores, masks, strict=True)]
        self.keep_largest(alive, share)
        for name, weight, mask in zip(blocks, effective, masks, strict=False):
            self._make_up(self.layers[name], mask, blocks[name].update(weight, mask.kept))

    def _make_up(self, layer: nn.Module, mask: Mask, weight: Tensor) -> None:
        """Put new values where the mask keeps, if the mask is what sees the stored weight."""
        chain: Any = layer.parametrizations.weight
        if chain[0] is mask:
            with torch.no_grad():
                chain.original.copy_(torch.where(mask.kept, weight, chain.original))

    def _prune(self, share: float) -> None:
        """Prune to a share, if more is kept, by the rows of the run."""
        kept = sum(int(mask.kept.sum()) for mask in self.masks)
        if kept <= count(share, self.entries):
            return
        if self.run is not None:
            with torch.random.fork_rng(devices=[]):  # a shuffled loader draws from the run's numbers
                batches = batches_of(self.run.trainer, self.batches)
            self.prune(share, batches, loss_of(self.run.module))
        elif self.criterion in ("magnitude", "random"):
            self.prune(share, [], lambda _: torch.zeros(()))
