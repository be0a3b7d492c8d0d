"""Open a trial of the study for this worker: ask Optuna, sign it, start its heartbeat, draw its config."""

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study

from kirigami.search.storage import Store
from kirigami.search.study import provenance, recovery
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import Origin, Result, write
from kirigami.spaces import Space


class OpenTrial(NamedTuple):
    """A trial, the event that is set when another worker has taken it, and the sender of its heartbeats."""

    trial: optuna.Trial
    lost: threading.Event
    heart: ExitStack


def ask(study: Study, storage: Store | None, budget: int | None, ledger: Ledger) -> OpenTrial | None:
    """Return a trial; None where another worker was first and it had to be handed back.

    Args:
        budget: how many trials the study may have.
        ledger: of the study.
    """
    trial = study.ask()
    recovery.sign(storage, trial)
    ledger.clock = recovery.clock_of(storage)
    if not ledger.has(trial.number, "running"):  # else the sampler has read the store since the trial was there
        ledger.read(study)
    if ledger.is_surplus(trial.number, budget):
        with suppress(UpdateFinishedTrialError), recovery.together(storage):
            write(Result("surplus"), trial.set_user_attr)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return None
    heart = ExitStack()
    return OpenTrial(trial, heart.enter_context(recovery.heartbeat(storage, trial)), heart)


def draw(
    trial: optuna.Trial,
    space: Space,
    prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    storage: Store | None,
) -> Mapping[str, Any] | None:
    """Draw the trial's config and record it; None where another worker took this one for dead meanwhile."""
    try:
        with recovery.together(storage):
            config = prepare(space.suggest(trial))
            settings = {key: part for key, part in config.items() if key not in ("space", "storage")}
            origin = Origin(settings, config.get("seed"), provenance.versions(), provenance.revision())
            write(origin, trial.set_user_attr)
    except UpdateFinishedTrialError:
        return None
    return config
