"""Masks chosen by saliency: the loss change on a weight's removal, by any criterion of `kirigami.models.saliency`."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from kirigami.arguments import at_least, within
from kirigami.errors import ArgumentError, choose
from kirigami.models.saliency import WEIGHT_CRITERIA, surgeon, weight_scores
from kirigami.models.saliency.probe import Loss
from kirigami.models.sparsity.mask import Mask, Masking, check_density, count
from kirigami.models.technique import batches_of, loss_of

EARLY = ("snip", "grasp", "synflow")
SCHEDULES = ("one_shot", "gradual")


@final
class SaliencyPruning(Masking):
    """Keeps the weights with the largest saliency, chosen at once or step by step (Zhu & Gupta, 2017).

    A removed weight never comes back: its gradient no longer tells its saliency. With `obs`, the remaining weights are
    updated to compensate for the removed ones, unless a layer shares its weight with others. Without a run there are
    no rows to score with, so `harden` alone prunes only by magnitude or at random; `prune` accepts any rows.

    Args:
        criterion: a name in `kirigami.models.saliency.WEIGHT_CRITERIA`.
        density: share of the masked weights' entries to keep in the end, in (0, 1].
        schedule: "one_shot", or "gradual": sparsity s_f (1 - (1 - t)^3) over the soft part.
        at: share of the soft part at which "one_shot" prunes, in [0, 1]; by default at the beginning for snip, grasp
            and synflow, as published, and at the end for the others.
        start: share of the soft part before the first removal of "gradual", in [0, 1).
        updates: how often "gradual" scores and removes.
        batches: training batches to score with.
        rows: at most, of these batches, for fisher, obs and blend, with one gradient each.
        probes: vectors a batch for obd.
        seed: of the random numbers.
        names: see `Technique`.
        harden_at: share of the run over which weights are removed; the rest is fine-tuning.

    Raises:
        ValueError: where an argument is out of its range.
    """

    density: float
    stored_as = "InfluencePruning"

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
        """Return the target density at a share of the soft part."""
        if self.schedule == "one_shot":
            return self.density if progress >= self.at else 1.0
        done = min(1.0, max(0.0, (progress - self.start) / (1 - self.start)))
        return 1 - (1 - self.density) * (1 - (1 - done) ** 3)

    def advance(self, progress: float) -> None:
        """Prune to the scheduled density, once or `updates` times in the soft part."""
        update = math.floor(progress * self.updates) if self.schedule == "gradual" else 0
        if self.schedule == "one_shot" or update != self._last:
            self._prune(self.path(progress))
        self._last = update

    def finish(self) -> None:
        """Prune to the final density, if not done yet."""
        self._prune(self.density)

    def state_dict(self) -> dict[str, Any]:
        """Return the index of the last update."""
        return {"last": self._last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the last update of a saved run."""
        self._last = int(state_dict["last"])

    def prune(self, share: float, batches: Sequence[Any], loss: Loss) -> None:
        """Remove the lowest scores until a share of all entries is left; removed entries stay removed.

        Args:
            share: of the masked weights' entries to keep, in (0, 1].
            batches: to score with.
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
            self._compensate(self.layers[name], mask, blocks[name].update(weight, mask.kept))

    def _compensate(self, layer: nn.Module, mask: Mask, weight: Tensor) -> None:
        """Write new values where the mask keeps, if the mask is the first link of the chain."""
        chain: Any = layer.parametrizations.weight
        if chain[0] is mask:
            with torch.no_grad():
                chain.original.copy_(torch.where(mask.kept, weight, chain.original))

    def _prune(self, share: float) -> None:
        """Prune to a share, if more is left, with rows of the run."""
        remaining = sum(int(mask.kept.sum()) for mask in self.masks)
        if remaining <= count(share, self.entries):
            return
        if self.run is not None:
            with torch.random.fork_rng(devices=[]):  # a shuffled loader draws from the run's numbers
                batches = batches_of(self.run.trainer, self.batches)
            self.prune(share, batches, loss_of(self.run.module))
        elif self.criterion in ("magnitude", "random"):
            self.prune(share, [], lambda _: torch.zeros(()))
