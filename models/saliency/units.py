"""Saliency of units (neurons or channels): scores of the loss change on removal, larger for more important units.

A unit is removed where it is read: the inputs that other layers take from it become zero.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.errors import ArgumentError, choose
from kirigami.models.saliency.gates import Closed, Gates
from kirigami.models.saliency.probe import Loss, gradients, product, signs, untouched
from kirigami.models.saliency.settings import Settings
from kirigami.models.saliency.zeros import zeros
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
        network: in any mode; the network, its gradients and the random state are not changed.
        units: from `kirigami.models.structure.units`.
        batches: the scores are averaged over them; weight norm and random read none.
        loss: maps a batch to the network's scalar loss, the mean over its rows, with a graph.
        criterion: a name in `CRITERIA`.
        closed: booleans by name, true for units already removed; the score of a removed unit is meaningless.
        settings: see `Settings`; only `probes`, `training` and `seed` are read.

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
        scores = CRITERIA[criterion](gates, batches, loss, chosen)
        return {name: score.detach() for name, score in scores.items()}


def norm(gates: Gates, _: Sequence[Any], __: Loss, ___: Settings) -> Scores:
    """Return the Euclidean norm of a unit's incoming weights, without biases (Li et al., ICLR 2017, with L2)."""
    norms = {}
    for group in gates.units:
        total = torch.zeros(group.count)
        for axis in group.of("out"):
            weight = gates.network.get_submodule(axis.module).weight.detach().float()
            squares = weight.transpose(0, axis.tensors["weight"]).flatten(1).square().sum(1).cpu()
            total.index_add_(0, axis.unit, squares[axis.index])
        norms[group.name] = total.sqrt()
    return norms


def apoz(gates: Gates, batches: Sequence[Any], loss: Loss, _: Settings) -> Scores:
    """Return 1 less the average percentage of zeros after the activation (Hu et al., 2016), as a share."""
    return {name: 1 - share for name, share in zeros(gates, batches, loss).items()}


def taylor1(gates: Gates, batches: Sequence[Any], loss: Loss, _: Settings) -> Scores:
    """Return |g O|: O g summed over positions, absolute values summed over rows (Molchanov et al., ICLR 2017)."""
    return _sums(gates, batches, loss, lambda grads, _: [grad.abs() for grad in grads])


def taylor2(gates: Gates, batches: Sequence[Any], loss: Loss, settings: Settings) -> Scores:
    """Return ΔE = -O g + O h O / 2, signed, summed over rows: the loss's expansion to second order.

    O h O is the whole quadratic form of a row over a unit's positions, from Hutchinson's estimator on the true Hessian
    with signs for each row and unit; no minimum is assumed, and the noise averages over rows.
    """
    generator = torch.Generator().manual_seed(settings.seed)

    def expansion(grads: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
        total = [-grad.detach() for grad in grads]
        for _ in range(settings.probes):
            vectors = [signs(leaf, generator) for leaf in leaves]
            for row, vector, part in zip(total, vectors, product(grads, vectors, leaves), strict=True):
                row += 0.5 * vector * part / settings.probes
        return total

    return _sums(gates, batches, loss, expansion)


def oracle(gates: Gates, batches: Sequence[Any], loss: Loss, _: Settings) -> Scores:
    """Return the loss increase on removing each unit, by brute force."""
    with torch.no_grad():
        base = mean_loss(batches, loss)
        scores = {}
        for group in gates.units:
            closed = gates.closed[group.name]
            rises = torch.zeros(group.count)
            for unit in (~closed).nonzero().flatten().tolist():
                closed[unit] = True
                rises[unit] = mean_loss(batches, loss) - base
                closed[unit] = False
            scores[group.name] = rises
    return scores


def random(gates: Gates, _: Sequence[Any], __: Loss, settings: Settings) -> Scores:
    """Draw scores from [0, 1): the control."""
    generator = torch.Generator().manual_seed(settings.seed)
    return {group.name: torch.rand(group.count, generator=generator) for group in gates.units}


def mean_loss(batches: Sequence[Any], loss: Loss) -> float:
    """Return the loss averaged over the batches."""
    return sum(float(loss(batch)) for batch in batches) / len(batches)


def _sums(
    gates: Gates,
    batches: Sequence[Any],
    loss: Loss,
    terms: Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]],
) -> Scores:
    """Return a function of the gates' gradients and the gates, summed over rows, averaged over batches."""
    sums = {group.name: torch.zeros(group.count) for group in gates.units}
    for batch in batches:
        gates.listen()
        value = loss(batch)
        keys, leaves = list(gates.leaves), list(gates.leaves.values())
        for (name, _), term in zip(keys, terms(gradients(value, leaves, graph=True), leaves), strict=True):
            sums[name] += term.detach().sum(0).float().cpu() / len(batches)
    gates.listening = False
    gates.leaves.clear()
    return sums


CRITERIA: dict[str, Callable[[Gates, Sequence[Any], Loss, Settings], Scores]] = {
    "norm": norm,
    "apoz": apoz,
    "taylor1": taylor1,
    "taylor2": taylor2,
    "oracle": oracle,
    "random": random,
}
