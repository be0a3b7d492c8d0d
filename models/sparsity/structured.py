"""Structured pruning: whole channels and neurons go while the network trains, and its tensors really shrink."""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from kirigami.arguments import at_least, within
from kirigami.errors import ArgumentError, choose
from kirigami.models.saliency import unit_scores
from kirigami.models.structure import (
    OF,
    Calls,
    Inputs,
    Price,
    Reshaping,
    Units,
    Watch,
    lowest,
    price,
    remove,
    resize,
    shapes,
    units,
)
from kirigami.models.technique import Run, loss_of, network_of

CRITERIA = ("norm", "apoz", "taylor1", "taylor2", "random")
BY_LAYER = ("norm",)  # scores that mean something beside others of the same layer only


@final
class StructuredPruning(Reshaping):
    """Remove the units of least worth step by step, until a share of the network is left.

    The share falls as 1 - (1 - keep) (1 - (1 - t)^3) over the soft part (Zhu & Gupta, 2017). At each update all
    units are scored anew, ranked over all layers, and so many of the lowest are removed as bring the network to the
    share; what was removed never comes back. Which channels are one unit, and what is left out, is told by
    `models.structure.units`; it looks at the network when it is first run in training. Norms are not estimated anew:
    the rest of the training does that. A checkpoint of another shape brings the network to its shape when it is loaded.

    In a list of callbacks it stands before masks and quantisation, whose links are cut with their weights. Layers that
    share cannot change their shape.

    Args:
        keep: share to be left at the end, in (0, 1].
        of: the quantity: `units`, `params` (all of the network's), or `macs`.
        criterion: a name in `CRITERIA`, see `models.saliency.unit_scores`. A norm is divided by the mean of its layer.
        start: share of the soft part before the first removal, in [0, 1).
        updates: how often units are removed.
        least: units that every layer keeps, at least.
        batches: how many of the last training batches the units are scored on.
        seed: of the criterion's random numbers.
        names: of the layers whose units may go, as `kirigami.models.structure.units` calls them; by default all.
        harden_at: share of the run after which the shape is fixed; the rest is fine-tuning.

    Raises:
        ValueError: where an argument is out of its range.
    """

    title = "structured pruning"

    def __init__(
        self,
        keep: float = 0.5,
        of: str = "params",
        criterion: str = "norm",
        start: float = 0.2,
        updates: int = 10,
        least: int = 2,
        batches: int = 2,
        seed: int = 0,
        names: Iterable[str] | None = None,
        harden_at: float = 0.6,
    ) -> None:
        super().__init__(names, harden_at)
        if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep <= 1:
            raise ArgumentError("keep", f"must be above 0 and at most 1, but got {keep!r}.")
        choose("of", of, OF)
        choose("criterion", criterion, CRITERIA)
        within("start", start, 0, 1)
        at_least("updates", updates, 1)
        at_least("least", least, 1)
        at_least("batches", batches, 1)
        self.keep, self.of, self.criterion, self.start, self.updates = keep, of, criterion, start, updates
        self.fewest, self.seed = least, seed
        self.units: list[Units] = []
        self.before: dict[str, float] = {}
        self._last = -1
        self._inputs: Inputs | None = None
        self._shapes: dict[str, list[int]] = {}
        self._seen: deque[Any] = deque(maxlen=batches)
        self._earlier: list[Any] = []
        self._optimizers: Sequence[Optimizer] = ()
        self._module: LightningModule | None = None
        self._watch: Watch | None = None

    def trace(self, inputs: Inputs) -> None:
        """Find the units of the network, for the inputs that it is called with; a trainer's run does this by itself.

        Raises:
            ValueError: where it has none, or so few that `keep` cannot be met.
        """
        self._inputs = inputs
        self.units = units(self.network, inputs, self.names)
        if not self.units:
            raise ArgumentError("", f"{type(self.network).__name__} has no units that can be removed.")
        self._shapes = shapes(self.network)
        if not self.before:
            self.before = self.sizes()
            smallest = self.price().total([_first(group.count, self.fewest) for group in self.units])
            if smallest > self.keep * self.before[self.of]:
                raise ArgumentError(
                    "keep",
                    f"={self.keep} of {self.of} cannot be met: with least={self.fewest} units in each layer, "
                    f"{smallest / self.before[self.of]:.3f} remains.",
                )

    def sizes(self) -> dict[str, float]:
        """Return the units, parameters and multiplications of the network as it is."""
        everything = [_first(group.count, group.count) for group in self.units]
        return {of: self.price(of).total(everything) for of in OF}

    def price(self, of: str | None = None) -> Price:
        """Return the network's cost as a function of its units."""
        assert self._inputs is not None, "trace comes first"
        return price(self.network, self.units, self._inputs, self.of if of is None else of)

    def scores(self) -> list[Tensor]:
        """Return the worth of each unit: one tensor (count,) for each set of units."""
        by_name = unit_scores(self.network, self.units, list(self._seen), self._loss, self.criterion, seed=self.seed)
        scores = [by_name[group.name] for group in self.units]
        return [score / score.mean().clamp(min=1e-12) for score in scores] if self.criterion in BY_LAYER else scores

    def _loss(self, batch: Any) -> Tensor:
        assert self._module is not None, f"{self.criterion} needs a trainer's loss"
        return loss_of(self._module)(batch)

    def path(self, progress: float) -> float:
        """Return the share to have at a share of the soft part."""
        done = min(1.0, max(0.0, (progress - self.start) / (1 - self.start)))
        return 1 - (1 - self.keep) * (1 - (1 - done) ** 3)

    def advance(self, progress: float) -> None:
        """Prune to the path's share, `updates` times between `start` and the end of the soft part."""
        update = math.floor((progress - self.start) / (1 - self.start) * self.updates)
        if update > max(self._last, 0):
            self.prune(self.path(progress))
        self._last = max(update, self._last)

    def prune(self, share: float) -> None:
        """Remove the units of least worth until at most a share of the untouched network is left."""
        if self._shapes != shapes(self.network):  # a checkpoint of another shape was loaded
            self.trace(self._inputs)
        limit, now = share * self.before[self.of], self.price()
        if now.total([_first(group.count, group.count) for group in self.units]) <= limit:
            return
        for group, stays in zip(self.units, lowest(now, self.scores(), limit, self.fewest), strict=True):
            remove(self.network, group, torch.nonzero(~stays).flatten(), self._optimizers)
        self._shapes = shapes(self.network)

    def finish(self) -> None:
        """Prune to `keep`."""
        if self.units:
            self.prune(self.keep)

    def report(self) -> dict[str, float]:
        """Return the units, params and macs that are left, and each as a share of those before as `..._kept`."""
        if not self.units:
            return {}
        now = self.sizes()
        return {**now, **{f"{of}_kept": value / self.before[of] for of, value in now.items()}}

    def recipe(self) -> dict[str, Any]:
        """Return the shapes of the network's tensors."""
        return {"shapes": shapes(self.network)}

    def reform(self, recipe: Mapping[str, Any]) -> None:
        """Bring the network to the shapes of a pruned one."""
        resize(self.network, recipe["shapes"])

    def begin(self, trainer: Trainer, module: LightningModule) -> None:
        """Collect the objects that removals need, and restore the statistics of a resumed run."""
        self._optimizers, self._module = trainer.optimizers, module
        if self._inputs is not None:
            self._seen.extend(module.transfer_batch_to_device(batch, module.device, 0) for batch in self._earlier)
            self._earlier = []
            self.trace(self._inputs)

    def follow(self, run: Run) -> None:
        """Keep the batch to score units on, and remove some when it is time."""
        self._seen.append(run.batch)
        if not self.units:  # before the first batch: see how the network is called
            self._watch = Watch(network_of(run.module))
            return
        self.advance(min(1.0, run.progress / self.harden_at))
        if run.progress >= self.harden_at:
            self.harden()

    # Lightning's hooks.

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Find the units after the first batch."""
        if self._watch is not None:
            inputs, self._watch = self._watch.stop(), None
            self.trace(inputs)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of the run."""
        self._optimizers, self._module = (), None
        self._seen.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the removal schedule, for a resumed run."""
        calls = self._inputs.calls if isinstance(self._inputs, Calls) else None
        path = {"before": self.before, "last": self._last, "hard": self.hard}
        return {**path, "calls": calls, "seen": [] if self.hard else list(self._seen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue at the position of a saved run."""
        self.before, self._last = dict(state["before"]), state["last"]
        if state["hard"]:
            self.fix()
        self._inputs = Calls(tuple(state["calls"])) if state.get("calls") else None
        self._earlier = list(state.get("seen", ()))


def _first(count: int, kept: int) -> Tensor:
    return torch.arange(count) < kept
