"""ask -> run -> tell until the study's budget is met, with heartbeats; every worker runs this same loop.

The budget belongs to the study, not to a worker: what counts is read from the store each time round.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study

from kirigami.search.errors import StudyStopped
from kirigami.search.proposal.halving import Halving, at_rung, excess
from kirigami.search.storage import Store
from kirigami.search.storage.artifacts import Artifacts
from kirigami.search.study import ledger as ledgers
from kirigami.search.study import provenance, recovery, spending
from kirigami.search.study.energy import Meter
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.study import best_trial, metric_names, sign_of
from kirigami.search.training.checkpoints import Shelf
from kirigami.search.training.job import Interrupted, Job, Metrics, Outcome, Pruned, Runner, not_a_number
from kirigami.search.training.networks import Networks
from kirigami.spaces import Budget, Space

CLOSED_BY_ANOTHER = "Cannot tell a"
TAKEN = "another worker took this one for dead"


@dataclass
class Loop:
    """One worker's share of a study.

    Attributes:
        prepare: turns the values suggested for a trial into its resolved config.
        storage: the study's store, for heartbeats and for writes that belong together; None for a study in memory.
        rungs: fidelities at which the pruner is asked; None for all of them, empty for none.
        halving: says which trials go on where there are several objectives; None trains all of them in full.
        folder: where the networks of the best trials are kept; None keeps none.
        shared: where other machines find these networks; None leaves them in the folder alone.
        shelf: where checkpoints of running trials are kept; None keeps none, and a trial run again begins anew.
        stop_requested: polled at every report and step.
    """

    study: Study
    space: Space
    runner: Runner
    budget: Budget
    prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    storage: Store | None = None
    rungs: tuple[int, ...] | None = None
    halving: Halving | None = None
    folder: Path | None = None
    shared: Artifacts | None = None
    shelf: Shelf | None = None
    stop_requested: Callable[[], bool] = lambda: False
    began: datetime = field(default_factory=datetime.now)
    meter: Meter = field(default_factory=Meter)

    def run(self) -> str:
        """Work until the budget is met or a stop is requested; return why it ended.

        Raises:
            StudyStopped: after `budget.failures_in_a_row` failures without a success between them.
        """
        recovery.join(self.storage)
        reason = self._work()
        if self.shelf is not None:
            self.shelf.sweep(self.study)
        return reason

    def _work(self) -> str:
        while True:
            with recovery.one_look(self.storage):
                recovery.take_over(self.study, self.storage)
            ledger = ledgers.known(self.study)  # read just now
            self._check_failures(ledger)
            if self.stop_requested():
                return "stopped"
            if (ended := spending.ended_by(self.budget, ledger)) is not None:
                if ledger.count("running") == 0 or "wall_s" in ended:
                    return f"{ended} is met"
                time.sleep(0.5)  # others' last trials may be found dead: then they have spent less than it seems
                continue
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
        started = time.perf_counter()
        self.meter.begin()
        with ExitStack() as beating:
            with recovery.one_look(self.storage):
                asked = [pair for pair in (self._ask(beating) for _ in range(size)) if pair is not None]
                deadline = self._deadline(ledger)
                begun = [(trial, self._job(trial, lost, deadline)) for trial, lost in asked]
            jobs = [job for _, job in begun if job is not None]
            trials = [trial for trial, job in begun if job is not None]
            if not jobs:
                return
            try:
                outcomes = self.runner(jobs)
            except Interrupted:
                for trial in trials:
                    spending.note_lost(trial, (time.perf_counter() - started) / len(trials))
                    recovery.hand_back(self.study, trial, self.storage)
                raise
            seconds = time.perf_counter() - started
            for trial, job, outcome in zip(trials, jobs, outcomes, strict=True):
                self._tell(trial, job, outcome, spending.spent(seconds, job.details, self.meter, len(jobs)))

    def _ask(self, beating: ExitStack) -> tuple[optuna.Trial, threading.Event] | None:
        """Return a trial, and the event that tells when it is no longer ours; None where there is none left for us."""
        trial = self.study.ask()
        recovery.sign(self.storage, trial)
        ledger = ledgers.known(self.study)
        ledger.clock = 0.0 if self.storage is None or self.storage.worker is None else self.storage.worker["clock"]
        if not ledger.has(trial.number, "running"):  # else the sampler has read the store since the trial was there
            ledgers.read(self.study)
        if ledger.is_surplus(trial.number, self.budget.trials):
            with suppress(UpdateFinishedTrialError), recovery.together(self.storage):
                trial.set_user_attr("outcome", {"state": "surplus"})
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return None
        return trial, beating.enter_context(recovery.heartbeat(self.storage, trial))

    def _job(self, trial: optuna.Trial, lost: threading.Event, deadline: spending.Deadline | None) -> Job | None:
        """Draw the trial's config; None where another worker took this one for dead meanwhile."""
        try:
            with recovery.together(self.storage):
                config = self.prepare(self.space.suggest(trial))
                trial.set_user_attr(
                    "origin",
                    {
                        "config": {key: part for key, part in config.items() if key not in ("space", "storage")},
                        "seed": config.get("seed"),
                        "versions": provenance.versions(),
                        "revision": provenance.revision(),
                    },
                )
        except UpdateFinishedTrialError:
            return None

        reached, began = 0, time.perf_counter()

        def on_report(fidelity: int, metrics: Metrics) -> None:
            nonlocal reached
            before, reached = reached, fidelity
            if lost.is_set():
                raise Pruned(TAKEN)
            self._check_worth(fidelity, metrics)
            if len(self.study.directions) > 1:
                costs = at_rung(metrics, job.details, job.spent_s + time.perf_counter() - began)
                over = 0.0 if job.details.get("shrinks") else excess(costs, self.budget.limits)
                self._ask_halving(trial, (before, fidelity), costs, over)
            elif self._is_rung(before, fidelity):
                self._ask_pruner(trial, fidelity, metrics)

        def on_recall(attempt: int, fidelity: int, metrics: Metrics) -> None:
            nonlocal reached
            before, reached = reached, fidelity
            self._recall(trial, attempt, (before, fidelity), metrics)

        def on_step() -> None:
            self.meter.check()
            if deadline is not None and (met := deadline.met()) is not None:
                raise Pruned(f"{met} was met at fidelity {job.curve[-1][0] if job.curve else 0}")

        job = Job(trial.number, config, on_report, self.stop_requested, on_step=on_step, on_recall=on_recall)
        job.checkpoints = None if self.shelf is None else self.shelf.attempt(self.study, trial)
        return job

    def _recall(self, trial: optuna.Trial, attempt: int, reached: tuple[int, int], metrics: Metrics) -> None:
        """Store again what an earlier attempt had reached; at its rungs it went on, whatever would be said now."""
        if self.halving is not None:
            self.halving.recall(trial, self.study.get_trials(deepcopy=False)[attempt].user_attrs, reached)
        elif len(self.study.directions) == 1 and self._is_rung(*reached):
            with suppress(Pruned):
                self._ask_pruner(trial, reached[1], metrics)

    def _is_rung(self, before: int, fidelity: int) -> bool:
        """Return whether a report is the first one at or past a rung."""
        return self.rungs is None or any(before < rung <= fidelity for rung in self.rungs)

    def _check_worth(self, fidelity: int, metrics: Metrics) -> None:
        """End a trial whose values are no numbers."""
        wrong = not_a_number(metrics)
        if wrong is not None:
            raise Pruned(f"{wrong} is {metrics[wrong]} at fidelity {fidelity}")

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

    def _tell(self, trial: optuna.Trial, job: Job, outcome: Outcome, spent: Mapping[str, Any]) -> None:
        """Write the outcome and close the trial, in one transaction: a worker killed before leaves it to be retried."""
        outcome, values = self._judged(outcome)
        record = {
            "state": outcome.state,
            "reason": outcome.reason,
            "metrics": {name: _storable(value) for name, value in outcome.metrics.items()},
            "curve": [[fidelity, {k: _storable(v) for k, v in metrics.items()}] for fidelity, metrics in job.curve],
            **job.details,
            **spent,
        }
        state = {"complete": "COMPLETE", "failed": "FAIL"}.get(outcome.state, "PRUNED")
        try:
            with recovery.together(self.storage):
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
        if job.checkpoints is not None:
            job.checkpoints.drop()
        if outcome.save is not None and self.folder is not None:
            self._keep(trial.number, outcome, values)

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

    def _keep(self, number: int, outcome: Outcome, values: Sequence[float] | None) -> None:
        """Keep the network where the trial is the best or on the front, and drop those that no longer are."""
        if self.folder is None or outcome.save is None or values is None or self._is_behind(values[0]):
            return
        several = len(self.study.directions) > 1
        best = {one.number for one in (self.study.best_trials if several else [best_trial(self.study)]) if one}
        if number not in best:
            return
        Networks(self.folder, self.study.study_name, self.shared).keep(number, outcome.save, best)

    def _is_behind(self, value: float) -> bool:
        """Return whether one objective's best was better when the store was last read; it only gets better."""
        if len(self.study.directions) > 1:
            return False
        sign = sign_of(self.study)
        best = next(iter(ledgers.known(self.study).ranked(sign)), None)
        return best is not None and sign * best.values[0] < sign * value

    def _deadline(self, ledger: Ledger) -> spending.Deadline | None:
        """Return when the trials that are begun now have to end; `ledger` knows them, and is read anew for it."""
        first = spending.left(self.budget, ledger)
        if not first.budget:
            return None
        return spending.Deadline(lambda: spending.left(self.budget, ledgers.read(self.study)), first)

    def _check_failures(self, ledger: Ledger) -> None:
        """Stop a study that only fails: its config is wrong, and the rest of the budget would go the same way."""
        began = self.began + timedelta(seconds=ledger.clock)
        last = ledger.last_ended(self.budget.failures_in_a_row, since=began)
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
