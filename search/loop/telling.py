"""The end of a trial: its outcome written, the trial closed, its network kept where it is among the best."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study

from kirigami.search.loop.running import Running
from kirigami.search.proposal.judge import objective_value
from kirigami.search.storage import Store
from kirigami.search.study import recovery
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.ranking import metric_names
from kirigami.search.study.record import Result, write
from kirigami.search.training.job import Outcome, not_a_number
from kirigami.search.training.networks import Networks

CLOSED_BY_ANOTHER = "Cannot tell a"
STATES = {"complete": "COMPLETE", "failed": "FAIL", "paused": "FAIL"}  # Optuna's; it has no paused trials


class Told(NamedTuple):
    """What became of a trial, and its objectives where it is complete."""

    outcome: Outcome
    values: list[float] | None


def tell(
    study: Study, storage: Store | None, running: Running, outcome: Outcome, spent: Mapping[str, Any]
) -> Told | None:
    """Write the outcome and close the trial, in one transaction: a worker killed before leaves it to be retried.

    Args:
        spent: what the trial cost, as it is recorded.

    Returns:
        what was told; None where this worker was taken for dead, and the trial is not its own any more.
    """
    told = _judged(study, outcome)
    trial, outcome = running.trial, told.outcome
    result = Result.from_details(
        state=outcome.state,
        reason=outcome.reason,
        metrics=outcome.metrics,
        curve=running.job.curve,
        details={**running.job.details, **spent},
    )
    state = optuna.trial.TrialState[STATES.get(outcome.state, "PRUNED")]
    try:
        with recovery.together(storage):
            write(result, trial.set_user_attr)
            for name, limit in running.limits.items():
                if name in outcome.metrics:
                    trial.set_constraint(name, outcome.metrics[name] / limit - 1)
            study.tell(trial, told.values, state=state)
    except UpdateFinishedTrialError:
        return None  # it is being run again
    except ValueError as error:
        if CLOSED_BY_ANOTHER not in str(error):
            raise
        return None
    return told


def finish(study: Study, running: Running, told: Told, networks: Networks | None, ledger: Ledger) -> None:
    """Drop the checkpoints of a trial that has ended, and keep its network where it is among the best."""
    checkpoints, made = running.job.checkpoints, told.outcome.made
    if checkpoints is not None and told.outcome.state != "paused":
        checkpoints.drop()
    if networks is not None and made is not None and told.values is not None:
        networks.keep_if_best(study, running.number, told.values, made.save, ledger)


def _judged(study: Study, outcome: Outcome) -> Told:
    """Return the outcome with its objective values; a complete trial without good ones is not complete."""
    if outcome.state != "complete":
        return Told(outcome, None)
    wrong = not_a_number(outcome.metrics)
    if wrong is not None:
        return Told(Outcome("pruned", outcome.metrics, f"{wrong} is {outcome.metrics[wrong]} at the end"), None)
    try:
        return Told(outcome, [objective_value(outcome.metrics, name) for name in metric_names(study)])
    except KeyError as error:
        return Told(Outcome("failed", outcome.metrics, str(error.args[0])), None)
