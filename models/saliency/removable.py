"""How many units can be removed before the network gets worse: greedy, with new scores after each removal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.arguments import within
from kirigami.models.saliency.gates import Gates
from kirigami.models.saliency.probe import Loss, untouched
from kirigami.models.saliency.units import unit_scores
from kirigami.models.structure import Units

Quality = Callable[[], float]
"""Measures the network as it stands on rows of the caller's choice, larger is better, such as accuracy."""


@dataclass
class Removal:
    """The units that can be removed.

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
        """Count the units that can be removed."""
        return len(self.order)

    def indices(self, name: str) -> list[int]:
        """Return the indices of the removable units of a set, as `kirigami.models.structure.remove` takes them."""
        return sorted(index for group, index in self.order if group == name)


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
    """Remove the unit with the lowest score, score the others again, and stop before the quality falls too far.

    With `finish`, two criteria are blended: when the cheap criterion can remove no more, its last removals are undone
    and the expensive criterion continues. Nothing is removed from the network itself: units are gated off.

    Args:
        network: is left as it was.
        units: from `kirigami.models.structure.units`; one of each set stays.
        batches: for the scores.
        loss: see `unit_scores`.
        quality: is measured after each removal, in evaluation mode.
        criterion: see `unit_scores`.
        tolerance: by how much the quality may fall.
        finish: the expensive criterion near the cut.
        retreat: share of the cheap criterion's removals to undo before `finish`.
        settings: see `Settings`.

    Raises:
        ValueError: where an argument is out of its range.
    """
    within("retreat", retreat, 0, 1 + 1e-9)
    gates = Gates(network, units)
    with untouched(network), torch.no_grad(), gates.placed():
        removal = Removal(quality=[quality()])
    floor = removal.quality[0] - tolerance - 1e-9
    _greedy(gates, batches, loss, quality, criterion, floor, removal, settings)
    if finish is not None:
        for _ in range(round(retreat * removal.count)):
            name, index = removal.order.pop()
            removal.quality.pop()
            gates.closed[name][index] = False
        _greedy(gates, batches, loss, quality, finish, floor, removal, settings)
    return removal


def _greedy(
    gates: Gates,
    batches: Sequence[Any],
    loss: Loss,
    quality: Quality,
    criterion: str,
    floor: float,
    removal: Removal,
    settings: dict[str, Any],
) -> None:
    """Remove units until the next removal would lower the quality below the floor."""
    while any(_open(gates, group) for group in gates.units):
        scores = unit_scores(gates.network, gates.units, batches, loss, criterion, gates.closed, **settings)
        removal.rankings[criterion] = removal.rankings.get(criterion, 0) + 1
        name, index = _lowest(gates, scores)
        gates.closed[name][index] = True
        with untouched(gates.network), torch.no_grad(), gates.placed():
            value = quality()
        if value < floor:
            gates.closed[name][index] = False
            return
        removal.order.append((name, index))
        removal.quality.append(value)


def _open(gates: Gates, units: Units) -> bool:
    """Tell whether another unit of a set may be removed."""
    return int((~gates.closed[units.name]).sum()) > 1


def _lowest(gates: Gates, scores: dict[str, Tensor]) -> tuple[str, int]:
    """Return the unit with the lowest score among those that may be removed."""
    lowest: list[tuple[float, str, int]] = []
    for group in gates.units:
        if _open(gates, group):
            score = torch.where(gates.closed[group.name], torch.inf, scores[group.name])
            lowest.append((float(score.min()), group.name, int(score.argmin())))
    _, name, index = min(lowest)
    return name, index
