"""Reading a study's trials: which count towards its budget, which were interrupted, what they have spent.

Optuna knows FAIL only. What a failed record means is told by the `outcome` that a worker writes before it tells:

- failed: the trial raised; it counts, and its reason is kept;
- infeasible: known to be over the budget before it was trained (Optuna's state is PRUNED); it counts;
- surplus: asked by two workers at the same moment beyond the budget, and handed back untrained;
- interrupted: its worker died before it told. It does not count: a retry with the same parameters stands for it.

A finished trial never changes, so a study has one ledger that reads each of them once (`read`): what one more trial
costs does not grow with the study. Workers on several machines sign their trials with how far the database's clock is
ahead of their own; all times here are the database's.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from kirigami.search.study.spans import Spans

STATES = ("complete", "pruned", "failed", "infeasible", "running", "waiting", "interrupted", "surplus")

ENDED = ("complete", "pruned", "failed", "infeasible")


def state_of(trial: FrozenTrial) -> str:
    """Return the trial's state in our words (see the module's text)."""
    recorded = trial.user_attrs.get("outcome", {}).get("state")
    if trial.state is TrialState.FAIL:
        return str(recorded) if recorded in ("failed", "surplus") else "interrupted"
    if trial.state is TrialState.PRUNED and recorded == "infeasible":
        return "infeasible"
    return {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }[trial.state]


class Charge(NamedTuple):
    """What a running trial has spent so far: seconds since it was asked for, on so many devices, at a price an hour."""

    seconds: float
    devices: int
    price: float | None


class Ledger:
    """The trials of a study by state; `counted` is what the budget of trials is compared with.

    Args:
        trials: all trials of a study, in the order of their numbers.
        clock: seconds by which the database's clock is ahead of this machine's.
    """

    def __init__(self, trials: Sequence[FrozenTrial] = (), clock: float = 0.0) -> None:
        self.trials: Sequence[FrozenTrial] = ()
        self.by_state: dict[str, list[FrozenTrial]] = {state: [] for state in STATES}
        self.settled: list[FrozenTrial] = []  # the finished ones, as they were found to be
        self.clock = clock
        self._open: list[int] = []
        self._retries: dict[int, list[int]] = {}
        self._orphans: dict[int, FrozenTrial] = {}
        self._repeats: list[int] = []
        self._ranked: dict[int, tuple[int, list[FrozenTrial]]] = {}
        self._ended: list[tuple[datetime, int]] = []
        self._spans = Spans()
        self.energy_j: float | None = None
        self.price: float | None = None
        self.currency: str | None = None
        self._device_s = 0.0
        self._unpriced_s = 0.0
        self._money = 0.0
        self.update(trials)

    def update(self, trials: Sequence[FrozenTrial]) -> "Ledger":
        """Take in the trials as they are now: those that had finished are not looked at again."""
        changed = [*self._open, *range(len(self.trials), len(trials))]
        known, self.trials, self._open = len(self.trials), trials, []
        self.by_state["running"], self.by_state["waiting"] = [], []
        for index in changed:
            trial = trials[index]
            if index >= known and "retry_of" in trial.user_attrs:
                self._retries.setdefault(trial.user_attrs["retry_of"], []).append(trial.number)
                self._orphans.pop(trial.user_attrs["retry_of"], None)
                insort(self._repeats, trial.number)
            if trial.state.is_finished():
                self._settle(trial)
            else:
                self._open.append(index)
                self.by_state[state_of(trial)].append(trial)
        return self

    def _settle(self, trial: FrozenTrial) -> None:
        """Enter a trial that has finished."""
        state = state_of(trial)
        insort(self.by_state.setdefault(state, []), trial, key=_number)
        self.settled.append(trial)
        if state == "interrupted" and trial.number not in self._retries:
            self._orphans[trial.number] = trial
        if state == "surplus" and "retry_of" not in trial.user_attrs:
            insort(self._repeats, trial.number)
        start, stop = started(trial), completed(trial)
        if state in ENDED and stop is not None:
            insort(self._ended, (stop, trial.number))
            if start is not None:
                self._spans.add(start, stop)
        spent, price = device_seconds_of(trial), price_of(trial)
        self._device_s += spent
        self._unpriced_s += spent if price is None else 0.0
        self._money += spent * (price or 0.0) / 3600
        if price is not None:
            self.price, self.currency = price, currency_of(trial)
        if (joules := outcome_of(trial).get("energy_j")) is not None:
            self.energy_j = (self.energy_j or 0.0) + float(joules)

    def count(self, *states: str) -> int:
        """Return how many trials are in any of the states."""
        return sum(len(self.by_state[state]) for state in states)

    @property
    def finished(self) -> int:
        return self.count(*ENDED)

    @property
    def open(self) -> int:
        return self.count("running", "waiting")

    @property
    def counted(self) -> int:
        return self.finished + self.open

    def has(self, number: int, state: str) -> bool:
        """Return whether the trial is known to be in a state."""
        return any(trial.number == number for trial in self.by_state[state])

    def unretried(self) -> list[FrozenTrial]:
        """Return interrupted trials that no other trial stands for: their worker died between two writes."""
        return sorted(self._orphans.values(), key=_number)

    def is_surplus(self, number: int, budget: int | None) -> bool:
        """Return whether a freshly asked trial must be handed back.

        Every worker asks without a lock; numbers are unique in the store, so all of them agree on who came too late:
        the trial with `budget` counted trials before it, or the second retry of one interrupted trial.
        """
        before = bisect_left(self.trials, number, key=_number)
        retry_of = self.trials[before].user_attrs.get("retry_of")
        others = self._retries.get(retry_of, ()) if retry_of is not None else ()
        surplus = self.by_state["surplus"]
        if any(other < number and not _holds(surplus, other) for other in others):
            return True
        uncounted = sum(bisect_left(self.by_state[state], number, key=_number) for state in ("interrupted", "surplus"))
        return budget is not None and before - uncounted >= budget

    def place(self, trial: FrozenTrial) -> int:
        """Return which trial of the search it is: its number, had no worker died and none come too late."""
        while (original := trial.user_attrs.get("retry_of")) is not None:
            trial = self.trials[bisect_left(self.trials, original, key=_number)]
        return trial.number - bisect_left(self._repeats, trial.number)

    def ranked(self, sign: int) -> list[FrozenTrial]:
        """Return the complete trials within the budget's limits, best first.

        Args:
            sign: 1 where a smaller first objective is better, -1 where a larger one is. Of equals the smallest file
                is the best, then the first.
        """
        seen, ranked = self._ranked.get(sign, (0, []))
        for trial in self.settled[seen:]:
            if trial.state is TrialState.COMPLETE and is_feasible(trial):
                insort(ranked, trial, key=lambda one: rank(one, sign))
        self._ranked[sign] = len(self.settled), ranked
        return ranked

    def last_ended(self, count: int, since: datetime) -> list[FrozenTrial]:
        """Return the last trials that ended after a moment (of the database's clock), at most so many, latest last."""
        latest = [number for stop, number in self._ended[-count:] if stop >= since]
        return [self.trials[bisect_left(self.trials, number, key=_number)] for number in latest]

    def now(self) -> datetime:
        """Return the database's time."""
        return datetime.now() + timedelta(seconds=self.clock)

    def wall_seconds(self, now: datetime | None = None) -> float:
        """Return the seconds in which at least one trial ran: the union of their intervals, over all workers."""
        now = now or self.now()
        starts = [start for trial in self.by_state["running"] if (start := started(trial)) is not None]
        begin = min([*starts, now])
        return self._spans.total + (now - begin).total_seconds() - self._spans.covered(begin, now)

    def device_seconds(self) -> float:
        """Return the seconds of devices spent on trials that are over, the interrupted ones among them."""
        return self._device_s

    def money(self, price: float | None = None) -> float | None:
        """Return what these device seconds cost, each at the price its worker had; None where no price was ever set.

        Args:
            price: of a device for an hour, for trials of a time when none was set; by default the latest.
        """
        price = self.price if price is None else price
        return None if price is None else self._money + self._unpriced_s * price / 3600

    def charges(self, now: datetime | None = None) -> list[Charge]:
        """Return what the running trials have spent so far: one entry a worker, whose trials of a batch share it."""
        now = now or self.now()
        found: dict[Any, Charge] = {}
        for trial in self.by_state["running"]:
            start, worker = started(trial), trial.user_attrs.get("worker")
            key = tuple(worker.get(part) for part in ("machine", "pid", "started")) if worker else trial.number
            seconds = 0.0 if start is None else max(0.0, (now - start).total_seconds())
            if key not in found or found[key].seconds < seconds:
                found[key] = Charge(seconds, devices_of(trial), price_of(trial))
        return list(found.values())


_LEDGERS: "WeakKeyDictionary[Study, Ledger]" = WeakKeyDictionary()


def known(study: Study) -> Ledger:
    """Return the study's ledger as it was when it was last read."""
    return _LEDGERS.setdefault(study, Ledger())


def read(study: Study) -> Ledger:
    """Return the study's ledger after taking in what is new in the store."""
    return known(study).update(study.get_trials(deepcopy=False))


def place(study: Study, trial: FrozenTrial) -> int:
    """Return which trial of the search it is: its number, had no worker died and none come too late.

    Samplers are seeded by it, so that a study that was killed and resumed draws what an undisturbed one draws.
    """
    return read(study).place(trial)


def is_feasible(trial: FrozenTrial) -> bool:
    """Return whether the trial keeps to every limit of the budget."""
    return all(value <= 0 for value in trial.constraints.values())


def rank(trial: FrozenTrial, sign: int) -> tuple[float, float, int]:
    """Return by what complete trials are ordered, best first (see `Ledger.ranked`)."""
    return sign * trial.values[0], outcome_of(trial).get("bytes", float("inf")), trial.number


def outcome_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return what the worker recorded at the trial's end: state, reason, metrics, curve, seconds."""
    return dict(trial.user_attrs.get("outcome", {}))


def device_seconds_of(trial: FrozenTrial) -> float:
    """Return the seconds a finished trial held devices, summed over them.

    Of an interrupted one they last until its worker was last heard of (`lost_s`, in seconds of its worker); where
    nobody noted that, they are 0.
    """
    outcome = trial.user_attrs.get("outcome", {})
    if "device_s" in outcome:
        return float(outcome["device_s"])
    return float(trial.user_attrs.get("lost_s", 0.0)) * devices_of(trial)


def devices_of(trial: FrozenTrial) -> int:
    """Return on how many devices a trial runs or ran."""
    recorded = trial.user_attrs.get("outcome", {}).get("devices")
    asked = _config(trial, "trainer").get("devices")
    return next((one for one in (recorded, asked) if isinstance(one, int) and one > 0), 1)


def price_of(trial: FrozenTrial) -> float | None:
    """Return what its worker paid for an hour of a device; None where no price was set."""
    price: float | None = _config(trial, "cost").get("per_device_hour")
    return price


def currency_of(trial: FrozenTrial) -> str | None:
    """Return the currency of the trial's price."""
    currency: str | None = _config(trial, "cost").get("currency")
    return currency


def started(trial: FrozenTrial) -> datetime | None:
    """Return when the trial began, by the database's clock."""
    return _by_the_database(trial, trial.datetime_start)


def completed(trial: FrozenTrial) -> datetime | None:
    """Return when the trial ended, by the database's clock."""
    return _by_the_database(trial, trial.datetime_complete)


def _by_the_database(trial: FrozenTrial, moment: datetime | None) -> datetime | None:
    ahead = (trial.user_attrs.get("worker") or {}).get("clock", 0.0)
    return moment + timedelta(seconds=ahead) if moment is not None and ahead else moment


def _config(trial: FrozenTrial, group: str) -> dict[str, Any]:
    part = trial.user_attrs.get("origin", {}).get("config", {}).get(group)
    return part if isinstance(part, dict) else {}


def _number(trial: FrozenTrial) -> int:
    return trial.number


def _holds(trials: Sequence[FrozenTrial], number: int) -> bool:
    """Return whether a trial is in a list that is in the order of numbers."""
    index = bisect_right(trials, number, key=_number)
    return index > 0 and trials[index - 1].number == number
