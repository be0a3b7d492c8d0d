"""Reading a study's trials: which count towards its budget, which were interrupted, how long it has worked.

Optuna knows FAIL only. What a failed record means is told by the `outcome` that a worker writes before it tells:

- failed: the trial raised; it counts, and its reason is kept;
- infeasible: known to be over the budget before it was trained (Optuna's state is PRUNED); it counts;
- surplus: asked by two workers at the same moment beyond the budget, and handed back untrained;
- interrupted: no outcome, its worker died. It does not count: a retry with the same parameters stands for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

STATES = ("complete", "pruned", "failed", "infeasible", "running", "waiting", "interrupted", "surplus")

ENDED = ("complete", "pruned", "failed", "infeasible")


def state_of(trial: FrozenTrial) -> str:
    """Return the trial's state in our words (see the module's text)."""
    recorded = trial.user_attrs.get("outcome", {}).get("state")
    if trial.state is TrialState.FAIL:
        return str(recorded or "interrupted")
    if trial.state is TrialState.PRUNED and recorded == "infeasible":
        return "infeasible"
    return {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }[trial.state]


@dataclass(frozen=True)
class Ledger:
    """The trials of a study by state; `counted` is what the budget of trials is compared with."""

    trials: Sequence[FrozenTrial]
    by_state: dict[str, list[FrozenTrial]] = field(init=False)

    def __post_init__(self) -> None:
        by_state: dict[str, list[FrozenTrial]] = {state: [] for state in STATES}
        for trial in self.trials:
            by_state.setdefault(state_of(trial), []).append(trial)
        object.__setattr__(self, "by_state", by_state)

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

    def unretried(self) -> list[FrozenTrial]:
        """Return interrupted trials that no other trial stands for: their worker died between two writes."""
        retried = {trial.user_attrs.get("retry_of") for trial in self.trials}
        return [trial for trial in self.by_state["interrupted"] if trial.number not in retried]

    def is_surplus(self, number: int, budget: int | None) -> bool:
        """Return whether a freshly asked trial must be handed back.

        Every worker asks without a lock; numbers are unique in the store, so all of them agree on who came too late:
        the trial with `budget` counted trials before it, or the second retry of one interrupted trial.
        """
        mine = next(trial for trial in self.trials if trial.number == number)
        earlier = [trial for trial in self.trials if trial.number < number and state_of(trial) != "surplus"]
        retry_of = mine.user_attrs.get("retry_of")
        if retry_of is not None and any(trial.user_attrs.get("retry_of") == retry_of for trial in earlier):
            return True
        return budget is not None and sum(state_of(trial) != "interrupted" for trial in earlier) >= budget

    def wall_seconds(self, now: datetime | None = None) -> float:
        """Return the seconds in which at least one trial ran: the union of their intervals, over all workers."""
        now = now or datetime.now()
        spans = sorted(
            (trial.datetime_start, trial.datetime_complete or now)
            for state in (*ENDED, "running")
            for trial in self.by_state[state]
            if trial.datetime_start is not None
        )
        total, end = 0.0, None
        for start, stop in spans:
            begin = start if end is None or start > end else end
            if end is None or stop > end:
                total += (stop - begin).total_seconds()
                end = stop
        return total

    def device_seconds(self) -> float:
        """Return the seconds spent training, summed over trials and devices."""
        return sum(float(trial.user_attrs.get("outcome", {}).get("device_s", 0.0)) for trial in self.trials)


def place(study: Study, trial: FrozenTrial) -> int:
    """Return which trial of the search it is: its number, had no worker died and none come too late.

    Samplers are seeded by it, so that a study that was killed and resumed draws what an undisturbed one draws.
    """
    earlier = study.get_trials(deepcopy=False)[: trial.number]
    while (original := trial.user_attrs.get("retry_of")) is not None:
        trial = earlier[original]
    return trial.number - sum(
        "retry_of" in one.user_attrs or state_of(one) == "surplus" for one in earlier[: trial.number]
    )


def is_feasible(trial: FrozenTrial) -> bool:
    """Return whether the trial keeps to every limit of the budget."""
    return all(value <= 0 for value in trial.constraints.values())


def outcome_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return what the worker recorded at the trial's end: state, reason, metrics, curve, seconds."""
    return dict(trial.user_attrs.get("outcome", {}))
