"""How many units can go before the network gets worse: greedy removal, ranked anew after each one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.models.arguments import within
from kirigami.models.influence.gates import Gates
from kirigami.models.influence.probe import Loss, untouched
from kirigami.models.influence.units import unit_scores
from kirigami.models.structure import Units

Quality = Callable[[], float]
"""Measures the network as it stands on rows of the caller's choice, larger is better, such as accuracy."""


@dataclass
class Removal:
    """What can go.

    Attributes:
        order: (name of the set, index of the unit), first removed first.
        quality: before the first removal and after each.
        rankings: how many times the units were scored, by criterion.
    """

    order: list[tuple[str, int]] = field(default_factory=list)
    quality: list[float] = field(default_factory=list)
    rankings: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Count the units that can go."""
        return len(self.order)

    def indices(self, name: str) -> list[int]:
        """Return which units of a set can go, as `kirigami.models.structure.remove` takes them."""
        return sorted(index for found, index in self.order if found == name)


def removable(
    network: nn.Module,
    units: Sequence[Units],
    batches: Sequence[Any],
    loss: Loss,
    quality: Quality,
    criterion: str = "taylor2",
    *,
    tolerance: float = 0.01,
    finish: str | None = None,
    retreat: float = 0.25,
    **settings: Any,
) -> Removal:
    """Remove the unit with the lowest score, score the others anew, and stop before the quality falls too far.

    With `finish` this is a blend: when the cheap criterion can go no further, its last removals are taken back, and
    the expensive criterion goes on from there. Nothing is removed from the network itself: units are gated off.

    Args:
        network: is left as it was.
        units: from `kirigami.models.structure.units`; one of each set stays.
        batches: for the scores.
        loss: see `unit_scores`.
        quality: is measured after each removal, in evaluation mode.
        criterion: see `unit_scores`.
        tolerance: by how much the quality may fall.
        finish: the expensive criterion near the cut.
        retreat: share of the cheap criterion's removals to take back before `finish`.
        settings: see `Settings`.

    Raises:
        ValueError: where an argument is out of its range.
    """
    within("retreat", retreat, 0, 1 + 1e-9)
    gates = Gates(network, units)
    with untouched(network), torch.no_grad(), gates.placed():
        found = Removal(quality=[quality()])
    floor = found.quality[0] - tolerance - 1e-9
    _greedy(gates, batches, loss, quality, criterion, floor, found, settings)
    if finish is not None:
        for _ in range(round(retreat * found.count)):
            name, index = found.order.pop()
            found.quality.pop()
            gates.closed[name][index] = False
        _greedy(gates, batches, loss, quality, finish, floor, found, settings)
    return found


def _greedy(
    gates: Gates,
    batches: Sequence[Any],
    loss: Loss,
    quality: Quality,
    criterion: str,
    floor: float,
    found: Removal,
    settings: dict[str, Any],
) -> None:
    """Go on with the removal until the quality would fall below the floor."""
    while any(_open(gates, one) for one in gates.units):
        scores = unit_scores(gates.network, gates.units, batches, loss, criterion, gates.closed, **settings)
        found.rankings[criterion] = found.rankings.get(criterion, 0) + 1
        name, index = _lowest(gates, scores)
        gates.closed[name][index] = True
        with untouched(gates.network), torch.no_grad(), gates.placed():
            value = quality()
        if value < floor:
            gates.closed[name][index] = False
            return
        found.order.append((name, index))
        found.quality.append(value)


def _open(gates: Gates, units: Units) -> bool:
    """Tell whether one more unit of a set may go."""
    return int((~gates.closed[units.name]).sum()) > 1


def _lowest(gates: Gates, scores: dict[str, Tensor]) -> tuple[str, int]:
    """Return the unit with the lowest score of those that may go."""
    found: list[tuple[float, str, int]] = []
    for one in gates.units:
        if _open(gates, one):
            score = torch.where(gates.closed[one.name], torch.inf, scores[one.name])
            found.append((float(score.min()), one.name, int(score.argmin())))
    _, name, index = min(found)
    return name, index
