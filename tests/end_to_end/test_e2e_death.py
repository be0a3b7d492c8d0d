"""Workers and supervisors die in every way there is; the study ends as if nothing had happened."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e_command import LAST_CORE, TWO_CORES, Cores, Ended, Folder, finish, running, state_of, wait_for
from optuna.trial import FrozenTrial

from kirigami.search.study.record import Worker
from kirigami.search.study.recovery import is_gone

STUDY = ("search", "study=breast_cancer", "network._target_=slow.Slow", "space=[optimizer]", "pruner=none")
SHORT = ("trainer.epochs=4", "trainer.batch_size=64")
BUDGET = 6
NAME = "breast_cancer"

SLOW = """
import os
import time

from torch import nn


class Slow(nn.Module):
    def __init__(self, in_shape, out_features):
        super().__init__()
        self.layer = nn.Linear(in_shape[0], out_features)

    def forward(self, inputs):
        time.sleep(float(os.environ["PAUSE"]))
        return self.layer(inputs)
"""
SLOWLY, FAST = {"PAUSE": "0.1"}, {"PAUSE": "0"}  # a trial of 24 steps: about 3 s, or 50 ms


def write_network(path: Path, env: dict[str, str], cores: Cores = LAST_CORE) -> Folder:
    (path / "slow.py").write_text(SLOW)
    return Folder(path, env, cores)


@dataclass(frozen=True)
class Stage:
    """One run of a study: the trial that was being trained when it was struck, how it ended, the trials after it."""

    struck: FrozenTrial
    ended: Ended
    trials: list[FrozenTrial]


def retries(trials: list[FrozenTrial], number: int) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.user_attrs.get("retry_of") == number]


def states(trials: list[FrozenTrial]) -> list[str]:
    return [state_of(trial) for trial in trials]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return write_network(tmp_path_factory.mktemp("deaths"), SLOWLY)


@pytest.fixture(scope="module")
def killed(folder: Folder) -> Stage:
    """Run 1: all processes are killed at once in the second trial."""
    process = folder.start(*STUDY, *SHORT, f"budget.trials={BUDGET}")
    struck = wait_for(lambda: running(folder, NAME, 1), process)
    os.killpg(process.pid, signal.SIGKILL)
    ended = finish(process)
    wait_for(lambda: is_gone(Worker.from_attrs(struck.user_attrs)))
    return Stage(struck, ended, folder.trials(NAME))


@pytest.fixture(scope="module")
def interrupted(folder: Folder, killed: Stage) -> Stage:
    """Run 2: Ctrl-C for the supervisor alone, in the trial that repeats the killed one."""
    process = folder.start(*STUDY, *SHORT, f"budget.trials={BUDGET}")
    struck = wait_for(lambda: running(folder, NAME, len(killed.trials)), process)
    os.kill(process.pid, signal.SIGINT)
    ended = finish(process)
    return Stage(struck, ended, folder.trials(NAME))


@pytest.fixture(scope="module")
def orphaned(folder: Folder, interrupted: Stage) -> Stage:
    """Run 3: the supervisor is killed, its worker is not."""
    process = folder.start(*STUDY, *SHORT, f"budget.trials={BUDGET}")
    struck = wait_for(lambda: running(folder, NAME, len(interrupted.trials) - 1), process)
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: is_gone(Worker.from_attrs(struck.user_attrs)))
    return Stage(struck, finish(process), folder.trials(NAME))


@pytest.fixture(scope="module")
def finished(folder: Folder, orphaned: Stage) -> list[FrozenTrial]:
    """Run 4: undisturbed."""
    Folder(folder.path, FAST).run(*STUDY, *SHORT, f"budget.trials={BUDGET}").check()
    return folder.trials(NAME)


def test_killed_trial_is_left_as_it_was(killed: Stage) -> None:
    assert killed.ended.code == -signal.SIGKILL
    assert states(killed.trials).count("RUNNING") == 1
    assert retries(killed.trials, killed.struck.number) == []


def test_killed_trial_is_run_again_first_and_once(killed: Stage, interrupted: Stage) -> None:
    assert state_of(interrupted.trials[killed.struck.number]) == "FAIL"
    (again,) = retries(interrupted.trials, killed.struck.number)
    assert again.number == interrupted.struck.number
    assert again.params == killed.struck.params


def test_interrupt_stops_cleanly_and_says_how_to_resume(interrupted: Stage) -> None:
    interrupted.ended.check(1)

    assert "stopping" in interrupted.ended.out
    assert "the same command resumes it" in interrupted.ended.out
    assert interrupted.ended.error == ""


def test_interrupt_hands_the_trial_back(interrupted: Stage) -> None:
    assert "RUNNING" not in states(interrupted.trials)
    (waiting,) = retries(interrupted.trials, interrupted.struck.number)
    assert state_of(waiting) == "WAITING"
    assert waiting.params == interrupted.struck.params


def test_interrupt_is_nobodys_death(interrupted: Stage) -> None:
    """Only deaths count towards the number of retries after which a trial is given up."""
    (waiting,) = retries(interrupted.trials, interrupted.struck.number)

    assert waiting.user_attrs["retries"] == interrupted.struck.user_attrs["retries"] == 1


def test_worker_leaves_when_its_supervisor_is_dead(orphaned: Stage) -> None:
    assert orphaned.ended.code == -signal.SIGKILL
    assert "RUNNING" not in states(orphaned.trials)
    (waiting,) = retries(orphaned.trials, orphaned.struck.number)
    assert state_of(waiting) == "WAITING"
    assert waiting.params == orphaned.struck.params


def test_budget_is_met_exactly_after_all(finished: list[FrozenTrial]) -> None:
    assert states(finished).count("COMPLETE") == BUDGET
    assert not {"RUNNING", "WAITING"} & set(states(finished))


def test_every_struck_trial_was_repeated_once(
    killed: Stage, interrupted: Stage, orphaned: Stage, finished: list[FrozenTrial]
) -> None:
    for stage in (killed, interrupted, orphaned):
        (again,) = retries(finished, stage.struck.number)
        assert again.params == stage.struck.params
    complete = [trial.params for trial in finished if state_of(trial) == "COMPLETE"]
    assert complete.count(killed.struck.params) == 1


def test_nothing_was_drawn_twice(finished: list[FrozenTrial]) -> None:
    complete = [tuple(trial.params.values()) for trial in finished if state_of(trial) == "COMPLETE"]

    assert len(set(complete)) == BUDGET


def test_deaths_leave_no_litter(finished: list[FrozenTrial], folder: Folder) -> None:
    own = {"slow.py", "studies.db", "studies"}

    assert {name.split("/")[0] for name in folder.files()} == own
    assert not [name for name in folder.files() if name.endswith(".tmp")]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[FrozenTrial, Ended, list[FrozenTrial]]:
    """Two workers, one of which is killed in the midst of a trial: they meet the budget exactly."""
    folder = write_network(tmp_path_factory.mktemp("pair"), SLOWLY, cores=TWO_CORES)
    process = folder.start(*STUDY, *SHORT, "workers=2", "budget.trials=5")
    struck = wait_for(lambda: running(folder, NAME, 2), process)
    os.kill(struck.user_attrs["worker"]["pid"], signal.SIGKILL)
    return struck, finish(process), folder.trials(NAME)


def test_killed_worker_is_replaced(pair: tuple[FrozenTrial, Ended, list[FrozenTrial]]) -> None:
    struck, ended, trials = pair
    ended.check()

    assert "was killed by signal 9" in ended.out
    complete = [trial for trial in trials if state_of(trial) == "COMPLETE"]
    assert len({tuple(trial.params.values()) for trial in complete}) == len(complete) == 5
    assert len({trial.user_attrs["worker"]["pid"] for trial in complete}) > 1
    assert not {"RUNNING", "WAITING"} & set(states(trials))
    (again,) = retries(trials, struck.number)
    assert again.params == struck.params
