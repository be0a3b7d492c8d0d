"""Three hosts and a database host with addresses of their own; one is cut off in the midst of a study and restored.

The hosts are network namespaces (`benchmarks/rig/network.py`; needs root, iproute2 and util-linux). Each runs `kirigami
search` on one study of the Postgres at the database host's address, which asks for a password. The cable of one is
pulled while it trains, for longer than the grace time, then put back: its trial is run again elsewhere, and what it
brings home late is refused. The store is read by plain SQL (`benchmarks/rig/judge.py`).
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rig import judge
from benchmarks.rig.command import COMMAND
from benchmarks.rig.database import PASSWORD, Database
from benchmarks.rig.network import Network, missing
from kirigami.search.study.record import Retry, Worker

HOSTS = ("oak", "elm", "ash")
CUT, TRIALS = "elm", 200
HEARTBEAT_S, GRACE_S, CUT_S = 1, 3, 12.0
LIMIT_S = 900.0
STUDY = [
    "study=breast_cancer",
    "sampler=random",
    "pruner=none",
    f"budget.trials={TRIALS}",
    f"storage.heartbeat_s={HEARTBEAT_S}",
    f"storage.grace_s={GRACE_S}",
]


def measure() -> dict[str, Any]:
    """Run the study over three hosts; return the counts."""
    reason = missing()
    if reason is not None:
        sys.exit(f"hosts: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="kirigami-"))
    try:
        with Network(("store", *HOSTS)) as network:
            results = study(network, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, value in (results["verdict"] | results["cut"]).items():
        print(f"{name:<24} {value}")
    return {**results, "prose": prose(results)}


def prose(results: dict[str, Any]) -> str:
    """Say in a sentence what happened."""
    verdict, cut = results["verdict"], results["cut"]
    return (
        f"{len(HOSTS)} hosts on one Postgres host: {verdict['finished']} trials finished of a budget of {TRIALS}, "
        f"{verdict['distinct']} distinct, {verdict['lost']} lost, {verdict['twice']} told twice, {verdict['open']} "
        f"left open. One host was cut off for {CUT_S:g} s with a grace time of {GRACE_S} s: its trial was run again "
        f"{cut['retried_after_s']:.1f} s after the cut and finished elsewhere, what it brought home was refused, and "
        f"it finished {cut['finished_after_return']} more trials after its return; {results['seconds']:.0f} s."
    )


def study(network: Network, folder: Path) -> dict[str, Any]:
    """Run the study, cut a host off while it trains, and judge what is left."""
    database = Database(folder, network.addresses["store"], network.inside("store"))
    command = [*COMMAND, "search", *STUDY, f"storage.url={database.url.replace(f':{PASSWORD}@', '@')}"]
    began, searches = time.perf_counter(), {}
    try:
        for name in HOSTS:
            searches[name] = _start(network, name, command, folder, database)
        with database.connect() as connection:
            _wait(lambda: judge.has_study(connection), searches)
            judge.watch(connection)
            _wait(lambda: judge.finished(connection) >= TRIALS // 4, searches)
            cut = cut_off(network, connection, CUT, CUT_S)
            codes = {name: search.wait(LIMIT_S) for name, search in searches.items()}
            assert set(codes.values()) == {0}, {name: (folder / name / "log").read_text()[-2000:] for name in HOSTS}
            cut["finished_after_return"] = finished_by(connection, CUT, after=cut.pop("returned"))
            verdict = judge.verdict(connection)
    finally:
        for search in searches.values():
            search.kill()
            search.wait()
        database.stop(signal.SIGQUIT)
    return {"seconds": round(time.perf_counter() - began, 1), "verdict": verdict, "cut": cut}


def cut_off(network: Network, connection: Any, name: str, seconds: float) -> dict[str, Any]:
    """Cut a host off while it holds a trial, and restore it; return when and how that trial was run again.

    Raises:
        TimeoutError: where nobody ran it again.
    """
    number = _until(lambda: held_by(connection, name), 60)
    network.cut(name)
    began = time.perf_counter()
    try:
        retry = _until(lambda: retry_of(connection, number), 60)
        waited = time.perf_counter() - began
        time.sleep(max(0.0, seconds - waited))
    finally:
        network.restore(name)
    (returned,) = connection.execute("SELECT clock_timestamp()").fetchone()
    return {"trial": number, "retry": retry, "retried_after_s": round(waited, 2), "returned": returned}


def held_by(connection: Any, host: str) -> int | None:
    """Return the number of a trial that a host's worker runs."""
    query = """SELECT min(number) FROM trials JOIN trial_user_attributes USING (trial_id)
               WHERE state = 'RUNNING' AND key = %s AND value_json LIKE %s"""
    return connection.execute(query, [Worker.KEY, f'%"{host}/%']).fetchone()[0]  # type: ignore[no-any-return]


def retry_of(connection: Any, number: int) -> int | None:
    """Return the number of the trial that repeats another."""
    query = """SELECT min(number) FROM trials JOIN trial_user_attributes USING (trial_id)
               WHERE key = %s AND value_json = %s"""
    return connection.execute(query, [Retry.OF, str(number)]).fetchone()[0]  # type: ignore[no-any-return]


def finished_by(connection: Any, host: str, after: Any) -> int:
    """Return how many trials a host has finished since a moment."""
    query = """SELECT count(DISTINCT trial_id) FROM watched JOIN trial_user_attributes USING (trial_id)
               WHERE after IN ('COMPLETE', 'PRUNED') AND key = %s AND value_json LIKE %s AND at > %s"""
    return int(connection.execute(query, [Worker.KEY, f'%"{host}/%', after]).fetchone()[0])


def _start(network: Network, name: str, command: list[str], folder: Path, database: Database) -> Any:
    home = folder / name
    home.mkdir()
    passwords = home / "pgpass"
    passwords.write_text(f"{database.host}:{database.port}:postgres:postgres:{PASSWORD}\n")
    passwords.chmod(0o600)
    with (home / "log").open("w") as log:
        env = {**os.environ, "PGPASSFILE": str(passwords)}
        return network.start(name, command, env, cwd=home, stdout=log, stderr=subprocess.STDOUT)


def _wait(what: Any, searches: dict[str, Any]) -> None:
    _until(lambda: what() or any(search.poll() for search in searches.values()), LIMIT_S)


def _until(what: Any, seconds: float) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = what()
        if answer not in (None, False):
            return answer
        time.sleep(0.1)
    raise TimeoutError(f"nothing came in {seconds:g} s")
