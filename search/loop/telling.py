"""The end of a trial: its outcome is written, the trial closed, its network kept if it is among the best."""

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


class FinalOutcome(NamedTuple):
    """The final outcome of a trial, and its objectives where it is complete."""

    outcome: Outcome
    values: list[float] | None


def tell(
    study: Study, storage: Store | None, running: Running, outcome: Outcome, spent: Mapping[str, Any]
) -> FinalOutcome | None:
    """Write the outcome and close the trial, in one transaction: a worker killed before leaves it to be retried.

    Args:
        spent: what the trial cost, as it is recorded.

    Returns:
        the final outcome; None where this worker was taken for dead and another one has the trial.
    """
    final = _judged(study, outcome)
    trial, outcome = running.trial, final.outcome
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
            study.tell(trial, final.values, state=state)
    except UpdateFinishedTrialError:
        return None  # another worker runs it again
    except ValueError as error:
        if CLOSED_BY_ANOTHER not in str(error):
            raise
        return None
    return final


def finish(study: Study, running: Running, final: FinalOutcome, networks: Networks | None, ledger: Ledger) -> None:
    """Drop the checkpoints of a trial that has ended, and keep its network if it is among the best."""
    checkpoints, trained = running.job.checkpoints, final.outcome.trained
    if checkpoints is not None and final.outcome.state != "paused":
        checkpoints.drop()
    if networks is not None and trained is not None and final.values is not None:
        figures = running.job.details
        networks.keep_if_best(study, running.number, final.values, trained.save, ledger, figures)


def _judged(study: Study, outcome: Outcome) -> FinalOutcome:
    """Return the outcome with its objective values; a value that is no number makes a complete trial pruned."""
    if outcome.state != "complete":
        return FinalOutcome(outcome, None)
    wrong = not_a_number(outcome.metrics)
    if wrong is not None:
        return FinalOutcome(Outcome("pruned", outcome.metrics, f"{wrong} is {outcome.metrics[wrong]} at the end"), None)
    try:
        return FinalOutcome(outcome, [objective_value(outcome.metrics, name) for name in metric_names(study)])
    except KeyError as error:
        return FinalOutcome(Outcome("failed", outcome.metrics, str(error.args[0])), None)
