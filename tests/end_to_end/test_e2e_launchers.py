"""What every launcher owes a study; and Ray nodes and SLURM jobs are lost in the middle of one."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial

from kirigami.search.study.record import Worker
from kirigami.search.study.recovery import is_gone
from tests.end_to_end.commands import TWO_CORES, Folder, finish, running, state_of, wait_for

pytestmark = pytest.mark.slow

STUDY = ("search", "study=breast_cancer", "network._target_=slow.Slow", "space=[optimizer]", "pruner=none")
SHORT = ("trainer.epochs=4", "trainer.batch_size=64")
NAME = "breast_cancer"
SLOW = """
import time

from torch import nn


class Slow(nn.Module):
    def __init__(self, in_shape, out_features):
        super().__init__()
        self.layer = nn.Linear(in_shape[0], out_features)

    def forward(self, inputs):
        time.sleep(0.04)
        return self.layer(inputs)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "slow.py").write_text(SLOW)
    return Folder(tmp_path, {"PYTHONPATH": str(Path(__file__).parents[2])}, TWO_CORES)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Three Ray nodes of one CPU each, as processes of this machine."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    size = {"num_cpus": 1, "object_store_memory": 80_000_000}
    started = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    try:
        for _ in range(2):
            started.add_node(wait=False, **size)
        started.wait_for_nodes()
        yield started
    finally:
        started.shutdown()


def started(folder: Folder, budget: int, *more: str) -> "subprocess.Popen[str]":
    return folder.start(*STUDY, *SHORT, f"budget.trials={budget}", *more)


def counts(trials: list[FrozenTrial]) -> dict[str, int]:
    """Return how many trials are complete, how many are not over, and how many were trained twice.

    Two workers may queue a retry of one trial: the later one is handed back untrained when it is asked for.
    """
    complete = [tuple(sorted(trial.params.items())) for trial in trials if state_of(trial) == "COMPLETE"]
    states = [state_of(trial) for trial in trials]
    return {
        "complete": states.count("COMPLETE"),
        "open": states.count("RUNNING") + states.count("WAITING"),
        "twice": len(complete) - len(set(complete)),
    }


class LauncherContract:
    """What has to hold wherever the workers run: a new launcher joins by its overrides.

    The command's exit codes are part of it: 0 at the end of the budget, 1 after Ctrl-C, 2 for wrong input.
    """

    @pytest.fixture
    def overrides(self) -> tuple[str, ...]:
        raise NotImplementedError

    def test_a_study_meets_its_budget_exactly(self, folder: Folder, overrides: tuple[str, ...]) -> None:
        finish(started(folder, 4, "workers=2", *overrides)).check()

        assert counts(folder.trials(NAME)) == {"complete": 4, "open": 0, "twice": 0}

    def test_ctrl_c_hands_the_trials_back_and_the_same_command_goes_on(
        self, folder: Folder, overrides: tuple[str, ...]
    ) -> None:
        process = started(folder, 4, "workers=2", *overrides)
        struck = wait_for(lambda: running(folder, NAME, 1), process)
        os.kill(process.pid, signal.SIGINT)
        ended = finish(process).check(1)
        stopped = folder.trials(NAME)
        finish(started(folder, 4, "workers=2", *overrides)).check()
        trials = folder.trials(NAME)

        assert "the same command resumes it" in ended.out
        assert "RUNNING" not in [state_of(trial) for trial in stopped]
        assert counts(trials) == {"complete": 4, "open": 0, "twice": 0}
        assert struck.params in [trial.params for trial in trials if state_of(trial) == "COMPLETE"]

    def test_what_a_worker_refuses_ends_the_command(self, folder: Folder, overrides: tuple[str, ...]) -> None:
        ended = finish(started(folder, 4, "optimizer.lr=abc", "~space.optimizer.lr", *overrides)).check(2)

        assert "optimizer.lr" in ended.error
        assert "'abc'" in ended.error
        assert folder.trials(NAME) == []


class TestLocal(LauncherContract):
    @pytest.fixture
    def overrides(self) -> tuple[str, ...]:
        return ("launcher=local",)


class TestRay(LauncherContract):
    @pytest.fixture
    def overrides(self, cluster: Any) -> tuple[str, ...]:
        return ("launcher=ray", f"launcher.address={cluster.address}")


class TestSlurmOnThisMachine(LauncherContract):
    @pytest.fixture
    def overrides(self) -> tuple[str, ...]:
        pytest.importorskip("submitit", reason="submitit is not installed")
        return ("launcher=slurm", "launcher.cluster=local")


def ancestors(pid: int) -> list[int]:
    """Return the processes above one, nearest first."""
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def on_node(trials: Callable[[], list[FrozenTrial]], raylet: int) -> FrozenTrial | None:
    """Return a trial that is trained on the node of this raylet."""
    for trial in trials():
        worker = Worker.from_attrs(trial.user_attrs) if "origin" in trial.user_attrs else None
        if state_of(trial) == "RUNNING" and worker and not is_gone(worker) and raylet in ancestors(worker.pid):
            return trial
    return None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_ray_goes_on_where_a_node_is_lost(folder: Folder, cluster: Any) -> None:
    """One of three nodes is killed with all its processes while a trial runs there."""
    node = cluster.list_all_nodes()[-1]
    (raylet,) = [one.process.pid for one in node.all_processes["raylet"]]
    process = started(folder, 12, "workers=3", "launcher=ray", f"launcher.address={cluster.address}")
    struck = wait_for(lambda: on_node(lambda: folder.trials(NAME), raylet), process)
    pid = struck.user_attrs["worker"]["pid"]
    for one in (raylet, ancestors(pid)[0], pid):
        os.kill(one, signal.SIGKILL)
    ended = finish(process).check()

    trials = folder.trials(NAME)
    assert counts(trials) == {"complete": 12, "open": 0, "twice": 0}
    assert "Ray: 3 workers on 3 nodes" in ended.out
    (again,) = [trial for trial in trials if trial.user_attrs.get("retry_of") == struck.number]
    assert again.params == struck.params
    assert state_of(again) == "COMPLETE"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_a_slurm_job_is_queued_again_when_it_is_warned(folder: Folder) -> None:
    """SLURM sends SIGUSR2 before it ends a job, for its time or for another's priority."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    process = started(folder, 5, "workers=1", "launcher=slurm", "launcher.cluster=local")
    warned = wait_for(lambda: running(folder, NAME, 1), process)
    os.kill(ancestors(warned.user_attrs["worker"]["pid"])[0], signal.SIGUSR2)
    ended = finish(process).check()

    trials, logs = folder.trials(NAME), folder.path / "studies" / NAME / "slurm"
    assert counts(trials) == {"complete": 5, "open": 0, "twice": 0}
    assert trials[warned.number].user_attrs["handed_back"]
    assert f"Logs in {logs}" in ended.out
    assert "preempted" in "".join(file.read_text() for file in logs.glob("*.err"))
    assert not list(logs.glob("stop-*"))
