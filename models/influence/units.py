"""What removing a unit, a neuron or a channel, does to the loss: a score for each, the larger the more it is worth.

A unit is removed where it is read: the inputs that other layers take from it become zero, whatever stands between.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.errors import ArgumentError, choose
from kirigami.models.influence.gates import Closed, Gates
from kirigami.models.influence.probe import Loss, gradients, product, signs, untouched
from kirigami.models.influence.settings import Settings
from kirigami.models.influence.zeros import zeros
from kirigami.models.structure import Units

Scores = dict[str, Tensor]


def unit_scores(
    network: nn.Module,
    units: Sequence[Units],
    batches: Sequence[Any],
    loss: Loss,
    criterion: str = "taylor2",
    closed: Closed | None = None,
    **settings: Any,
) -> Scores:
    """Score every unit by what its removal does to the loss.

    Args:
        network: in any mode; it, its gradients and the random state are left as they were.
        units: from `kirigami.models.structure.units`.
        batches: the scores are averaged over them; weight norm and random look at none.
        loss: maps a batch to the network's scalar loss, the mean over its rows, with a graph.
        criterion: a name in `CRITERIA`.
        closed: what counts as removed already: booleans by name; a removed unit's score means nothing.
        settings: see `Settings`; `probes`, `training` and `seed` count.

    Returns:
        (count,) for the name of each set of units. Taylor expansions and the oracle are in units of the loss.

    Raises:
        ValueError: where the criterion or a setting is unknown, or a setting is out of its range.
    """
    choose("criterion", criterion, CRITERIA)
    chosen = Settings(**settings)
    if not batches and criterion not in ("norm", "random"):
        raise ArgumentError("batches", f"must hold at least 1 batch for {criterion}, but got 0. Give it rows.")
    gates = Gates(network, units, closed)
    with untouched(network, chosen.training), gates.placed():
        found = CRITERIA[criterion](gates, batches, loss, chosen)
        return {name: score.detach() for name, score in found.items()}


def norm(gates: Gates, _: Sequence[Any], __: Loss, ___: Settings) -> Scores:
    """Return the Euclidean norm of the weights that make a unit, without biases (Li et al., ICLR 2017, with L2)."""
    found = {}
    for one in gates.units:
        total = torch.zeros(one.count)
        for axis in one.of("out"):
            weight = gates.network.get_submodule(axis.module).weight.detach().float()
            squares = weight.transpose(0, axis.tensors["weight"]).flatten(1).square().sum(1).cpu()
            total.index_add_(0, axis.unit, squares[axis.index])
        found[one.name] = total.sqrt()
    return found


def apoz(gates: Gates, batches: Sequence[Any], loss: Loss, _: Settings) -> Scores:
    """Return 1 less the average percentage of zeros after the activation (Hu et al., 2016), as a share."""
    return {name: 1 - share for name, share in zeros(gates, batches, loss).items()}


def taylor1(gates: Gates, batches: Sequence[Any], loss: Loss, _: Settings) -> Scores:
    """Return |g O|, O g summed over a unit's places, its size summed over rows (Molchanov et al., ICLR 2017)."""
    return _sums(gates, batches, loss, lambda grads, _: [grad.abs() for grad in grads])


def taylor2(gates: Gates, batches: Sequence[Any], loss: Loss, settings: Settings) -> Scores:
    """Return ΔE = -O g + O h O / 2, signed, summed over rows: the loss's expansion to second order.

    O h O is each row's whole quadratic form over a unit's places, by Hutchinson's estimator on the true Hessian with
    signs for each row and unit; so it needs no assumption of a minimum, and the noise averages over rows.
    """
    generator = torch.Generator().manual_seed(settings.seed)

    def expansion(grads: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
        total = [-grad.detach() for grad in grads]
        for _ in range(settings.probes):
            vectors = [signs(leaf, generator) for leaf in leaves]
            for one, vector, part in zip(total, vectors, product(grads, vectors, leaves), strict=True):
                one += 0.5 * vector * part / settings.probes
        return total

    return _sums(gates, batches, loss, expansion)


def oracle(gates: Gates, batches: Sequence[Any], loss: Loss, _: Settings) -> Scores:
    """Return how much the loss rises when a unit is removed, by removing it: brute force."""
    with torch.no_grad():
        base = mean_loss(batches, loss)
        found = {}
        for one in gates.units:
            closed = gates.closed[one.name]
            rises = torch.zeros(one.count)
            for unit in (~closed).nonzero().flatten().tolist():
                closed[unit] = True
                rises[unit] = mean_loss(batches, loss) - base
                closed[unit] = False
            found[one.name] = rises
    return found


def random(gates: Gates, _: Sequence[Any], __: Loss, settings: Settings) -> Scores:
    """Draw scores from [0, 1): the control."""
    generator = torch.Generator().manual_seed(settings.seed)
    return {one.name: torch.rand(one.count, generator=generator) for one in gates.units}


def mean_loss(batches: Sequence[Any], loss: Loss) -> float:
    """Return the loss averaged over the batches."""
    return sum(float(loss(batch)) for batch in batches) / len(batches)


def _sums(
    gates: Gates,
    batches: Sequence[Any],
    loss: Loss,
    terms: Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]],
) -> Scores:
    """Return what a function of the gates' gradients and the gates gives, summed over rows, averaged over batches."""
    found = {one.name: torch.zeros(one.count) for one in gates.units}
    for batch in batches:
        gates.listen()
        value = loss(batch)
        keys, leaves = list(gates.leaves), list(gates.leaves.values())
        for (name, _), term in zip(keys, terms(gradients(value, leaves, graph=True), leaves), strict=True):
            found[name] += term.detach().sum(0).float().cpu() / len(batches)
    gates.listening = False
    gates.leaves.clear()
    return found


CRITERIA: dict[str, Callable[[Gates, Sequence[Any], Loss, Settings], Scores]] = {
    "norm": norm,
    "apoz": apoz,
    "taylor1": taylor1,
    "taylor2": taylor2,
    "oracle": oracle,
    "random": random,
}
