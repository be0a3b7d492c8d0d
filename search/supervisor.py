"""Starts the local workers, shows what they do, stops them together, and replaces one that dies."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from optuna.study import Study

from search import storage
from search import study as studies
from search.devices import threads_per_worker
from search.errors import InputError, StudyStopped
from search.ledger import Ledger
from search.progress import Progress

POLL_SECONDS = 0.25
Reader = Callable[[], "tuple[Study, Ledger] | None"]


@dataclass
class WorkerProcess:
    """One worker process and what it answered."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]
    answer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def ask_to_stop(self) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(json.JSONDecodeError):
                self.answer |= json.loads(line)

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def last_words(self) -> str:
        lines = [line.strip() for line in self.said().splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.process.returncode}"


@dataclass
class Supervisor:
    """Runs `workers` local workers on one study until its budget is met or the user stops it."""

    raw: dict[str, Any]
    folder: Path
    workers: int
    paths: Sequence[Path]
    read: Reader
    progress: Progress
    stopping: threading.Event = field(default_factory=threading.Event)
    restarts_left: int = 10

    def run(self) -> str:
        """Run the workers to their end; return why they ended.

        Raises:
            InputError: what the first worker found wrong with the config.
            StudyStopped: too many failures, or workers that die again and again.
        """
        team = [self._start(index) for index in range(self.workers)]
        with self._signals(team):
            try:
                while self._at_work(team):
                    self._show(team)
                    time.sleep(POLL_SECONDS)
            finally:
                self._stop(team)
        self._show(team)
        return self._verdict(team)

    def _at_work(self, team: list[WorkerProcess]) -> bool:
        """Replace workers that were killed, end all where one says the input is wrong; return whether any goes on."""
        for index, worker in enumerate(team):
            code = worker.process.poll()
            if code == 2:
                self._stop(team)
            elif code is not None and code < 0 and not self.stopping.is_set() and self.restarts_left > 0:
                self.restarts_left -= 1
                self.progress.note(f"worker {index} was killed by signal {-code}; starting another")
                team[index] = self._start(index)
        return any(worker.process.poll() is None for worker in team)

    def _start(self, index: int) -> WorkerProcess:
        threads = threads_per_worker(self.workers)
        orders = {
            "raw": self.raw,
            "folder": str(self.folder),
            "index": index,
            "threads": threads,
            "paths": [str(path) for path in self.paths],
        }
        log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        process = subprocess.Popen(
            [sys.executable, "-m", "search.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={
                "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait crawl where others use the cores
                **os.environ,
                "OMP_NUM_THREADS": str(threads),
                "MKL_NUM_THREADS": str(threads),
            },
        )
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(orders).encode() + b"\n")
            process.stdin.flush()
        return WorkerProcess(process, log)

    def _stop(self, team: Sequence[WorkerProcess]) -> None:
        for worker in team:
            worker.ask_to_stop()

    def _show(self, team: Sequence[WorkerProcess]) -> None:
        # Before a worker has joined, the store may not be there: a wrong config makes none.
        if any("joined" in worker.answer for worker in team):
            self.progress.update(self.read())

    def _verdict(self, team: Sequence[WorkerProcess]) -> str:
        for worker in team:
            worker.process.wait()
            worker.listener.join(timeout=5)
        for code, error in ((2, InputError), (1, StudyStopped)):
            for worker in team:
                if worker.process.returncode == code and "error" in worker.answer:
                    raise error(worker.answer["error"])
        if self.stopping.is_set():
            return "stopped"
        dead = [worker for worker in team if "ended" not in worker.answer]
        if dead:
            raise StudyStopped(f"a worker died: {dead[0].last_words()}. See {self._logs(dead)}.")
        return str(team[0].answer["ended"])

    def _logs(self, dead: Sequence[WorkerProcess]) -> Path:
        """Keep what a worker said before it had a log of its own; return where to look."""
        said = dead[0].said()
        if said:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "worker-start.log").write_text(said)
        return self.folder

    @contextmanager
    def _signals(self, team: list[WorkerProcess]) -> Iterator[None]:
        """Turn Ctrl-C and SIGTERM into a clean stop, and a second Ctrl-C into a hard one."""

        def on_signal(number: int, _frame: Any) -> None:
            if self.stopping.is_set():
                for worker in team:
                    worker.process.kill()
                return
            self.stopping.set()
            self.progress.note("stopping: the running trial is handed back (Ctrl-C again to kill it)")
            self._stop(team)

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def reader(settings: Mapping[str, Any], name: str) -> Reader:
    """Return a function that reads the study and its ledger; None before there is a store or a study."""
    seen: list[Study] = []  # one object reads finished trials once

    def read() -> tuple[Study, Ledger] | None:
        if not seen and storage.exists(settings):
            seen.extend(study for study in [studies.find(storage.open_storage(settings, create=False), name)] if study)
        return (seen[0], Ledger(seen[0].get_trials(deepcopy=False))) if seen else None

    return read
