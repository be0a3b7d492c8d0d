"""Workers and supervisors die in every way there is; the study ends as if nothing had happened."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial

from kirigami.search.study.record import Worker
from kirigami.search.study.recovery import is_gone
from tests.end_to_end.commands import LAST_CORE, TWO_CORES, Cores, Ended, Folder, finish, running, state_of, wait_for

pytestmark = pytest.mark.slow  # four runs that are struck, a minute in all
STUDY = ("search", "study=breast_cancer", "network._target_=slow.Slow", "space=[optimizer]", "pruner=none")
SHORT = ("trainer.epochs=4", "trainer.batch_size=64")
BUDGET = 7
NAME = "breast_cancer"

SLOW = """
import time
from pathlib import Path

from torch import nn

steps = 0  # of training, of all trials of this process


class Slow(nn.Module):
    def __init__(self, in_shape, out_features):
        super().__init__()
        self.layer = nn.Linear(in_shape[0], out_features)

    def forward(self, inputs):
        global steps
        steps += self.training
        if steps > int(Path(__file__).with_name("pace").read_text()):
            time.sleep(1)
        return self.layer(inputs)
"""
STEPS = 24  # of a trial


def write_network(path: Path, cores: Cores = LAST_CORE) -> Folder:
    (path / "slow.py").write_text(SLOW)
    return Folder(path, cores=cores)


def pace(folder: Folder, quick: int) -> None:
    """Let each process train so many steps at once; every later one takes a second, so no trial ends unseen."""
    new = folder.path / "pace.new"
    new.write_text(str(quick))
    new.replace(folder.path / "pace")


def running_slowly(folder: Folder, number: int) -> FrozenTrial | None:
    """Return a trial of at least this number that is the second one of its worker, and so takes a second a step."""
    struck = running(folder, NAME, number)
    if struck is None:
        return None
    others = [trial for trial in folder.trials(NAME) if trial.number != struck.number]  # which may have ended since
    workers = [trial.user_attrs["worker"]["pid"] for trial in others if state_of(trial) == "COMPLETE"]
    return struck if struck.user_attrs["worker"]["pid"] in workers else None


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
    return write_network(tmp_path_factory.mktemp("deaths"), TWO_CORES)


@pytest.fixture(scope="module")
def killed(folder: Folder) -> Stage:
    """Run 1: all processes are killed at once in the second trial."""
    pace(folder, STEPS + 2)
    process = folder.start(*STUDY, *SHORT, f"budget.trials={BUDGET}")
    struck = wait_for(lambda: running(folder, NAME, 1), process)
    os.killpg(process.pid, signal.SIGKILL)
    ended = finish(process)
    wait_for(lambda: is_gone(Worker.from_attrs(struck.user_attrs)))
    return Stage(struck, ended, folder.trials(NAME))


@pytest.fixture(scope="module")
def interrupted(folder: Folder, killed: Stage) -> Stage:
    """Run 2: Ctrl-C for the supervisor alone, in the trial that repeats the killed one."""
    pace(folder, 0)
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
def replaced(folder: Folder, orphaned: Stage) -> Stage:
    """Run 4: two workers, one of which is killed in the midst of its second trial; the study comes to its end."""
    pace(folder, STEPS + 2)
    process = folder.start(*STUDY, *SHORT, "workers=2", f"budget.trials={BUDGET}")
    struck = wait_for(lambda: running_slowly(folder, len(orphaned.trials)), process)
    os.kill(struck.user_attrs["worker"]["pid"], signal.SIGKILL)
    pace(folder, 1_000_000)
    return Stage(struck, finish(process), folder.trials(NAME))


@pytest.fixture(scope="module")
def finished(replaced: Stage) -> list[FrozenTrial]:
    """What is there after all four runs."""
    return replaced.trials


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
    killed: Stage, interrupted: Stage, orphaned: Stage, replaced: Stage, finished: list[FrozenTrial]
) -> None:
    for stage in (killed, interrupted, orphaned, replaced):
        (again,) = retries(finished, stage.struck.number)
        assert again.params == stage.struck.params
    complete = [trial.params for trial in finished if state_of(trial) == "COMPLETE"]
    assert complete.count(killed.struck.params) == 1


def test_nothing_was_drawn_twice(finished: list[FrozenTrial]) -> None:
    complete = [tuple(trial.params.values()) for trial in finished if state_of(trial) == "COMPLETE"]

    assert len(set(complete)) == BUDGET


def test_deaths_leave_no_litter(finished: list[FrozenTrial], folder: Folder) -> None:
    own = {"slow.py", "pace", "studies.db", "studies"}

    assert {name.split("/")[0] for name in folder.files()} == own
    assert not [name for name in folder.files() if name.endswith(".tmp")]


def test_killed_worker_is_replaced(replaced: Stage) -> None:
    replaced.ended.check()

    assert "was killed by signal 9" in replaced.ended.out
    (again,) = retries(replaced.trials, replaced.struck.number)
    assert again.params == replaced.struck.params
    assert again.user_attrs["worker"]["pid"] != replaced.struck.user_attrs["worker"]["pid"]
