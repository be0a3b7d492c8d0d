"""ask -> run -> tell until the study's budget is met, with heartbeats; every worker runs this same loop.

The budget belongs to the study, not to a worker: what counts is read from the store each time round.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import Study

from search import provenance, recovery
from search.errors import StudyStopped
from search.halving import Halving, at_rung, excess
from search.job import Interrupted, Job, Metrics, Outcome, Pruned, Runner, not_a_number
from search.ledger import ENDED, Ledger
from search.study import best_trial, metric_names
from spaces import Budget, Space

CLOSED_BY_ANOTHER = "Cannot tell a"
TAKEN = "another worker took this one for dead"


@dataclass
class Loop:
    """One worker's share of a study.

    Attributes:
        prepare: turns the values suggested for a trial into its resolved config.
        storage: the relational store, for heartbeats; None for a study in memory.
        rungs: fidelities at which the pruner is asked; None for all of them, empty for none.
        halving: says which trials go on where there are several objectives; None trains all of them in full.
        folder: where the networks of the best trials are kept; None keeps none.
        stop_requested: polled at every report and step.
    """

    study: Study
    space: Space
    runner: Runner
    budget: Budget
    prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    storage: RDBStorage | None = None
    rungs: tuple[int, ...] | None = None
    halving: Halving | None = None
    folder: Path | None = None
    stop_requested: Callable[[], bool] = lambda: False
    began: datetime = field(default_factory=datetime.now)

    def run(self) -> str:
        """Work until the budget is met or a stop is requested; return why it ended.

        Raises:
            StudyStopped: after `budget.failures_in_a_row` failures without a success between them.
        """
        while True:
            recovery.take_over(self.study, self.storage)
            ledger = Ledger(self.study.get_trials(deepcopy=False))
            self._check_failures(ledger)
            if self.stop_requested():
                return "stopped"
            if self.budget.wall_s is not None and ledger.wall_seconds() >= self.budget.wall_s:
                return f"budget.wall_s={self.budget.wall_s:g} is met"
            # What waits is asked for even beyond the budget: a retry that came twice has to be handed back.
            met = self.budget.trials is not None and ledger.counted >= self.budget.trials
            if met and ledger.count("waiting") == 0:
                if ledger.count("running") == 0:
                    return f"budget.trials={self.budget.trials} is met"
                time.sleep(0.5)  # others' last trials may yet need a new worker
                continue
            try:
                self._batch(ledger)
            except Interrupted:
                return "stopped"

    def _batch(self, ledger: Ledger) -> None:
        """Ask for as many trials as the runner wants, run them, tell what came out."""
        left = None if self.budget.trials is None else self.budget.trials - ledger.finished - ledger.count("running")
        size = self.runner.batch if left is None else max(1, min(self.runner.batch, left))
        with ExitStack() as beating:
            asked = [trial for trial in (self._ask(beating) for _ in range(size)) if trial is not None]
            deadline = self._deadline(ledger)
            jobs = [self._job(trial, deadline) for trial in asked]
            started = time.perf_counter()
            try:
                outcomes = self.runner(jobs)
            except Interrupted:
                for trial in asked:
                    recovery.hand_back(self.study, trial)
                raise
            seconds = time.perf_counter() - started
            for trial, job, outcome in zip(asked, jobs, outcomes, strict=True):
                self._tell(trial, job, outcome, seconds / len(jobs))

    def _ask(self, beating: ExitStack) -> optuna.Trial | None:
        trial = self.study.ask()
        trial.set_user_attr("worker", recovery.signature())
        trials = self.study.get_trials(deepcopy=False)
        if Ledger(trials).is_surplus(trial.number, self.budget.trials):
            trial.set_user_attr("outcome", {"state": "surplus"})
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return None
        beating.enter_context(recovery.heartbeat(self.storage, trial))
        return trial

    def _job(self, trial: optuna.Trial, deadline: float | None) -> Job:
        values = self.space.suggest(trial)
        config = self.prepare(values)
        trial.set_user_attr(
            "origin",
            {
                "config": {key: part for key, part in config.items() if key not in ("space", "storage")},
                "seed": config.get("seed"),
                "versions": provenance.versions(),
                "revision": provenance.revision(),
            },
        )

        reached, began = 0, time.perf_counter()

        def on_report(fidelity: int, metrics: Metrics) -> None:
            nonlocal reached
            before, reached = reached, fidelity
            self._check_worth(fidelity, metrics, deadline)
            if len(self.study.directions) > 1:
                costs = at_rung(metrics, job.details, time.perf_counter() - began)
                over = 0.0 if job.details.get("shrinks") else excess(costs, self.budget.limits)
                self._ask_halving(trial, (before, fidelity), costs, over)
            elif self._is_rung(before, fidelity):
                self._ask_pruner(trial, fidelity, metrics)

        job = Job(trial.number, config, on_report, self.stop_requested)
        return job

    def _is_rung(self, before: int, fidelity: int) -> bool:
        """Return whether a report is the first one at or past a rung."""
        return self.rungs is None or any(before < rung <= fidelity for rung in self.rungs)

    def _check_worth(self, fidelity: int, metrics: Metrics, deadline: float | None) -> None:
        """End a trial whose values are no numbers, or whose study has used up its time."""
        wrong = not_a_number(metrics)
        if wrong is not None:
            raise Pruned(f"{wrong} is {metrics[wrong]} at fidelity {fidelity}")
        if deadline is not None and time.monotonic() >= deadline:
            raise Pruned(f"budget.wall_s={self.budget.wall_s:g} was met at fidelity {fidelity}")

    def _ask_pruner(self, trial: optuna.Trial, fidelity: int, metrics: Metrics) -> None:
        (name,) = metric_names(self.study)
        try:
            trial.report(_value(metrics, name), fidelity)
        except UpdateFinishedTrialError:
            raise Pruned(TAKEN) from None
        if trial.should_prune():
            raise Pruned(f"{name} {metrics[name]:.4g} at fidelity {fidelity}")

    def _ask_halving(self, trial: optuna.Trial, reached: tuple[int, int], costs: Metrics, over: float) -> None:
        if self.halving is None or not self.halving.is_due(reached):
            return
        values = {name: _value(costs, name) for name in metric_names(self.study)}
        try:
            reason = self.halving.ask(self.study, trial, reached, values, over)
        except UpdateFinishedTrialError:
            raise Pruned(TAKEN) from None
        if reason is not None:
            raise Pruned(reason)

    def _tell(self, trial: optuna.Trial, job: Job, outcome: Outcome, seconds: float) -> None:
        """Write the outcome first, then close the trial: a worker killed between the two leaves it to be retried."""
        outcome, values = self._judged(outcome)
        record = {
            "state": outcome.state,
            "reason": outcome.reason,
            "metrics": {name: _storable(value) for name, value in outcome.metrics.items()},
            "curve": [[fidelity, {k: _storable(v) for k, v in metrics.items()}] for fidelity, metrics in job.curve],
            "wall_s": round(seconds, 4),
            "device_s": round(float(job.details.get("device_s", seconds)), 4),
            **job.details,
        }
        state = {"complete": "COMPLETE", "failed": "FAIL"}.get(outcome.state, "PRUNED")
        try:
            trial.set_user_attr("outcome", record)
            for name, limit in self.budget.limits.items():
                if name in outcome.metrics:
                    trial.set_constraint(name, outcome.metrics[name] / limit - 1)
            self.study.tell(trial, values, state=optuna.trial.TrialState[state])
        except UpdateFinishedTrialError:
            return  # this worker was taken for dead and the trial is being run again
        except ValueError as error:
            if CLOSED_BY_ANOTHER not in str(error):
                raise
            return
        if outcome.save is not None and self.folder is not None:
            self._keep(trial.number, outcome)

    def _judged(self, outcome: Outcome) -> tuple[Outcome, list[float] | None]:
        """Return the outcome with its objective values; a complete trial without good ones is not complete."""
        if outcome.state != "complete":
            return outcome, None
        wrong = not_a_number(outcome.metrics)
        if wrong is not None:
            return Outcome("pruned", outcome.metrics, f"{wrong} is {outcome.metrics[wrong]} at the end"), None
        try:
            return outcome, [_value(outcome.metrics, name) for name in metric_names(self.study)]
        except KeyError as error:
            return Outcome("failed", outcome.metrics, str(error.args[0])), None

    def _keep(self, number: int, outcome: Outcome) -> None:
        """Keep the network where the trial is the best or on the front, and drop those that no longer are."""
        several = len(self.study.directions) > 1
        best = {one.number for one in (self.study.best_trials if several else [best_trial(self.study)]) if one}
        if number not in best or self.folder is None or outcome.save is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        outcome.save(self.folder / f"trial-{number:05d}.safetensors")
        for file in self.folder.glob("trial-*.safetensors"):
            if int(file.stem.partition("-")[2]) not in best:
                file.unlink(missing_ok=True)

    def _deadline(self, ledger: Ledger) -> float | None:
        if self.budget.wall_s is None:
            return None
        return time.monotonic() + self.budget.wall_s - ledger.wall_seconds()

    def _check_failures(self, ledger: Ledger) -> None:
        """Stop a study that only fails: its config is wrong, and the rest of the budget would go the same way."""
        since = [
            trial
            for state in ENDED
            for trial in ledger.by_state[state]
            if trial.datetime_complete is not None and trial.datetime_complete >= self.began
        ]
        last = sorted(since, key=lambda trial: trial.datetime_complete)[-self.budget.failures_in_a_row :]
        if len(last) == self.budget.failures_in_a_row and all(trial.state.name == "FAIL" for trial in last):
            reason = last[-1].user_attrs["outcome"].get("reason")
            raise StudyStopped(f"{len(last)} trials in a row failed; the last one with {reason}")


def _value(metrics: Metrics, name: str) -> float:
    if name not in metrics:
        raise KeyError(f"objective {name!r} is not among the reported metrics ({', '.join(metrics)})")
    return float(metrics[name])


def _storable(value: float) -> float | str:
    """JSON has no NaN: keep it as text."""
    return float(value) if abs(value) < float("inf") else str(value)
