"""Learning-rate schedules, one step an optimiser step; lengths are shares of the run, so that they scale with it."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kirigami.arguments import at_least, within
from kirigami.errors import ArgumentError


class Curve(LRScheduler):
    """Sets each group's learning rate, and optionally its momentum, as a function of the step.

    Args:
        optimizer: Its present rates and momenta are the base of the functions.
        rate: Factor of the learning rate at a step, from 0.
        momentum: Amount subtracted from the momentum (the first beta of Adam) at a step; none if null.
    """

    last_epoch: int

    def __init__(
        self, optimizer: Optimizer, rate: Callable[[int], float], momentum: Callable[[int], float] | None = None
    ) -> None:
        self.rate = rate
        self.momentum = momentum
        self.base_momenta = [_momentum(group) for group in optimizer.param_groups]
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """Return each group's rate at this step."""
        factor = self.rate(self.last_epoch)
        return [base * factor for base in self.base_lrs]

    def step(self, epoch: int | None = None) -> None:
        """Advance by one step; past the planned steps the functions stay at their last value."""
        # The parent's checks and copies cost as much as a small network's forward pass.
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._last_lr = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = lr
        if self.momentum is not None:
            self._set_momenta(self.momentum(self.last_epoch))

    def state_dict(self) -> dict[str, Any]:
        """Return the step and its rates, as plain values."""
        return {key: getattr(self, key) for key in ("last_epoch", "base_lrs", "base_momenta", "_last_lr")}

    def _set_momenta(self, off: float) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_momenta, strict=True):
            momentum = max(0.0, base - off)
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            elif base:
                group["momentum"] = momentum


def constant(optimizer: Optimizer, total_steps: int, *, warmup: float = 0.0) -> LRScheduler:
    """Keep the rate, after a linear warm-up over a share of the run; or else at `every` so many epochs."""
    rise = _rise(warmup, total_steps)
    return Curve(optimizer, lambda now: min(1.0, (now + 1) / rise))


def cosine(optimizer: Optimizer, total_steps: int, *, warmup: float = 0.0, final: float = 0.0) -> LRScheduler:
    """Fall along half a cosine to a share `final` of the rate (Loshchilov & Hutter, ICLR 2017), after a warm-up."""
    rise = _rise(warmup, total_steps)
    within("final", final, 0, 1)
    fall = max(1, total_steps - rise)
    return Curve(optimizer, lambda now: min((now + 1) / rise, _anneal(1.0, final, (now + 1 - rise) / (fall + 1))))


def step(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    *,
    milestones: Sequence[float] = (0.3, 0.6, 0.8),
    every: int | None = None,
    factor: float = 0.2,
    warmup: float = 0.0,
) -> LRScheduler:
    """Multiply the rate by `factor` at each milestone, a share of the run; or else at `every` so many epochs."""
    rise = _rise(warmup, total_steps)
    within("factor", factor, 0, 1)
    marks = [round(share * total_steps) for share in _shares(milestones)]
    if every is not None:
        at_least("every", every, 1)
        marks = list(range(every * steps_per_epoch, total_steps, every * steps_per_epoch))
    return Curve(optimizer, lambda now: min(1.0, (now + 1) / rise) * factor ** sum(now >= mark for mark in marks))


def onecycle(
    optimizer: Optimizer,
    total_steps: int,
    *,
    rise: float = 0.3,
    start: float = 0.04,
    final: float = 4e-6,
    swing: float = 0.1,
) -> LRScheduler:
    """Rise from a share `start` of the rate to all of it, and fall to a share `final` (Smith & Topin, 2019).

    The rise takes a share `rise` of the run. Meanwhile the momentum, where the optimiser has one, falls by `swing`
    and comes back. With momentum 0.95 this is `torch.optim.lr_scheduler.OneCycleLR` at its defaults.
    """
    for name, share in {"rise": rise, "start": start, "final": final, "swing": swing}.items():
        within(name, share, 0, 1)
    peak = max(0.0, rise * total_steps - 1)
    fall = max(1.0, total_steps - 1 - peak)

    def between(now: int, low: float, high: float, end: float) -> float:
        return _anneal(low, high, now / peak) if now < peak else _anneal(high, end, (now - peak) / fall)

    return Curve(optimizer, lambda now: between(now, start, 1.0, final), lambda now: between(now, 0.0, swing, 0.0))


def _rise(warmup: float, total_steps: int) -> int:
    """Return the steps of a warm-up; the last of them has the full rate."""
    within("warmup", warmup, 0, 1)
    return max(1, round(warmup * total_steps))


def _anneal(start: float, end: float, done: float) -> float:
    """Go from `start` to `end` along half a cosine; `done` is clamped to [0, 1]."""
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, max(0.0, done)))) / 2


def _shares(milestones: Any) -> list[float]:
    if isinstance(milestones, str) or not isinstance(milestones, Sequence):
        raise ArgumentError("milestones", f"must be a list of shares of the run, but got {milestones!r}.")
    for share in milestones:
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ArgumentError("milestones", f"must be shares of the run in [0, 1], but got {share!r}.")
    return list(milestones)


def _momentum(group: Mapping[str, Any]) -> float:
    return group["betas"][0] if "betas" in group else group.get("momentum", 0.0)
