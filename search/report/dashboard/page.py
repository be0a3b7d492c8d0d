"""What the dashboard answers for a study, put right on its way out; the store is not written to.

optuna-dashboard 0.21 knows nothing of constraints that are set by name: it takes a trial over the budget for the best
one. It would show them where each trial also had the list `constraints` of Optuna before version 5. Stored beside the
named ones that list counts every constraint twice, and the Gaussian-process sampler refuses a study in which only some
trials have it, so it is added here instead, with the best trials, the note, the figures, and a trial's figures in
place of the records that hold them.
"""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import bottle
import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from kirigami.search.errors import one_line
from kirigami.search.report.dashboard import note
from kirigami.search.report.wording import excess
from kirigami.search.storage.optuna_private import for_dashboard, study_id_of
from kirigami.search.study.facts import facts_of
from kirigami.search.study.ranking import best_trial, front
from kirigami.search.study.record import Origin, Result, Worker, result_of
from kirigami.search.study.states import state_of

PAGE = "/api/studies/<study_id:int>"
SECONDS = 5.0
RECORDS = (Origin.KEY, Result.KEY, Worker.KEY)
LEFT_OUT = ("similarity", "shrinks", "rows", "folds")
NOTES_ONLY = "This dashboard changes notes only. Start it with change=all to rename and delete studies."


@dataclass
class Page:
    """A plugin of the dashboard's web application.

    Args:
        store: the store that the application reads.
        change: "notes" refuses every other change, which no worker that runs the study would expect; "all" allows it.
    """

    store: BaseStorage
    change: str = "notes"
    name: str = "kirigami"
    api: int = 2
    _made: dict[int, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, callback: Callable[..., Any], route: bottle.Route) -> Callable[..., Any]:
        """Wrap the answer to a study's page, and whatever would change a study."""
        if route.method in ("GET", "HEAD"):
            return self._completed(callback) if route.rule == PAGE else callback
        return callback if self.change == "all" or route.rule.endswith("/note") else _refused

    def _completed(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(callback)
        def answer(study_id: int) -> Any:
            body = callback(study_id=study_id)
            if not isinstance(body, dict) or "trials" not in body:
                return body  # what went wrong, in the dashboard's words
            try:
                return self._right(body, load(self.store, study_id))
            except (StorageInternalError, SQLAlchemyError) as error:
                bottle.response.status = 503
                return {"reason": f"The store cannot be read now: {one_line(error)}"}

        return answer

    def _right(self, body: dict[str, Any], study: Study) -> dict[str, Any]:
        """Return the answer with limits, note and figures of the study added."""
        body |= self._facts(study, body)
        trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
        ours = is_ours(study)
        for row in (*body["trials"], *body["best_trials"]):
            if row["number"] in trials:  # else it was deleted meanwhile
                row |= _row(trials[row["number"]], ours)
        return body

    def _facts(self, study: Study, body: dict[str, Any]) -> dict[str, Any]:
        """Return best trials, note and figures; drawn at most every few seconds, however many look on."""
        number = study_id_of(study)
        with self._lock:
            moment, facts = self._made.get(number, (-math.inf, {}))
            if time.monotonic() - moment > SECONDS:
                facts = {"best": best_of(study)}
                if is_ours(study):
                    facts["columns"] = _columns(study)
                    drawn = note.graphs(study)
                    facts["plotly_graph_objects"] = [
                        {"id": key, "graph_object": figure} for key, figure in drawn.items()
                    ]
                    facts["text"] = note.text(study, page=f"/dashboard/studies/{number}")
                self._made[number] = (time.monotonic(), facts)
        system = self.store.get_study_system_attrs(number)
        answered: dict[str, Any] = {"best_trials": [for_dashboard(number, trial, system) for trial in facts["best"]]}
        if "text" in facts:
            answered["union_user_attrs"] = facts["columns"]
            other_figures = [
                figure for figure in body["plotly_graph_objects"] if figure["id"] not in ("front", "similarity")
            ]
            answered["plotly_graph_objects"] = [*facts["plotly_graph_objects"], *other_figures]
            answered["note"] = {"version": body["note"]["version"], "body": note.joined(facts["text"], system)}
        return answered


def load(store: BaseStorage, number: int) -> Study:
    """Load a study by the number it has in the store."""
    return optuna.load_study(study_name=store.get_study_name_from_id(number), storage=store)


def is_ours(study: Study) -> bool:
    """Return whether kirigami made the study: of another program's, only the best trial is put right."""
    return facts_of(study).identity is not None


def best_of(study: Study) -> list[FrozenTrial]:
    """Return the best trial within the budget, or the front; where none is within, the complete one nearest to it."""
    if len(study.directions) > 1:
        return front(study)
    with suppress(ValueError):  # no trial is complete, or none within the budget
        best = best_trial(study) if is_ours(study) else study.best_trial
        if best is not None:
            return [best]
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: sum(max(0.0, value) for value in trial.constraints.values()))[:1]


def _row(trial: FrozenTrial, ours: bool) -> dict[str, Any]:
    """Return what replaces a trial's fields: its constraints as the dashboard reads them, its figures one by one."""
    if not ours:
        return {"constraints": list(trial.constraints.values())}
    shown = [{"key": key, "value": str(value)} for key, value in figures_of(trial).items()]
    return {"constraints": list(trial.constraints.values()), "user_attrs": shown}


def figures_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's user attributes with our records taken apart: metrics, costs, why it ended, and its worker."""
    shown = {key: value for key, value in trial.user_attrs.items() if key not in RECORDS}
    result = result_of(trial)
    if trial.constraints:
        shown["within the budget"] = "yes" if not (over := excess(trial)) else f"no, {over}"
    if trial.state.is_finished() and state_of(trial) not in (trial.state.name.lower(), "failed"):
        shown["ended"] = state_of(trial)
    if result.reason:
        shown["reason"] = result.reason
    shown |= result.metrics
    shown |= {key: value for key, value in result.facts().items() if key not in LEFT_OUT}
    worker = Worker.from_attrs(trial.user_attrs)
    return shown if worker is None else {**shown, "worker": worker.name}


def _columns(study: Study) -> list[dict[str, Any]]:
    """Return the columns of the table of trials, and which of them sort as numbers."""
    numeric: dict[str, bool] = {}
    for trial in study.get_trials(deepcopy=False):
        for key, value in figures_of(trial).items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            numeric[key] = numeric.get(key, True) and is_number
    return [{"key": key, "sortable": sortable} for key, sortable in numeric.items()]


def _refused(**_: Any) -> Any:
    bottle.response.status = 403
    return {"reason": NOTES_ONLY}
