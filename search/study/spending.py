"""The rest of a study's budgets of seconds and money, and the time at which the running trials will exhaust it.

The spending is the device seconds of ended trials, interrupted attempts included, and those of running trials since
`ask`. Each worker divides the rest by the spending of all workers per second, and reads the store again long before
that time: others may have begun or ended a trial.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from math import inf
from typing import Any, NamedTuple

import optuna

from kirigami.search.study.charges import Charge, charges
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import GivenUp, write
from kirigami.spaces import Budget

REFRESH_SECONDS = 2.0
FIRST_SECONDS = 0.25
LEAST_SECONDS = 0.05


class Left(NamedTuple):
    """Seconds until a budget is met if the running trials go on, and the budget that is met first."""

    seconds: float
    budget: str


def left(budget: Budget, ledger: Ledger, now: datetime | None = None) -> Left:
    """Return how long the running trials may go on; infinity without a budget of seconds or money.

    If no trial runs, it is the time for one trial on one device.
    """
    ends = [Left(inf, "")]
    if budget.wall_s is not None:
        ends.append(Left(budget.wall_s - ledger.wall_seconds(now), f"budget.wall_s={budget.wall_s:g}"))
    if budget.device_s is None and budget.money is None:
        return min(ends)
    running = charges(ledger, now)
    devices = sum(charge.devices for charge in running) or 1
    if budget.device_s is not None:
        spent = ledger.device_seconds() + sum(charge.seconds * charge.devices for charge in running)
        ends.append(Left((budget.device_s - spent) / devices, f"budget.device_s={budget.device_s:g}"))
    if budget.money is not None:
        rest = budget.money - _paid(budget, ledger, running)
        hourly = sum(charge.devices * _price(budget, charge) for charge in running) or budget.per_device_hour
        name = f"budget.money={budget.money:g} {budget.currency}"
        ends.append(Left(rest / hourly * 3600 if hourly else inf, name))
    return min(ends)


def _paid(budget: Budget, ledger: Ledger, running: Sequence[Charge]) -> float:
    """Return the money spent, on running trials too."""
    going = sum(charge.seconds * charge.devices * _price(budget, charge) for charge in running) / 3600
    return (ledger.money(budget.per_device_hour) or 0.0) + going


def _price(budget: Budget, running: Charge) -> float:
    return running.price if running.price is not None else budget.per_device_hour or 0.0


def ended_by(budget: Budget, ledger: Ledger) -> str | None:
    """Return the budget of seconds or money of which nothing is left, as `budget.device_s=60`."""
    rest = left(budget, ledger)
    return rest.budget if rest.seconds <= 0 else None


def shares(budget: Budget, ledger: Ledger) -> list[str]:
    """Return `12/60 device s` and `0.50/2 USD`, of the budgets that are set, running trials included."""
    lines, running = [], charges(ledger)
    if budget.device_s is not None:
        spent = ledger.device_seconds() + sum(charge.seconds * charge.devices for charge in running)
        lines.append(f"{spent:.0f}/{budget.device_s:g} device s")
    if budget.money is not None:
        lines.append(f"{_paid(budget, ledger, running):.2f}/{budget.money:g} {budget.currency}")
    return lines


class Deadline:
    """When the trial of this worker has to end; looked at in every step, with the local clock alone.

    What is left is read from the store again after a quarter of it, and at least every two seconds; more often in a
    trial's first seconds, when other workers are likely to begin too; and until so little is left that another look
    would not be over in time. So what is spent is over the budget by no more than a step of each worker, or the time
    until its first step, unless others begin trials so fast that the devices in use become more than four times as
    many within that quarter.

    Args:
        read: returns what is left, from the store.
        first: what was left just now.
    """

    def __init__(self, read: Callable[[], Left], first: Left, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._began = clock()
        self._due = self._began
        self._last: str | None = None
        self._look_again(self._began, first)

    def met(self) -> str | None:
        """Return the budget that is met, None before that."""
        if self._clock() < self._due:
            return None
        now = self._clock()
        if self._last is not None:
            return self._last
        rest = self._read()
        took = self._clock() - now
        if rest.seconds <= 0:
            return rest.budget
        self._look_again(now + took, rest)
        if rest.seconds <= max(LEAST_SECONDS, 2 * took):  # another look would not be over in time
            self._due, self._last = now + took + rest.seconds, rest.budget
        return None

    def _look_again(self, now: float, rest: Left) -> None:
        pause = min(REFRESH_SECONDS, max(LEAST_SECONDS, rest.seconds / 4), max(FIRST_SECONDS, now - self._began))
        self._due = now + min(rest.seconds, pause)


def spent(seconds: float, details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recorded cost of a trial: its seconds, devices and device seconds.

    Args:
        seconds: from asking for it to its end; of trials that run at once, its share of them.
        details: of the runner; where it knows the device seconds better, it has the last word.
    """
    devices = int(details.get("devices", 1))
    return {
        "wall_s": round(seconds, 4),
        "devices": devices,
        "device_s": round(float(details.get("device_s", seconds * devices)), 4),
    }


def note_lost(trial: optuna.Trial, seconds: float) -> None:
    """Record with an abandoned trial its cost so far, in seconds."""
    with suppress(optuna.exceptions.UpdateFinishedTrialError):  # taken for dead: whoever did so has noted it
        write(GivenUp(lost_s=round(seconds, 4)), trial.set_user_attr)
