"""The states of trials in words: their counts, and why a trial is not the best."""

from collections.abc import Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami.search.report.tables import number, score
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.ranking import metric_names
from kirigami.search.study.record import Origin, Result, result_of
from kirigami.search.study.states import STATES, State, state_of
from kirigami.spaces.costs import COSTS

WORDS: dict[State, str] = {
    "over": "over the budget",
    "infeasible": "over the budget before training",
    "interrupted": "interrupted and run again",
    "surplus": "asked for beyond the budget",
}


def counted(ledger: Ledger) -> str:
    """Return `60 trials: 17 complete, 7 over the budget, 3 over the budget before training, 33 pruned`."""
    parts = parts_of(ledger)
    return f"{number(ledger.finished)} trials" + (f": {parts}" if parts else "")


def parts_of(ledger: Ledger, states: Sequence[State] = STATES) -> str:
    """Return how many trials are in each of the states in which there are any."""
    counts = {state: ledger.count(state) for state in states}
    return ", ".join(f"{number(count)} {WORDS.get(state, state)}" for state, count in counts.items() if count)


def why(study: Study, trial: FrozenTrial) -> str:
    """Return the result of a trial: its values, and its excess over the budget; or why it has none."""
    if trial.values is None or state_of(trial) not in ("complete", "over"):
        return result_of(trial).reason or "its worker is gone; queued again"
    values = [f"{name} {score(value)}" for name, value in zip(metric_names(study), trial.values, strict=True)]
    return ", ".join([*values, *([over] if (over := excess(trial)) else [])])


def excess(trial: FrozenTrial) -> str:
    """Return the excess of a trial over the limits of the budget, `4,090 bytes: over 3,000`; empty where it is not."""
    result, origin = result_of(trial), Origin.from_attrs(trial.user_attrs)
    limits = {} if origin is None else origin.group("budget")
    return ", ".join(
        f"{number(value)} {COSTS[name].unit if name in COSTS else name}: over {number(limits[name])}"
        if (value := _measured(result, name)) is not None and limits.get(name) is not None
        else f"{name} {number(100 * share)} % over its limit"
        for name, share in trial.constraints.items()
        if share > 0
    )


def _measured(result: Result, name: str) -> float | None:
    measured: float | None = result.metrics.get(name, result.figures.get(name))
    return measured
