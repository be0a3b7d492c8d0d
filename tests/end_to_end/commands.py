"""Run the `kirigami` command as a user does, and read the store it leaves without the project's own reading."""

import io
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from kirigami.search.command.cli import main
from kirigami.search.config import own_code
from kirigami.search.workers import worker
from kirigami.search.workers.supervisor import Supervisor

COMMAND = [sys.executable, "-P", "-c", "from kirigami.search.command.cli import entry; entry()"]
SECONDS = 900  # a guard against what hangs; on a busy machine a start of torch alone may take a minute
Cores = tuple[int, int | None]
FIRST_CORE, LAST_CORE, TWO_CORES = (0, 1), (-1, None), (0, 2)
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code and what it printed."""

    code: int
    out: str
    error: str

    def check(self, code: int = 0) -> "Ended":
        assert self.code == code, f"exit code {self.code}, not {code}\n{self.out}\n{self.error}"
        assert "Traceback" not in self.out + self.error, self.out + self.error
        return self


@dataclass
class Folder:
    """A folder where the command runs, and the environment it runs in.

    Args:
        cores: which of the cores the command may use; one a worker keeps small networks quick on a busy machine.
    """

    path: Path
    env: dict[str, str] = field(default_factory=dict)
    cores: Cores = LAST_CORE

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start the command in a process group of its own; a search without simple models beside it."""
        alone = ["rivals=false"] if arguments[:1] == ("search",) else []
        return subprocess.Popen(
            [*COMMAND, *arguments, *alone],
            cwd=self.path,
            env=environment(self.env),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=self._limit_cores,
        )

    def run(self, *arguments: str) -> Ended:
        """Run the command to its end."""
        return finish(self.start(*arguments))

    def trials(self, study: str) -> list[FrozenTrial]:
        """Read a study's trials."""
        return read_trials(self.path / "studies.db", study)

    def dump(self) -> list[str]:
        """Return everything in the store as SQL."""
        with closing(sqlite3.connect(self.path / "studies.db")) as store:
            return list(store.iterdump())

    def files(self) -> set[str]:
        """Return every file and folder below, but the names that SQLite gives its journals."""
        found = (file.relative_to(self.path).as_posix() for file in self.path.rglob("*"))
        return {name for name in found if not name.endswith(("-wal", "-shm"))}

    def _limit_cores(self) -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[slice(*self.cores)])


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return this environment without what a developer set for kirigami, and with the changes."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("KIRIGAMI_", "PYTHONPATH"))}
    ours = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**plain, **ours, **changes}


def finish(process: "subprocess.Popen[str]") -> Ended:
    """Wait for the command; a command that hangs is killed with its workers, and the test fails."""
    try:
        out, error = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Ended(process.returncode, out, error)


def read_trials(store: Path, study: str) -> list[FrozenTrial]:
    """Read a study's trials; none where the study or the store is not there yet."""
    if not store.exists() or not _is_whole(store):
        return []
    storage = optuna.storages.RDBStorage(f"sqlite:///{store}", engine_kwargs={"connect_args": {"timeout": 120}})
    try:
        return optuna.load_study(study_name=study, storage=storage).get_trials()
    except KeyError:
        return []
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _is_whole(store: Path) -> bool:
    """Return whether the store has its tables; opening one that is being made would take part in making it."""
    with closing(sqlite3.connect(store, timeout=120)) as connection:
        try:
            return bool(connection.execute("SELECT count(*) FROM alembic_version").fetchone()[0])
        except sqlite3.OperationalError:
            return False


def wait_for(what: Callable[[], Any], process: "subprocess.Popen[str] | None" = None) -> Any:
    """Poll until `what` gives something true and return it; fail if the command ends before or time runs out."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the command ended too early: {finish(process)}")
        time.sleep(0.05)
    raise AssertionError("what was waited for did not come")


def running(folder: Folder, study: str, number: int) -> FrozenTrial | None:
    """Return a trial that is being trained, of at least this number; None where there is none."""
    if not _is_any_running(folder.path / "studies.db", number):  # Optuna takes long, and it is asked often
        return None
    for trial in folder.trials(study):
        if trial.number >= number and trial.state is TrialState.RUNNING and "origin" in trial.user_attrs:
            return trial
    return None


def _is_any_running(store: Path, number: int) -> bool:
    if not store.exists():
        return False
    query = "SELECT count(*) FROM trials WHERE state = 'RUNNING' AND number >= ?"
    with closing(sqlite3.connect(store, timeout=120)) as connection:
        try:
            return bool(connection.execute(query, [number]).fetchone()[0])
        except sqlite3.OperationalError:
            return False


def state_of(trial: FrozenTrial) -> str:
    """Return the state in Optuna's words."""
    return trial.state.name


def inside(folder: Folder, *arguments: str) -> Ended:
    """Run a command in this process, where it starts at once; a worker's loop runs here too, without its signals."""
    out, error = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(error):
        patch.chdir(folder.path)
        patch.delenv("KIRIGAMI_STORAGE", raising=False)
        patch.setattr(Supervisor, "run", _work)
        patch.setattr(sys, "path", [*sys.path])
        for key, value in folder.env.items():
            patch.setenv(key, value)
        code = main(arguments)
    return Ended(code, out.getvalue(), error.getvalue())


def _work(supervisor: Supervisor) -> str:
    (orders,) = supervisor.launcher.orders
    own_code.add_folders(orders.paths)
    return worker.prepare(orders, threading.Event()).run()
