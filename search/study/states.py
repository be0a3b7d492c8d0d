"""The states of a trial: one word each, the same wherever trials are counted, listed or drawn.

Optuna knows five states. The rest follows from the result that a worker stores before it tells Optuna, and from the
trial's constraints.
"""

from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from kirigami.search.study.record import state_recorded

State = Literal[
    "complete", "over", "infeasible", "pruned", "failed", "paused", "running", "waiting", "interrupted", "surplus"
]
MEANING: dict[State, str] = {
    "complete": "trained in full, and within the budget's limits",
    "over": "trained in full, and over one of the limits",
    "infeasible": "known to be over a limit before it was trained, and never trained",
    "pruned": "ended early: by the pruner, a budget of seconds or money, or a value that is no number",
    "failed": "it raised, or its workers died again and again",
    "paused": "stopped at a rung with its checkpoint; another trial will take it up, and holds its place in the budget",
    "running": "a worker holds it",
    "waiting": "queued",
    "interrupted": "its worker died or handed it back; another trial with its parameters stands for it",
    "surplus": "asked for beyond the budget by two workers at one moment, and handed back untrained",
}
STATES: tuple[State, ...] = tuple(MEANING)
ENDED: tuple[State, ...] = ("complete", "over", "infeasible", "pruned", "failed")
_FAILED: dict[str | None, State] = {"failed": "failed", "surplus": "surplus", "paused": "paused"}


def state_of(trial: FrozenTrial) -> State:
    """Return the state of a trial.

    A result that was stored but never told, since its worker died between the two, is an interruption.
    """
    if trial.state is TrialState.COMPLETE:
        return "complete" if is_within(trial) else "over"
    if trial.state is TrialState.PRUNED:
        return "infeasible" if state_recorded(trial) == "infeasible" else "pruned"
    if trial.state is TrialState.FAIL:
        return _FAILED.get(state_recorded(trial), "interrupted")
    return "running" if trial.state is TrialState.RUNNING else "waiting"


def is_within(trial: FrozenTrial) -> bool:
    """Return whether nothing that was measured of a trial is over the budget's limits."""
    return all(value <= 0 for value in trial.constraints.values())
