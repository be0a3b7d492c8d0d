"""Accounting of a study's trials: which count towards its budget, which were interrupted, how much they have spent.

The state of a trial is one of the words of `states`. Ended, running, waiting and paused trials count towards the budget
of trials; an interrupted trial does not, since a retry with the same parameters replaces it.

A finished trial never changes, so a ledger reads each of them once (`read`): the cost of one more trial does not grow
with the study. A worker stores with its trials by how much the database's clock is ahead of its own; all times here are
the database's.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from datetime import datetime, timedelta
from math import inf

from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami.search.study.attempts import completed, currency_of, device_seconds_of, price_of, started
from kirigami.search.study.record import figure_of, retry_of
from kirigami.search.study.spans import Spans
from kirigami.search.study.states import ENDED, STATES, State, state_of

VOID: tuple[State, ...] = ("interrupted", "surplus")


class Ledger:
    """The trials of a study by state; `counted` is the number to compare with the budget of trials.

    Args:
        trials: all trials of a study, in the order of their numbers.
        clock: seconds by which the database's clock is ahead of this machine's.
    """

    def __init__(self, trials: Sequence[FrozenTrial] = (), clock: float = 0.0) -> None:
        self.trials: Sequence[FrozenTrial] = ()
        self.by_state: dict[State, list[FrozenTrial]] = {state: [] for state in STATES}
        self.settled: list[FrozenTrial] = []  # the finished trials, in the order they were read
        self.clock = clock
        self._open: list[int] = []
        self._retries: dict[int, list[int]] = {}
        self._orphans: dict[int, FrozenTrial] = {}
        self._paused: dict[int, FrozenTrial] = {}
        self._resumed: set[int] = set()  # trials that resume a paused trial, and their retries
        self._placeless: list[int] = []  # of these, the ones that use the paused trial's place in the budget
        self._repeats: list[int] = []
        self._ranked: dict[int, tuple[int, list[FrozenTrial]]] = {}
        self._ended: list[tuple[datetime, int]] = []
        self._stopped: list[tuple[datetime, int]] = []
        self._spans = Spans()
        self.energy_j: float | None = None
        self.price: float | None = None
        self.currency: str | None = None
        self._device_s = 0.0
        self._unpriced_s = 0.0
        self._money = 0.0
        self.update(trials)

    def update(self, trials: Sequence[FrozenTrial]) -> "Ledger":
        """Update from the current trials; trials already known as finished are not read again."""
        changed = [*self._open, *range(len(self.trials), len(trials))]
        before, self.trials, self._open = len(self.trials), trials, []
        self.by_state["running"], self.by_state["waiting"] = [], []
        for index in changed:
            trial = trials[index]
            if index >= before and (earlier := retry_of(trial)) is not None:
                self._enter_retry(trial.number, earlier)
            if trial.state.is_finished():
                self._settle(trial)
            else:
                self._open.append(index)
                self.by_state[state_of(trial)].append(trial)
        return self

    def read(self, study: Study) -> "Ledger":
        """Update from the store; every call must be for the same study."""
        return self.update(study.get_trials(deepcopy=False))

    def _enter_retry(self, number: int, earlier: int) -> None:
        """Enter a trial that retries an earlier attempt."""
        self._retries.setdefault(earlier, []).append(number)
        self._orphans.pop(earlier, None)
        self._paused.pop(earlier, None)
        if earlier in self._resumed or _holds(self.by_state["paused"], earlier):
            self._resumed.add(number)
            insort(self._placeless, number)
        insort(self._repeats, number)

    def _settle(self, trial: FrozenTrial) -> None:
        """Enter a trial that has finished."""
        state = state_of(trial)
        insort(self.by_state[state], trial, key=_number)
        self.settled.append(trial)
        if state == "interrupted" and trial.number not in self._retries:
            self._orphans[trial.number] = trial
        if state == "paused" and trial.number not in self._retries:
            self._paused[trial.number] = trial
        if state in VOID and trial.number in self._resumed:
            self._placeless.remove(trial.number)
        if state == "surplus" and retry_of(trial) is None:
            insort(self._repeats, trial.number)
        start, stop = started(trial), completed(trial)
        if state in ENDED and stop is not None:
            insort(self._ended, (stop, trial.number))
        if state in (*ENDED, "paused") and start is not None and stop is not None:
            self._spans.add(start, stop)
            insort(self._stopped, (stop, trial.number))
        spent, price = device_seconds_of(trial), price_of(trial)
        self._device_s += spent
        self._unpriced_s += spent if price is None else 0.0
        self._money += spent * (price or 0.0) / 3600
        if price is not None:
            self.price, self.currency = price, currency_of(trial)
        if (joules := figure_of(trial, "energy_j")) is not None:
            self.energy_j = (self.energy_j or 0.0) + float(joules)

    def count(self, *states: State) -> int:
        """Return the number of trials in any of the states; resumed trials no longer count as paused."""
        return sum(len(self._paused if state == "paused" else self.by_state[state]) for state in states)

    @property
    def finished(self) -> int:
        return self.count(*ENDED)

    @property
    def open(self) -> int:
        return self.count("running", "waiting", "paused")

    @property
    def counted(self) -> int:
        return self.finished + self.open

    def trial(self, number: int) -> FrozenTrial | None:
        """Return the trial of a number, as it was read last; None where there is none."""
        return numbered(self.trials, number)

    def has(self, number: int, state: State) -> bool:
        """Return whether the trial is known to be in a state."""
        return any(trial.number == number for trial in self.by_state[state])

    def unretried(self) -> list[FrozenTrial]:
        """Return interrupted trials without a retry: their worker died between two writes.

        A second retry whose worker died before it could hand it back is not among them: the first retry replaces it.
        """
        orphans = (trial for trial in self._orphans.values() if not self._is_second_retry(trial))
        return sorted(orphans, key=_number)

    def paused(self) -> list[FrozenTrial]:
        """Return paused trials that no other trial has resumed, in the order of their numbers."""
        return sorted(self._paused.values(), key=_number)

    def is_surplus(self, number: int, budget: int | None) -> bool:
        """Return whether a new trial must be handed back.

        Every worker asks without a lock; numbers are unique in the store, so all of them agree on the surplus trial:
        the trial with `budget` counted trials before it, or the second retry of one interrupted trial. A paused trial
        keeps its place in the budget, so the trial that resumes it takes none.
        """
        before = bisect_left(self.trials, number, key=_number)
        if self._is_second_retry(self.trials[before]):
            return True
        return budget is not None and number not in self._resumed and before - self._uncounted(number) >= budget

    def _is_second_retry(self, trial: FrozenTrial) -> bool:
        """Return whether an earlier retry of the same attempt exists that was not handed back."""
        earlier = retry_of(trial)
        others = self._retries.get(earlier, ()) if earlier is not None else ()
        return any(other < trial.number and not _holds(self.by_state["surplus"], other) for other in others)

    def _uncounted(self, number: int) -> int:
        """Return how many trials before this number take no place in the budget."""
        void = sum(bisect_left(self.by_state[state], number, key=_number) for state in VOID)
        return void + bisect_left(self._placeless, number)

    def place(self, trial: FrozenTrial) -> int:
        """Return the number that the trial would have in an undisturbed run."""
        while (original := numbered(self.trials, retry_of(trial))) is not None:
            trial = original
        return trial.number - bisect_left(self._repeats, trial.number)

    def ranked(self, sign: int) -> list[FrozenTrial]:
        """Return the complete trials within the budget's limits, best first.

        Args:
            sign: 1 where a smaller first objective is better, -1 where a larger one is. Ties go to the smallest file,
                then to the first trial.
        """
        seen, ranked = self._ranked.get(sign, (0, []))
        for trial in self.settled[seen:]:
            if state_of(trial) == "complete":
                insort(ranked, trial, key=lambda ended: rank(ended, sign))
        self._ranked[sign] = len(self.settled), ranked
        return ranked

    def last_ended(self, count: int, since: datetime) -> list[FrozenTrial]:
        """Return the last trials that ended after a moment (of the database's clock), at most so many, latest last."""
        latest = [number for stop, number in self._ended[-count:] if stop >= since]
        return self._numbered(latest)

    def stopped_since(self, moment: datetime) -> list[FrozenTrial]:
        """Return the trials that ended or paused after a moment (of the database's clock), latest last."""
        after = bisect_right(self._stopped, (moment, inf))
        return self._numbered([number for _, number in self._stopped[after:]])

    def _numbered(self, numbers: Sequence[int]) -> list[FrozenTrial]:
        return [trial for number in numbers if (trial := numbered(self.trials, number)) is not None]

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
        """Return the device seconds of ended trials, interrupted ones included."""
        return self._device_s

    def money(self, price: float | None = None) -> float | None:
        """Return the cost of these device seconds, each at its worker's price; None where no price was ever set.

        Args:
            price: of one device hour, for trials without a price; the latest by default.
        """
        price = self.price if price is None else price
        return None if price is None else self._money + self._unpriced_s * price / 3600


def numbered(trials: Sequence[FrozenTrial], number: int | None) -> FrozenTrial | None:
    """Return the trial with a number; None where there is none: somebody may have deleted it from the store.

    Args:
        trials: of one study, in the order of their numbers, which may have gaps.
    """
    index = len(trials) if number is None else bisect_left(trials, number, key=_number)
    return trials[index] if index < len(trials) and trials[index].number == number else None


def rank(trial: FrozenTrial, sign: int) -> tuple[float, float, int]:
    """Return the sort key of complete trials, best first (see `Ledger.ranked`)."""
    size = figure_of(trial, "bytes")
    return sign * trial.values[0], float("inf") if size is None else size, trial.number


def _number(trial: FrozenTrial) -> int:
    return trial.number


def _holds(trials: Sequence[FrozenTrial], number: int) -> bool:
    """Return whether a list sorted by number contains a trial."""
    index = bisect_right(trials, number, key=_number)
    return index > 0 and trials[index - 1].number == number
