"""ask -> run -> tell until the study's budget is met, with heartbeats; every worker runs this same loop.

The budget belongs to the study, not to a worker: the count of trials is read from the store before each `ask`.
"""

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from optuna.study import Study

from kirigami.search.errors import StudyStopped
from kirigami.search.loop import asking, telling
from kirigami.search.loop.running import Running
from kirigami.search.loop.shares import Shares
from kirigami.search.proposal.judge import Judge, TrainAll
from kirigami.search.storage import Store
from kirigami.search.storage.artifacts import Artifacts
from kirigami.search.study import recovery, spending
from kirigami.search.study.energy import Meter
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import result_of
from kirigami.search.training.checkpoints import CheckpointStore
from kirigami.search.training.job import Interrupted, Job, Outcome
from kirigami.search.training.networks import Networks
from kirigami.search.training.runners import Runner
from kirigami.spaces import Budget, Space

PAUSE_S = 0.5  # seconds before the store is read again where there was no trial to run


@dataclass
class Loop:
    """One worker's share of a study.

    Attributes:
        prepare: turns the values suggested for a trial into its resolved config.
        storage: the study's store, for heartbeats and transactions; None for a study in memory.
        judge: decides which trials go on, stop or pause.
        folder: the folder for the networks of the best trials; None keeps none.
        shared: the artifact store that shares these networks with other machines; None keeps them in the folder only.
        checkpoint_store: stores checkpoints of running trials; None stores none, and a retry begins anew.
        stop_requested: polled at every report and step.
        between: called between trials, and while there is none to run.
        ledger: the accounts of the study, shared within this process: each finished trial is read once.
    """

    study: Study
    space: Space
    runner: Runner
    budget: Budget
    prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    storage: Store | None = None
    judge: Judge = field(default_factory=TrainAll)
    folder: Path | None = None
    shared: Artifacts | None = None
    checkpoint_store: CheckpointStore | None = None
    stop_requested: Callable[[], bool] = lambda: False
    between: Callable[[], object] = lambda: None
    began: datetime = field(default_factory=datetime.now)
    meter: Meter = field(default_factory=Meter)
    ledger: Ledger = field(default_factory=Ledger)

    def __post_init__(self) -> None:
        self._shares = Shares(self.meter)
        self._running: dict[int, Running] = {}  # taken by the runner, not yet yielded
        self._held: list[Running] = []  # drawn, and waiting for others of their signature
        self._deadline: spending.Deadline | None = None
        self._ended: str | None = None
        self._idle_until = 0.0

    def run(self) -> str:
        """Work until the budget is met or a stop is requested; return why it ended.

        Raises:
            StudyStopped: after `budget.failures_in_a_row` failures without a success between them.
        """
        recovery.join(self.storage)
        self.judge.join(self.study)
        self._ended, self._idle_until = None, 0.0
        try:
            reason = self._work()
        finally:
            for running in (*self._running.values(), *self._held):
                running.heart.close()
        if self.checkpoint_store is not None:
            self.checkpoint_store.sweep(self.study)
        return reason

    def _work(self) -> str:
        while self._ended is None:
            try:
                for job, outcome in self.runner.run(self._next_job):
                    self._tell(self._running[job.number], outcome)
            except Interrupted:
                self._ended = "stopped"
            except StudyStopped:
                self._hand_back()
                raise
            else:
                assert not self._running, f"the runner ended without an outcome of trials {list(self._running)}"
            if self._ended is None:
                time.sleep(PAUSE_S)
        self._hand_back()
        return self._ended

    # Asking

    def _next_job(self, signature: Hashable = None) -> Job | None:
        """Return a job of that signature; a trial that does not fit is held until it does."""
        for running in self._held:
            if self._fits(running, signature):
                self._held.remove(running)
                self._shares.settle()
                return self._begin(running)
        while len(self._held) < self.runner.slots and (ledger := self._look()) is not None:
            drawn = self._ask(ledger)
            if drawn is None:
                continue
            if self._fits(drawn, signature):
                return self._begin(drawn)
            self._held.append(drawn)
        return None

    def _fits(self, running: Running, signature: Hashable) -> bool:
        return signature is None or self.runner.signature(running.job.config) == signature

    def _begin(self, running: Running) -> Job:
        self._shares.begin(running.number)
        self._running[running.number] = running
        return running.job

    def _look(self) -> Ledger | None:
        """Read the store; return the ledger if there is a trial to run, else None; set `_ended` if the study is over.

        Raises:
            StudyStopped: where all recent trials failed.
        """
        self.between()
        if self._ended is not None or time.monotonic() < self._idle_until:
            return None
        with recovery.one_look(self.storage):
            recovery.take_over(self.study, self.storage, self.ledger)
        ledger = self.ledger  # read just now
        self._check_failures(ledger)
        if self.stop_requested():
            self._ended = "stopped"
        elif (ended := spending.ended_by(self.budget, ledger)) is not None:
            # The last trials of other workers may turn out to be dead: then less has been spent than it seems.
            self._end_or_wait(f"{ended} is met", "wall_s" in ended or ledger.count("running") == 0)
        # Drain the queue even when the budget is spent: a duplicate retry has to be handed back.
        elif ledger.count("waiting") > 0 or self._take_up(ledger) or self._is_new_left(ledger):
            return ledger
        else:  # the last trials of other workers may still need a retry
            self._end_or_wait(f"budget.trials={self.budget.trials} is met", ledger.count("running") == 0)
        return None

    def _is_new_left(self, ledger: Ledger) -> bool:
        return self.budget.trials is None or ledger.counted < self.budget.trials

    def _take_up(self, ledger: Ledger) -> bool:
        """Queue the paused trial that resumes now; return whether there is one."""
        paused = {trial.number: trial for trial in ledger.paused()}
        if not paused:
            return False
        new_left = self._is_new_left(ledger)
        number = self.judge.resume(ledger, new_left)
        if number is None and not new_left and ledger.count("running") == 0:
            number = min(paused)  # no study ends with a paused trial left behind
        if number is not None:
            recovery.resume(self.study, paused[number])
        return number is not None

    def _end_or_wait(self, reason: str, is_over: bool) -> None:
        if is_over:
            self._ended = reason
        else:
            self._idle_until = time.monotonic() + PAUSE_S

    def _ask(self, ledger: Ledger) -> Running | None:
        """Ask for a trial and draw its config; None where another worker was first."""
        self._shares.settle()
        with recovery.one_look(self.storage):
            opened = asking.ask(self.study, self.storage, self.budget.trials, ledger)
            if opened is None:
                return None
            self._set_deadline(ledger)
            config = asking.draw(opened.trial, self.space, self.prepare, self.storage)
        if config is None:
            opened.heart.close()
            return None
        paused = recovery.paused_attempt(ledger.trials, opened.trial.number)
        running = Running(*opened, self.judge, ledger, self._shares, self.budget.limits, self._met, paused)
        running.job = Job(
            opened.trial.number,
            config,
            running.on_report,
            self.stop_requested,
            on_step=running.on_step,
            checkpoints=None
            if self.checkpoint_store is None
            else self.checkpoint_store.attempt(self.study, opened.trial),
            on_recall=running.on_recall,
        )
        return running

    def _set_deadline(self, ledger: Ledger) -> None:
        """Set the deadline of this worker's trials; `ledger` contains the new trial, and the deadline reads it anew."""
        first = spending.left(self.budget, ledger)
        if first.budget:
            self._deadline = spending.Deadline(lambda: spending.left(self.budget, self.ledger.read(self.study)), first)

    def _met(self) -> str | None:
        """Return the budget of seconds or money that is met."""
        return None if self._deadline is None else self._deadline.met()

    def _check_failures(self, ledger: Ledger) -> None:
        """Stop a study whose recent trials all failed: its config is wrong, and the rest would fail too."""
        began = self.began + timedelta(seconds=ledger.clock)
        last = ledger.last_ended(self.budget.failures_in_a_row, since=began)
        if len(last) == self.budget.failures_in_a_row and all(trial.state.name == "FAIL" for trial in last):
            raise StudyStopped(f"{len(last)} trials in a row failed; the last one with {result_of(last[-1]).reason}")

    # Telling

    def _tell(self, running: Running, outcome: Outcome) -> None:
        """Tell Optuna the outcome of a trial, and release it."""
        share, details = self._shares.end(running.number), running.job.details
        energy = self.meter.figures(share.joules, str(details.get("device", "cpu")))
        spent = spending.spent(share.seconds, details) | energy
        final = telling.tell(self.study, self.storage, running, outcome, spent)
        if final is not None:
            telling.finish(self.study, running, final, self._networks(), self.ledger)
        running.heart.close()
        del self._running[running.number]
        self._idle_until = 0.0

    def _networks(self) -> Networks | None:
        return None if self.folder is None else Networks(self.folder, self.study.study_name, self.shared)

    def _hand_back(self) -> None:
        """Hand back the trials that run or are held; their cost so far stays charged."""
        for running in sorted((*self._running.values(), *self._held), key=lambda running: running.number):
            spending.note_lost(running.trial, self._shares.end(running.number).seconds)
            recovery.hand_back(self.study, running.trial, self.storage, self.ledger)
            running.heart.close()
        self._running.clear()
        self._held.clear()
