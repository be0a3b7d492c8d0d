"""The phases of block-wise training: which blocks train from which step on, and a schedule that restarts with each."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kirigami.errors import ArgumentError
from kirigami.models.schedules import Curve, build_schedule
from kirigami.targets import KEY


class Phase(NamedTuple):
    """A part of a run.

    Attributes:
        first: the first block that trains.
        last: the last one.
        joint: all blocks are trained together by backpropagation.
        rate: factor of the learning rate.
    """

    first: int
    last: int
    joint: bool = False
    rate: float = 1.0


def lengths(phases: Sequence[Phase], joint: float, total: int, epoch: int) -> list[int]:
    """Return the optimiser steps of each phase: whole epochs, where there are enough of them.

    The joint phase gets its share, at least one epoch; the others are equally long, up to rounding.

    Args:
        phases: in order, a joint one last.
        joint: share of the run.
        total: steps of the run.
        epoch: steps of an epoch.

    Raises:
        ValueError: where there are more phases than steps.
    """
    if total < len(phases):
        raise ValueError(
            f"a run must have at least {len(phases)} steps, the phases of its regime, but has {total}. Train for more "
            "epochs, or with more layers in a block."
        )
    unit = epoch if total // epoch >= len(phases) else 1
    units, alone = total // unit, len(phases) - phases[-1].joint
    last = min(units - alone, max(1, round(joint * units))) if phases[-1].joint else 0
    ends = [round((place + 1) * (units - last) / alone) for place in range(alone)] + ([units] if last else [])
    steps = [unit * (end - begin) for begin, end in zip([0, *ends], ends, strict=False)]
    steps[-1] += total - sum(steps)
    return steps


def phased(
    optimizer: Optimizer, config: Mapping[str, Any], phases: Sequence[Phase], steps: Sequence[int], epoch: int
) -> LRScheduler:
    """Build the schedule of a config over each phase's own steps, times the phase's rate.

    Raises:
        ValueError: as `build_schedule` does, and for a schedule that measures the network instead.
    """
    if config.get(KEY):
        raise ArgumentError(
            KEY,
            f"must be left out for a regime of several phases, over which {config[KEY]} cannot restart. Set "
            "schedule=onecycle.",
        )
    if config.get("name") == "lipschitz":
        raise ArgumentError(
            "name",
            "must be one of (constant, cosine, step, onecycle) for a regime of several phases, but got "
            "'lipschitz', which measures layers that do not train yet.",
            ("name", "onecycle"),
        )
    curves = []
    for length in steps:
        stand_in = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)
        curves.append(build_schedule(stand_in, config, length, epoch))
    begins = [sum(steps[:place]) for place in range(len(steps))]

    def at(now: int) -> int:
        return max(place for place, begin in enumerate(begins) if begin <= now)

    def rate(now: int) -> float:
        place = at(now)
        return phases[place].rate * curves[place].rate(min(now - begins[place], steps[place] - 1))

    def momentum(now: int) -> float:
        place = at(now)
        return curves[place].momentum(min(now - begins[place], steps[place] - 1))

    return Curve(optimizer, rate, momentum if curves[0].momentum is not None else None)
