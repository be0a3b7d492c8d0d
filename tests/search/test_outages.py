"""A database that stops and comes back, and a worker that freezes and wakes: nothing is lost, nothing told twice."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from kirigami.search import storage
from kirigami.search.config.sampler import Random
from kirigami.search.loop import Loop
from kirigami.search.proposal.samplers import sampler_factory
from kirigami.search.storage import patience
from kirigami.search.storage import postgres as postgres_store
from kirigami.search.storage.outage import Away
from kirigami.search.study import study as studies
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.watching import reader
from kirigami.search.training.job import Outcome
from kirigami.search.training.runners import Solo, surrogate
from kirigami.spaces import Budget, PriorSampler, Space
from tests.waiting import GUARD_SECONDS, wait_until

CONFIG = {"x": 0.5, "y": 2}
SPACE = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 1, "high": 8}}
HEARTBEAT = {"heartbeat_s": 1, "grace_s": 2}

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the light workers here are forks"),
    pytest.mark.filterwarnings("ignore:.*fork.*"),
]


def work(url, name, folder, trials, runner, settings):
    """Be a worker: join the study, run the loop, say how it ended."""
    with (folder / f"{os.getpid()}.log").open("w") as log:
        sys.stderr = log
        patience.LONGEST_WAIT_S = 0.5  # tests are in more of a hurry than studies
        space = Space.from_config(SPACE, CONFIG)
        store = storage.open_storage(storage.Settings.read({"url": url, **HEARTBEAT, **settings}), patient=True)
        joined = studies.create(store, name, {"score": "minimize"}, {"space": "s"})
        joined.sampler = PriorSampler(sampler_factory(Random(), 0), space, 0)
        made = runner(folder)
        prepare = lambda values: space.apply(CONFIG, values)  # noqa: E731
        loop = Loop(joined, space, made, Budget(trials=trials), prepare, storage=store, folder=folder / "kept")
        try:
            ended = loop.run()
        except Exception as error:
            ended = f"{type(error).__name__}: {error}"
        (folder / f"{os.getpid()}.ended").write_text(ended)


@contextmanager
def workers(count, *arguments):
    """Run light workers as forks; end them all."""
    fork = multiprocessing.get_context("fork")
    team = [fork.Process(target=work, args=arguments) for _ in range(count)]
    [one.start() for one in team]
    try:
        yield team
    finally:
        for one in team:
            one.kill()
            one.join()


def busy(folder):
    """Trials that take a while, each noted in a file when it is evaluated; the second one takes longer than most."""

    def evaluate(config):
        for fidelity in range(1, 4):
            time.sleep(0.05)
            yield fidelity, config["x"]
        first = not (folder / "long").exists()
        if first:
            (folder / "long").touch()
            for fidelity in range(4, 50):
                time.sleep(0.1)
                yield fidelity, config["x"]
        with (folder / "evaluated").open("a") as notes:
            notes.write(f"{config['x']}\n")

    return surrogate(evaluate, "score")


@pytest.fixture
def watching(postgres, name, open_store):
    """Return a function that counts the study's trials in some states; None while that cannot be known."""

    def count(*states):
        try:
            found = studies.find(open_store(postgres.url, patience_s=0), name)
        except Exception:
            return None
        return found and Ledger(found.get_trials(deepcopy=False)).count(*states)

    return count


@pytest.fixture
def started(postgres):
    """Have the session's server run again after the test, whatever became of it."""
    yield postgres
    if postgres.pid is None:
        postgres.start()


def test_workers_wait_for_a_database_that_stops_and_starts_again(started, name, tmp_path, watching):
    with workers(3, started.url, name, tmp_path, 18, busy, {"grace_s": 4}) as team:
        wait_until(lambda: (watching("complete") or 0) >= 4)
        assert (tmp_path / "long").exists()
        started.stop("immediate")
        time.sleep(5)  # longer than the grace time: no heart has beaten
        assert all(one.is_alive() for one in team)
        started.start()
        before = watching("complete")
        more = min(before + 4, 18)  # on a busy machine most may be complete before the stop is seen
        wait_until(lambda: (watching("complete") or 0) >= more)
        started.crash()
        [one.join(GUARD_SECONDS) for one in team]
        assert [one.exitcode for one in team] == [0] * 3
    ended = [file.read_text() for file in tmp_path.glob("*.ended")]
    assert ended == ["budget.trials=18 is met"] * 3
    found = studies.find(storage.open_storage(storage.Settings.read({"url": started.url, **HEARTBEAT})), name)
    trials = found.get_trials()
    ledger = Ledger(trials)
    assert (ledger.count("complete"), ledger.finished, ledger.open) == (18, 18, 0)
    assert ledger.count("interrupted") == 0, "who beats again when the database is back is not dead"
    drawn = [trial.params["x"] for trial in ledger.by_state["complete"]]
    evaluated = [float(line) for line in (tmp_path / "evaluated").read_text().split()]
    assert len(set(drawn)) == 18
    assert sorted(evaluated) == sorted(drawn), "each was run once, and none of it was lost"
    assert all(trial.value == trial.params["x"] for trial in ledger.by_state["complete"])
    logs = [file.read_text().splitlines() for file in tmp_path.glob("*.log")]
    for log in logs:
        assert len(log) in (2, 4, 6), "one line when it begins to wait, and one when it is over"
        assert "is away: " in log[0]
        assert "is back after" in log[1]


def test_a_worker_whose_patience_ends_says_so_in_one_line(started, name, tmp_path, watching):
    with workers(1, started.url, name, tmp_path, 1000, busy, {"patience_s": 1}) as (one,):
        wait_until(lambda: (watching("running") or 0) >= 1)
        started.stop("immediate")
        one.join(GUARD_SECONDS)
        assert one.exitcode == 0
    (ended,) = [file.read_text() for file in tmp_path.glob("*.ended")]
    assert ended.startswith("StoreAway: storage.url=postgresql+psycopg://postgres")
    assert "was away for 1 s: " in ended
    assert ended.endswith("The same command goes on where the study was.")
    started.start()
    assert watching("failed") == 0, "it is no fault of the trial"
    assert watching("running") == 1, "it is found when the study goes on"


def test_who_looks_on_does_not_wait(started, name, tmp_path, open_store):
    studies.create(open_store(started.url), name, {"score": "minimize"}, {"space": "s"})
    read = reader(storage.Settings.read({"url": started.url, **HEARTBEAT}), name)
    assert read() is not None
    started.stop("immediate")
    with pytest.raises(storage.StoreAway, match="is away"):
        read()
    started.start()
    assert read() is not None


def test_a_worker_that_joins_during_an_outage_waits(started, open_store, name, monkeypatch):
    """One that died is replaced meanwhile; the command itself has said that the store is there."""
    studies.create(open_store(started.url), name, {"score": "minimize"}, {"space": "s"})
    started.stop()
    away = threading.Event()
    lines = []

    def say(line):
        lines.append(line)
        away.set()

    monkeypatch.setattr(patience, "_to_log", say)
    later = threading.Thread(target=lambda: away.wait(GUARD_SECONDS) and started.start())
    later.start()
    store = storage.open_storage(storage.Settings.read({"url": started.url, **HEARTBEAT}), patient=True)
    later.join()
    assert studies.find(store, name) is not None
    assert not store.watch.is_calm, "the server has just started: nobody else could beat either"
    assert ["is away: " in line or "is back after" in line for line in lines] == [True, True]


def test_a_worker_that_freezes_in_a_transaction_does_not_stop_the_others(postgres, name, open_store, monkeypatch):
    """To ask for a trial, a worker locks the study's row; the server lets go of it when nothing more comes."""
    monkeypatch.setattr(postgres_store, "IDLE_IN_TRANSACTION", "200ms")
    frozen, other = open_store(postgres.url), open_store(postgres.url)
    study = studies.create(other, name, {"score": "minimize"}, {"space": "s"})
    with suppress(Away), frozen.engine.connect() as connection:
        connection.exec_driver_sql("SELECT * FROM studies FOR UPDATE")
        assert study.ask().number == 0
    assert studies.existing(frozen, name).ask().number == 1, "it wakes, and goes on over another connection"


def freezing(folder):
    """The first trial goes on until it is told to end, and then saves its network; the others are quick."""

    def run(job):
        first = not (folder / "frozen").exists()
        if first:
            (folder / "frozen").write_text(str(os.getpid()))
            for fidelity in range(1, 2000):
                time.sleep(0.02)
                job.report(fidelity, {"score": 0.0})
                if (folder / "end").exists():
                    break
        made = SimpleNamespace(save=lambda path: path.write_text(f"{first}"))
        return Outcome("complete", {"score": 0.0 if first else 1.0}, trained=made)

    return Solo(run)


@pytest.mark.parametrize(
    ("store_url", "wakes"), [("sqlite", "at the end"), ("postgres", "at a heartbeat")], indirect=["store_url"]
)
def test_a_worker_that_was_frozen_overwrites_nothing_when_it_wakes(store_url, name, tmp_path, make_loop, bowl, wakes):
    with workers(1, store_url, name, tmp_path, 3, freezing, {}) as (frozen,):
        wait_until((tmp_path / "frozen").exists)
        os.kill(frozen.pid, signal.SIGSTOP)
        other = make_loop(bowl, url=store_url, trials=1)
        wait_until(lambda: other.study.trials)
        assert other.run() == "budget.trials=1 is met", "the grace time passes, and its trial is run again"
        before = other.study.trials
        assert [trial.state for trial in before] == [TrialState.FAIL, TrialState.COMPLETE]
        assert before[1].user_attrs["retry_of"] == 0
        assert before[1].params == before[0].params
        if wakes == "at the end":
            (tmp_path / "end").touch()
        os.kill(frozen.pid, signal.SIGCONT)
        frozen.join(GUARD_SECONDS)
        assert frozen.exitcode == 0
    (ended,) = [file.read_text() for file in tmp_path.glob("*.ended")]
    assert ended == "budget.trials=3 is met", "it went on with other trials"
    after = other.study.trials
    assert after[:2] == before
    assert [trial.state for trial in after[2:]] == [TrialState.COMPLETE] * 2
    assert not Path(tmp_path / "kept" / "trial-00000.safetensors").exists()
