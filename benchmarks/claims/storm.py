"""Eight workers and a Postgres store under kills, freezes and restarts: what is lost, told twice or left over.

`kirigami search workers=8` runs 200 quick trials on the breast cancer data while a seeded plan, spread over the
study's progress, kills 60 workers (SIGKILL), freezes 10 for longer than the grace time (SIGSTOP, then SIGCONT) and
takes the database away three times, once by SIGKILL. The store is then read by plain SQL (`benchmarks/rig/judge.py`),
and the configurations are compared with those that the same seed draws undisturbed.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rig import judge, light
from benchmarks.rig.command import COMMAND
from benchmarks.rig.database import Database
from benchmarks.rig.faults import Storm, plan
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.spaces import Space

SEEDS = (0, 1)
TRIALS, WORKERS, KILLS, STOPS = 200, 8, 60, 10
RESTARTS = ((signal.SIGINT, 8.0), (signal.SIGKILL, 2.0), (signal.SIGINT, 1.0))
HEARTBEAT_S, GRACE_S, FROZEN_S = 1, 3, 7.0
RETRIES = 10  # a configuration that is struck four times is bad luck here, not a bad configuration
LIMIT_S = 1800.0
# A linear model whose trials take a second or more without work for the processor: eight share two cores.
NETWORK = """
import os
import time

from torch import nn


class Slow(nn.Module):
    def __init__(self, in_shape, out_features):
        super().__init__()
        self.layer = nn.Linear(in_shape[0], out_features)

    def forward(self, inputs):
        time.sleep(0.05)
        while os.path.exists("hold"):  # the storm is behind: workers are still starting
            time.sleep(0.05)
        return self.layer(inputs)
"""
STUDY = [
    "study=breast_cancer",
    "network._target_=slow.Slow",
    "space=[optimizer]",
    "trainer.epochs=3",
    "trainer.batch_size=64",
    "sampler=random",
    f"workers={WORKERS}",
    f"budget.trials={TRIALS}",
    f"storage.heartbeat_s={HEARTBEAT_S}",
    f"storage.grace_s={GRACE_S}",
    f"storage.retries={RETRIES}",
]
ZEROES = ("lost", "twice", "open", "failed")


def measure() -> dict[str, Any]:
    """Run the storm under each seed; return the counts."""
    rows = [storm(seed) for seed in SEEDS]
    columns = ("seed", "seconds", *rows[0]["faults"], *rows[0]["verdict"])
    print("  ".join(f"{name:>11}" for name in columns))
    for row in rows:
        values = (row["seed"], row["seconds"], *row["faults"].values(), *row["verdict"].values())
        print("  ".join(f"{value:>11}" for value in values))
    return {"storms": rows, "budget": TRIALS, "workers": WORKERS, "prose": prose(rows)}


def prose(rows: list[dict[str, Any]]) -> str:
    """Say in a sentence what was done and what was left of it."""
    lines = []
    for row in rows:
        verdict, faults = row["verdict"], row["faults"]
        lines.append(
            f"seed {row['seed']}: {verdict['finished']} trials finished of a budget of {TRIALS}, {verdict['distinct']} "
            f"distinct, {verdict['lost']} lost, {verdict['twice']} told twice, {verdict['open']} left open, "
            f"{verdict['failed']} given up, {verdict['undisturbed']} as an undisturbed study draws them, after "
            f"{faults['kills']} kills and {faults['stops']} freezes of {FROZEN_S:g} s ({faults['held']} of them struck "
            f"a worker with a running trial) and {faults['restarts']} restarts of the database, in "
            f"{row['seconds']:.0f} s"
        )
    return f"{WORKERS} workers on Postgres, grace time {GRACE_S} s; " + "; ".join(lines) + "."


def storm(seed: int) -> dict[str, Any]:
    """Run one study in a storm and judge what is left of it."""
    folder = Path(tempfile.mkdtemp(prefix="kirigami-"))
    database = Database(folder)
    began = time.perf_counter()
    try:
        with (folder / "search.log").open("w") as log:
            faults, searches = _search(database, seed, log, folder)
        seconds = time.perf_counter() - began
        with database.connect() as connection:
            verdict = judge.verdict(connection, light.draws(seed, TRIALS, _space()))
        row = {"seed": seed, "seconds": round(seconds, 1), "faults": faults, "searches": searches, "verdict": verdict}
        print(row, flush=True)
        if any(verdict[name] for name in ZEROES) or verdict["distinct"] != TRIALS:
            copied = shutil.copy(folder / "search.log", Path(tempfile.gettempdir()) / f"storm-{seed}.log")
            print(f"something is wrong; what the search said is in {copied}", flush=True)
        return row
    finally:
        database.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


def _search(database: Database, seed: int, log: Any, folder: Path) -> tuple[dict[str, Any], int]:
    """Run `kirigami search` until the budget is met, through the storm; return what struck it, and how many runs."""
    command = [*COMMAND, "search", *STUDY, f"seed={seed}", f"storage.url={database.url}"]
    faults = plan(seed, TRIALS, KILLS, STOPS, RESTARTS)
    searches, search, watched = 0, None, False
    (folder / "slow.py").write_text(NETWORK)
    storm = Storm(database, faults, seed, FROZEN_S, lambda pid: search is not None and _is_below(pid, search.pid))
    storm.hold = folder / "hold"
    until = time.monotonic() + LIMIT_S
    try:
        while time.monotonic() < until:
            if search is None or search.poll() is not None:
                if search is not None and search.returncode == 0:
                    break
                searches += 1
                search = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
            if not watched and _has_study(database):
                with database.connect() as connection:
                    judge.watch(connection)
                watched = True
            if watched:
                storm.step()
            time.sleep(0.05)
    finally:
        storm.wake(float("inf"))
        if search is not None and search.poll() is None:
            search.send_signal(signal.SIGTERM)
            search.wait(60)
    return {**storm.done, "away_s": storm.away_s, "left_over": len(storm.faults)}, searches


def _has_study(database: Database) -> bool:
    with database.connect() as connection:
        return judge.has_study(connection)


def _is_below(pid: int, ancestor: int) -> bool:
    """Return whether a process descends from another."""
    while pid > 1:
        if pid == ancestor:
            return pid != os.getpid()
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def _space() -> Space:
    raw = compose(STUDY)
    settings = resolve(raw)
    return Space.from_config(raw["space"], {key: part for key, part in settings.items() if key != "space"})
