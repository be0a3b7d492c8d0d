"""Workers lost under each launcher: 60 SIGKILLs locally, one of three Ray nodes, a SLURM job; what is lost or doubled.

Trials sleep a little at each step, so that they are long enough to be struck. A node or job is killed with SIGKILL:
its raylet or controller, the process that holds the worker, and the worker, at once and while it trains.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna

from benchmarks.rig.command import COMMAND
from kirigami.search.storage import Settings, open_storage
from kirigami.search.study.record import Worker, retry_of, state_recorded
from kirigami.search.study.recovery import is_gone

NAME, KILLS, SECONDS = "breast_cancer", 60, 900
STUDY = ["search", f"study={NAME}", "network._target_=slow.Slow", "space=[optimizer]", "pruner=none"]
SHORT = ["trainer.epochs=4", "trainer.batch_size=64"]
SLOW = """
import time
from torch import nn

class Slow(nn.Module):
    def __init__(self, in_shape, out_features):
        super().__init__()
        self.layer = nn.Linear(in_shape[0], out_features)

    def forward(self, inputs):
        time.sleep(0.02)
        return self.layer(inputs)
"""


def measure() -> dict[str, Any]:
    """Run a study under each launcher, strike it, and return what became of its trials."""
    results = {"local": local(), "ray": on_ray(), "slurm": on_slurm()}
    for name, row in results.items():
        print(f"{name:<6} " + "  ".join(f"{key} {value}" for key, value in row.items()))
    keys = ("complete", "lost", "twice", "open", "over")
    sums = {key: sum(row[key] for row in results.values()) for key in keys}
    prose = (
        f"{results['local']['struck']} SIGKILLs among 4 local workers, one of 3 Ray nodes killed, one SLURM job killed "
        f"and one warned (submitit's local executor): {sums['complete']} trials complete, "
        f"{sums['lost']} lost, {sums['twice']} done twice, {sums['open']} left open, {sums['over']} over budget."
    )
    return {**results, "prose": prose}


def local(budget: int = 100, workers: int = 4, seed: int = 0) -> dict[str, Any]:
    """Kill a random worker that trains, 60 times, between two deaths about as long as a trial takes."""
    chance = random.Random(seed)
    with study(budget, f"workers={workers}") as (process, trials):
        struck = 0
        while struck < KILLS and process.poll() is None:
            alive = [pid for pid in map(_pid, trials()) if pid]
            if alive:
                os.kill(chance.choice(alive), signal.SIGKILL)
                struck += 1
            time.sleep(chance.uniform(0.5, 2.5))
        return judged(process, trials, budget, struck)


def on_ray(budget: int = 40) -> dict[str, Any]:
    """Kill one of three nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    size = {"num_cpus": 1, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    try:
        node = [cluster.add_node(**size) for _ in range(2)][-1]
        raylet = node.all_processes["raylet"][0].process.pid
        with study(budget, "workers=3", "launcher=ray", f"launcher.address={cluster.address}") as (process, trials):
            pid = _wait(lambda: next((p for p in map(_pid, trials()) if p and raylet in _above(p)), None), process)
            _kill(raylet, _above(pid)[0], pid)
            return judged(process, trials, budget, 1)
    finally:
        cluster.shutdown()


def on_slurm(budget: int = 20) -> dict[str, Any]:
    """Kill one of two jobs of submitit's local executor, and warn another as SLURM does before it ends a job."""
    with study(budget, "workers=2", "launcher=slurm", "launcher.cluster=local") as (process, trials):
        pid = _wait(lambda: next((p for p in map(_pid, trials()) if p), None), process)
        job, controller = _above(pid)[:2]
        _kill(controller, job, pid)
        other = _wait(lambda: next((p for p in map(_pid, trials()) if p and p != pid), None), process)
        os.kill(_above(other)[0], signal.SIGUSR2)
        return judged(process, trials, budget, 2)


@contextmanager
def study(budget: int, *overrides: str) -> Iterator[tuple["subprocess.Popen[bytes]", Callable[[], list[Any]]]]:
    """Start a study in an empty folder; give its process, and a function that reads its trials."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "slow.py").write_text(SLOW)
        paths = os.pathsep.join(filter(None, sys.path))
        process = subprocess.Popen(
            [*COMMAND, *STUDY, *SHORT, f"budget.trials={budget}", *overrides],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )
        seen: list[Any] = []

        def trials() -> list[Any]:
            if not seen:
                url = f"sqlite:///{folder}/studies.db"
                with suppress(Exception):  # not there yet, or half made
                    store = open_storage(Settings.read({"url": url, "heartbeat_s": 10, "grace_s": 60}), create=False)
                    seen.append(optuna.load_study(study_name=NAME, storage=store))
            return list(seen[0].get_trials(deepcopy=False)) if seen else []

        try:
            yield process, trials
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)


def judged(
    process: "subprocess.Popen[bytes]", trials: Callable[[], list[Any]], budget: int, struck: int
) -> dict[str, Any]:
    """Wait for the end and count: `lost` are interrupted trials without a retry that ended."""
    code = process.wait(SECONDS)
    rows = trials()
    recorded = {trial.number: state_recorded(trial) for trial in rows}
    done = [row for row in rows if row.state.is_finished() and recorded[row.number] not in (None, "surplus")]
    after: dict[int, list[Any]] = {}
    for trial in rows:
        if (earlier := retry_of(trial)) is not None and recorded[trial.number] != "surplus":
            after.setdefault(earlier, []).append(trial)
    cut = [trial for trial in rows if trial.state.name == "FAIL" and recorded[trial.number] is None]
    times = [trial.datetime_complete for trial in done]
    starts = [trial.datetime_start for trial in rows if trial.datetime_start]
    return {
        "exit": code,
        "budget": budget,
        "struck": struck,
        "complete": sum(trial.state.name == "COMPLETE" for trial in rows),
        "failed": sum(recorded[trial.number] == "failed" for trial in done),
        "interrupted": len(cut),
        "lost": sum(trial.number not in after for trial in cut),
        "twice": sum(len(again) > 1 for again in after.values()),
        "open": sum(not trial.state.is_finished() for trial in rows),
        "over": len(done) - budget,
        "seconds": round((max(times) - min(starts)).total_seconds(), 1) if times else None,
    }


def _pid(trial: Any) -> int | None:
    """Return the worker that trains a trial now."""
    worker = Worker.from_attrs(trial.user_attrs)
    return worker.pid if trial.state.name == "RUNNING" and worker and not is_gone(worker) else None


def _above(pid: int) -> list[int]:
    pids = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        pids.append(pid)
    return pids


def _kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def _wait(what: Callable[[], Any], process: "subprocess.Popen[bytes]") -> Any:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and process.poll() is None:
        if answer := what():
            return answer
        time.sleep(0.05)
    raise RuntimeError("what was waited for did not come")
