"""Stores to search in, made once and copied, and a loop over a formula in place of a network."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from kirigami.search.config.settings import Proposal
from kirigami.search.errors import InputError, StudyStopped
from kirigami.search.loop import Loop
from kirigami.search.proposal.judge import TrainAll
from kirigami.search.proposal.pruners import Pruning, build_pruner
from kirigami.search.proposal.samplers import sampler_factory
from kirigami.search.storage import Settings, open_storage, patience
from kirigami.search.storage.artifacts import Folder
from kirigami.search.storage.server.server import Server
from kirigami.search.study import study as studies
from kirigami.search.study.ledger import Ledger
from kirigami.search.training.checkpoints import CheckpointStore
from kirigami.search.training.runners import surrogate
from kirigami.spaces import Budget, PriorSampler, Space
from tests.search.forks import Forked, ForkServer

HEARTBEAT = {"heartbeat_s": 1, "grace_s": 2}
SPACE = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 1, "high": 8}}
CONFIG = {"x": 0.5, "y": 2}
BUDGETS = ("trials", "wall_s", "device_s", "money", "failures_in_a_row")


@pytest.fixture
def bowl() -> Callable:
    """A trial in nine reports; the value falls towards (x - .3)² + .01 y."""

    def evaluate(config):
        for fidelity in range(1, 10):
            yield fidelity, (config["x"] - 0.3) ** 2 + 0.01 * config["y"] + 1 / fidelity

    return evaluate


@pytest.fixture(autouse=True)
def quiet():
    """Let no other test's choice of Optuna's verbosity matter here."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory) -> Path:
    """An SQLite store without studies: making the tables costs ten times what copying the file does."""
    path = tmp_path_factory.mktemp("template") / "studies.db"
    open_storage(Settings.read({"url": f"sqlite:///{path}", **HEARTBEAT})).engine.dispose()
    return path


@pytest.fixture
def sqlite_url(tmp_path, empty_sqlite) -> str:
    path = tmp_path / "studies.db"
    shutil.copy(empty_sqlite, path)
    return f"sqlite:///{path}"


class PostgresServer(Server):
    """A server of the tests' own, reached as its administrator, whose password is `right`."""

    def crash(self) -> None:
        """Kill a connection's process: the server takes its memory for damaged, breaks all others and recovers."""
        import psycopg

        with psycopg.connect(self.url) as connection:
            os.kill(connection.info.backend_pid, signal.SIGKILL)

    @property
    def url(self) -> str:
        return self.admin_url

    def rules(self) -> list[str]:
        """Let in the roles and databases that tests make."""
        return ["host all all samehost scram-sha-256"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Start a PostgreSQL server for the session; skip where there is none or it cannot start."""
    folder = Path(tempfile.mkdtemp(prefix="kirigami-"))  # `nobody` must reach it where root runs the tests
    server = PostgresServer(folder, password="right", durable=False)
    try:
        server.start()
    except (OSError, InputError, StudyStopped) as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield server
    server.stop("immediate")  # the folder goes too
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request) -> str:
    """The URL of an empty SQLite store or of the session's Postgres store."""
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite_url")
    return request.getfixturevalue("postgres").url


@pytest.fixture
def name() -> str:
    """A study's name that no other test has: they share the Postgres store."""
    return f"study-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def open_store() -> Iterator[Callable]:
    """Open stores that are closed at the end of the test."""
    opened = []

    def open_one(url: str, **settings):
        opened.append(open_storage(Settings.read({"url": url, **HEARTBEAT, **settings})))
        opened[-1].watch.calm_since = -math.inf  # the server may just have started: that is no outage
        return opened[-1]

    yield open_one
    for storage in opened:
        storage.remove_session()
        storage.engine.dispose()


@pytest.fixture
def store(store_url, open_store):
    return open_store(store_url)


@pytest.fixture
def study(store, name) -> optuna.Study:
    """An empty study of one objective in `store`."""
    return studies.create(store, name, {"score": "minimize"}, {"space": "s"})


@pytest.fixture
def no_waiting(monkeypatch) -> None:
    """Let a store that tries again wait for milliseconds."""
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(patience, "LONGEST_WAIT_S", 0.01)


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path / "artifacts")


@pytest.fixture
def checkpoint_store(folder) -> CheckpointStore:
    return CheckpointStore(folder, 0.0)


@pytest.fixture
def make_loop(open_store, name) -> Callable[..., Loop]:
    """Return a function that builds a worker's loop over a study, in memory or in the store at `url`."""

    def make(
        runner,
        *,
        url=None,
        study=None,
        objectives=("score",),
        space=SPACE,
        config=CONFIG,
        seed=0,
        sampler="random",
        pruner=None,
        rungs=None,
        judge=None,
        **settings,
    ):
        searched = Space.from_config(space, config)
        storage = open_store(url) if url else None
        directions = dict.fromkeys(objectives, "minimize")
        if study is None:
            study = studies.create(storage or optuna.storages.InMemoryStorage(), name, directions, {"space": "s"})
        proposal = Proposal.read({"sampler": {"name": sampler}, "pruner": pruner or {"name": "none"}})
        ledger = Ledger()
        factory = sampler_factory(proposal.sampler, seed)
        study.sampler = PriorSampler(factory, searched, seed, lambda _, trial: ledger.read(study).place(trial))
        if judge is None:
            pruned = Pruning(build_pruner(proposal.pruner, fidelities=9), rungs)
            judge = pruned if len(directions) == 1 else TrainAll()
        limits = {key: settings.pop(key) for key in BUDGETS if key in settings}
        return Loop(
            study=study,
            space=searched,
            runner=surrogate(runner, objectives[0]) if callable(runner) and not hasattr(runner, "run") else runner,
            budget=Budget.from_config(limits, settings.pop("cost", None)),
            prepare=lambda values: searched.apply(config, values),
            storage=storage,
            judge=judge,
            ledger=ledger,
            **settings,
        )

    return make


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def child(fork_server) -> Iterator[Callable[..., Forked]]:
    """Start Python programs that are killed, if need be, at the end of the test."""
    started = []

    def start(program: str, *arguments: str) -> Forked:
        started.append(Forked(fork_server, program, arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture(scope="session")
def dead_worker() -> dict:
    """The signature of a process of this machine that is no more."""
    program = "import json; from kirigami.search.study import recovery; print(json.dumps(vars(recovery.signature())))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
