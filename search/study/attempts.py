"""What one attempt at a trial has cost, and when it ran: read without the rest of its record."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from optuna.trial import FrozenTrial

from kirigami.search.study.record import GivenUp, Origin, Worker, stored_result


def device_seconds_of(trial: FrozenTrial) -> float:
    """Return the seconds a finished trial held devices, summed over them.

    Of an interrupted one they last until its worker was last heard of (`lost_s`, in seconds of its worker); where
    nobody noted that, they are 0.
    """
    stored = stored_result(trial)
    if "device_s" in stored:
        return float(stored["device_s"])
    return (GivenUp.from_attrs(trial.user_attrs).lost_s or 0.0) * devices_of(trial)


def devices_of(trial: FrozenTrial) -> int:
    """Return on how many devices a trial runs or ran."""
    devices = stored_result(trial).get("devices"), _group(trial, "trainer").get("devices")
    return next((count for count in devices if isinstance(count, int) and count > 0), 1)


def price_of(trial: FrozenTrial) -> float | None:
    """Return its worker's price of a device hour; None where no price was set."""
    price: float | None = _group(trial, "cost").get("per_device_hour")
    return price


def currency_of(trial: FrozenTrial) -> str | None:
    """Return the currency of the trial's price."""
    currency: str | None = _group(trial, "cost").get("currency")
    return currency


def started(trial: FrozenTrial) -> datetime | None:
    """Return when the trial began, by the database's clock."""
    return _by_the_database(trial, trial.datetime_start)


def completed(trial: FrozenTrial) -> datetime | None:
    """Return when the trial ended, by the database's clock."""
    return _by_the_database(trial, trial.datetime_complete)


def _by_the_database(trial: FrozenTrial, moment: datetime | None) -> datetime | None:
    worker = Worker.from_attrs(trial.user_attrs)
    if moment is None or worker is None or not worker.clock:
        return moment
    return moment + timedelta(seconds=worker.clock)


def _group(trial: FrozenTrial, name: str) -> Mapping[str, Any]:
    origin = Origin.from_attrs(trial.user_attrs)
    return {} if origin is None else origin.group(name)
