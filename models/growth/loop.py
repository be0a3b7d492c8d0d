"""Grow and shrink a network while it trains, until its cost on this device meets a budget."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from kirigami.arguments import at_least, within
from kirigami.errors import ArgumentError, choose
from kirigami.models import cost
from kirigami.models.growth.budget import Budget, one_budget, without_links
from kirigami.models.growth.deeper import activations, deepen, insert, take_out
from kirigami.models.growth.initial import INITS
from kirigami.models.growth.place import Ground
from kirigami.models.saliency import UNIT_CRITERIA, unit_scores
from kirigami.models.structure import Reshaping, Units, remove, resize, shapes, units
from kirigami.models.technique import Run, batches_of, loss_of, network_of

# Turns of measuring and changing at the end; a turn may halve the step, so this is plenty.
TURNS = 40
# Part of the band to be inside at the end, which leaves the rest to the noise of the measurement.
SETTLED = 0.4
# How many more passes the last measurements of the time take than those before.
FINER = 10
# The loop's state, besides its figures.
PLACE = ("_limit", "_side", "_fixed")
# Exponent by which the cost follows the number of units, between one side of the weights and both.
POWER = 1.5


@final
class GrowAndShrink(Reshaping):
    """Measure the network, shrink it where it is above its budget, grow it where it is below, and train on.

    The loop measures after each epoch, or every `every` steps. Inside budget * (1 +- hysteresis) nothing changes.
    Above, the units of the lowest scores over all layers are removed; below, every layer gets the same share of new
    units. One visit changes at most `share` of all units, and half of that after each change of direction. At
    `harden_at` the loop repeats until the cost is within `SETTLED` of the hysteresis; then the shapes are fixed.
    Optimiser state follows the units; that of new ones begins at 0. Units coupled to fixed shapes are not changed; see
    `kirigami.models.structure.units`.

    Args:
        params: the budget in parameters; exactly one of the four must be given.
        macs: the budget in multiply-accumulates for one sample.
        latency_ms: the budget in milliseconds for a batch's forward pass on the device and threads of the training.
        memory: the budget in bytes, of `kirigami.models.cost.memory_bytes`, for a batch.
        init: initialisation of new units, a name in `kirigami.models.growth.INITS`.
        criterion: ranks the units, a name in `kirigami.models.saliency.UNIT_CRITERIA`.
        hysteresis: tolerance as a share of the budget, in [0, 1).
        share: largest share of all units that one visit changes, in (0, 1).
        every: steps between visits; None is once an epoch.
        layers: identity layers that may be inserted, one a visit that finds the network below its budget and leaves
            it not above; units grow for the rest.
        rows: of the batch to measure; None takes a training batch.
        batches: training batches for scores and initialisation.
        least: units that each layer keeps.
        scale: norm of a new unit's outgoing weights, in units of the mean norm of the present ones.
        seed: of the random numbers.
        names: of the layers whose units may change, as in `Units.name`; by default all that can.
        harden_at: share of the run after which the shapes are fixed; the rest is fine-tuning.

    Raises:
        ValueError: where an argument is out of its range, or not exactly one budget is given.
    """

    title = "growth"

    def __init__(
        self,
        params: int | None = None,
        macs: int | None = None,
        latency_ms: float | None = None,
        memory: int | None = None,
        init: str = "split",
        criterion: str = "taylor2",
        hysteresis: float = 0.05,
        share: float = 0.2,
        every: int | None = None,
        layers: int = 0,
        rows: int | None = None,
        batches: int = 4,
        least: int = 2,
        scale: float = 1.0,
        seed: int = 0,
        names: Iterable[str] | None = None,
        harden_at: float = 0.6,
    ) -> None:
        super().__init__(names, harden_at)
        self.budget: Budget = one_budget(hysteresis, params=params, macs=macs, latency_ms=latency_ms, memory=memory)
        self.init = choose("init", init, INITS)
        self.criterion = choose("criterion", criterion, UNIT_CRITERIA)
        if not 0 < share < 1:
            raise ArgumentError("share", f"must be above 0 and below 1, but got {share}.")
        for name, number, low in (("every", every, 1), ("layers", layers, 0), ("rows", rows, 1)):
            at_least(name, low if number is None else number, low)
        at_least("batches", batches, 1)
        at_least("least", least, 1)
        within("scale", scale, 0, 1e3)
        self.share, self.every, self.layers_most, self.rows = share, every, layers, rows
        self.batches, self.fewest, self.scale = batches, least, scale
        self.generator = torch.Generator().manual_seed(seed)
        self.inserted: list[dict[str, Any]] = []
        self.grown, self.removed = 0, 0
        self.history: list[float] = []
        self.reached: dict[str, float] = {}
        self._limit, self._side = share, 0

    def recipe(self) -> dict[str, Any]:
        """Return the layers that were inserted, and all shapes."""
        return {"inserted": self.inserted, "shapes": shapes(self.network)}

    def reform(self, recipe: Mapping[str, Any]) -> None:
        """Insert the same layers into the network and bring it to the same shapes."""
        for layer in recipe["inserted"]:
            insert(self.network, layer)
        self.inserted = [dict(layer) for layer in recipe["inserted"]]
        resize(self.network, recipe["shapes"])

    def report(self) -> dict[str, float]:
        """Return the budget, the cost reached when the shapes were fixed, and the numbers of changes."""
        changed = {"grown": self.grown, "removed": self.removed, "inserted": len(self.inserted)}
        return {"budget": self.budget.amount, **self.reached, **changed}

    @property
    def resumable(self) -> bool:
        """Whether no layer has been inserted: the optimiser holds those in another order than a fresh one would."""
        return not self.inserted

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loop; the shapes are those of the network's tensors."""
        names = ("grown", "removed", "history", "reached", *PLACE)
        return {**{name: getattr(self, name) for name in names}, "generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of the loop."""
        for name, value in state_dict.items():
            if name != "generator":
                setattr(self, name, value)
        self.generator.set_state(state_dict["generator"])
        if self._fixed:
            self.fix()

    def follow(self, run: Run) -> None:
        """Visit the network when it is time, and settle when the share of the run is over."""
        step = run.trainer.global_step
        if run.progress >= self.harden_at:
            self.settle(self._ground(run))
        elif step and (step % self.every == 0 if self.every else run.batch_index == 0):
            self.visit(self._ground(run))

    # What a visit does.

    def visit(self, ground: Ground, repeats: int = 50, part: float = 1.0) -> int:
        """Measure, and change the network where it is outside the band; return how many units more it has, or fewer."""
        inputs = self._inputs(ground)
        measured = self.budget.measure(ground.network, inputs, repeats)
        self.history.append(measured)
        side = self.budget.side(measured, part)
        if side == 0:
            return 0
        if side == -self._side:
            self._limit /= 2
        self._side = side
        if side > 0 and len(self.inserted) < self.layers_most and self._deepen(ground, inputs):
            return sum(layer["features"] for layer in self.inserted[-1:])
        groups = units(ground.network, inputs, self.names)
        if not groups:
            raise ValueError(f"{type(ground.network).__name__} has no units that can be added or removed.")
        total = sum(group.count for group in groups)
        change = abs((self.budget.amount / measured) ** (1 / POWER) - 1)
        count = max(1, round(min(self._limit, change) * total))
        return self._grow(ground, groups, count) if side > 0 else self._shrink(ground, groups, count)

    def settle(self, ground: Ground) -> None:
        """Change the network until it is within a part of the band, as far as whole units go, and fix its shapes."""
        self._limit, self._side = self.share, 0
        before = 0
        for _ in range(TURNS):
            change = self.visit(ground, FINER * 50, part=SETTLED)
            if change == 0 or (change, before) == (-1, 1):  # one unit is as fine as it goes: stay below
                break
            before = change
        self.harden()
        inputs = self._inputs(ground)
        network = without_links(ground.network)
        timed = cost.latency(network, inputs, FINER * 50)
        self.reached = {
            "params": cost.parameters(network),
            "macs": cost.macs(network, inputs),
            "latency_ms": timed.median,
            "latency_sd": timed.deviation,
            "memory": cost.memory_bytes(network, inputs),
        }
        self.reached["off"] = self.reached[self.budget.currency] / self.budget.amount - 1

    def _ground(self, run: Run) -> Ground:
        loss, batches = loss_of(run.module), batches_of(run.trainer, self.batches)
        return Ground(network_of(run.module), batches, loss, self.generator, run.trainer.optimizers, self.scale)

    def _inputs(self, ground: Ground) -> Tensor:
        """Return a batch of the network's inputs, with the number of rows to measure."""
        seen: list[Tensor] = []
        hook = ground.network.register_forward_pre_hook(lambda _, given: seen.extend(given[:1]))
        try:
            with cost.evaluating(ground.network), torch.no_grad():
                ground.loss(ground.batches[0])
        finally:
            hook.remove()
        if not seen or not isinstance(seen[0], Tensor):
            raise ValueError(f"growth needs a training_step that calls {type(ground.network).__name__} on a tensor.")
        rows = self.rows or len(seen[0])
        return seen[0].detach().repeat(-(-rows // len(seen[0])), *[1] * (seen[0].dim() - 1))[:rows]

    def _grow(self, ground: Ground, groups: Sequence[Units], count: int) -> int:
        """Add units to each layer, in proportion to its present number."""
        total = sum(group.count for group in groups)
        shares = [count * group.count / total for group in groups]
        counts = [int(share) for share in shares]
        rest = sorted(range(len(groups)), key=lambda place: counts[place] - shares[place])
        for place in rest[: count - sum(counts)]:
            counts[place] += 1
        for group, more in zip(groups, counts, strict=True):
            if more:
                INITS[self.init](ground, group, more)
        self.grown += count
        return count

    def _shrink(self, ground: Ground, groups: Sequence[Units], count: int) -> int:
        """Remove the units of the lowest scores, as long as their layer keeps the fewest allowed."""
        scores = unit_scores(ground.network, groups, ground.batches, ground.loss, self.criterion)
        ranked = sorted(
            (float(s), place, i) for place, group in enumerate(groups) for i, s in enumerate(scores[group.name])
        )
        gone: list[list[int]] = [[] for _ in groups]
        for _, place, index in ranked:
            if sum(map(len, gone)) < count and groups[place].count - len(gone[place]) > self.fewest:
                gone[place].append(index)
        for group, indices in zip(groups, gone, strict=True):
            remove(ground.network, group, indices, ground.optimizers)
        fewer = sum(map(len, gone))
        self.removed += fewer
        return -fewer

    def _deepen(self, ground: Ground, inputs: Tensor) -> bool:
        """Insert an identity layer behind a random activation, unless the network would exceed its budget."""
        names = activations(ground.network)
        optimizer = ground.optimizers[0] if ground.optimizers else None
        for place in torch.randperm(len(names), generator=self.generator).tolist():
            try:
                layer = deepen(ground.network, names[place], inputs, optimizer=optimizer)
            except ValueError:  # called twice, or not of a shape that a layer can follow
                continue
            if self.budget.side(self.budget.measure(ground.network, inputs)) >= 0:
                self.inserted.append(layer)
                return True
            take_out(ground.network, layer, optimizer)
        return False
