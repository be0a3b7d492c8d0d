"""Supervises the workers of a launcher: shows the study's progress, stops them together, reports why they ended."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kirigami.search import storage
from kirigami.search.errors import InputError, StudyStopped
from kirigami.search.report.progress import Progress
from kirigami.search.study.watching import Reader
from kirigami.search.workers.launchers.base import Launcher, Report

POLL_SECONDS = 0.25
SUBMITTED = "submitted"


@dataclass
class Supervisor:
    """Runs a launcher's workers on one study until its budget is met or the user stops it."""

    launcher: Launcher
    read: Reader
    progress: Progress
    stopping: threading.Event = field(default_factory=threading.Event)
    away: bool = False

    def run(self) -> str:
        """Run the workers to their end; return why they ended, or `submitted` where they go on without us.

        Raises:
            InputError: what the first worker found wrong with the config, or the launcher with its settings.
            StudyStopped: too many failures, or workers that die again and again.
        """
        with self._signals():
            try:
                self.launcher.start()
                reports = self._follow()
            finally:
                if not self.launcher.leaves:
                    self.launcher.stop()
                self.launcher.close()
                self._notes()
        if self.launcher.leaves:
            return SUBMITTED
        self._show(reports)
        return self._verdict(reports)

    def _follow(self) -> Sequence[Report]:
        while True:
            reports = self.launcher.poll()
            self._notes()
            if self.launcher.leaves or all(report.gone for report in reports):
                return reports
            if self.stopping.is_set() or any(report.refused for report in reports):
                self.launcher.stop()
            self._show(reports)
            time.sleep(POLL_SECONDS)

    def _notes(self) -> None:
        while self.launcher.notes:
            self.progress.note(self.launcher.notes.pop(0))

    def _show(self, reports: Sequence[Report]) -> None:
        # Before a worker has joined, the store may not be there: a wrong config makes none.
        if not any(report.joined for report in reports):
            return
        try:
            self.progress.update(self.read())
            self.away = False
        except (storage.StoreAway, InputError) as away:
            if not self.away:
                self.progress.note(f"{away} The workers wait for it.")
            self.away = True

    def _verdict(self, reports: Sequence[Report]) -> str:
        for report in reports:
            if report.refused is not None:
                raise InputError(report.refused)
        for report in reports:
            if report.failed is not None:
                raise StudyStopped(report.failed)
        if self.stopping.is_set():
            return "stopped"
        for report in reports:
            if report.met:
                return str(report.ended)
        for report in reports:
            if report.died is not None:
                raise StudyStopped(f"a worker died: {report.died}.")
        return "stopped"

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn Ctrl-C and SIGTERM into a clean stop, and a second Ctrl-C into a hard one."""

        def on_signal(number: int, _frame: Any) -> None:
            if self.stopping.is_set():
                self.launcher.kill()
                return
            self.stopping.set()
            self.progress.note("stopping: the running trial is handed back (Ctrl-C again to kill it)")

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
