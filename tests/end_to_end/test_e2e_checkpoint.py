"""A trial whose worker is killed goes on from its last checkpoint, and the study ends as if nothing had happened."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial

from kirigami.search.study.record import Worker
from kirigami.search.study.recovery import is_gone
from tests.end_to_end.commands import Folder, finish, state_of, wait_for

pytestmark = pytest.mark.slow

NAME = "breast_cancer"
EPOCHS = 8
STUDY = (
    *("search", f"study={NAME}", "network._target_=slow.Slow", "space=[optimizer]", "pruner=none", "budget.trials=2"),
    *(f"trainer.epochs={EPOCHS}", "trainer.batch_size=64", "checkpoint.every_s=0"),
)
# Dropout draws from the global generator: a trial that goes on has to go on with its numbers.
SLOW = """
import os
import time

from torch import nn


class Slow(nn.Module):
    def __init__(self, in_shape, out_features):
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(0.2), nn.Linear(in_shape[0], out_features))

    def forward(self, inputs):
        time.sleep(float(os.environ["PAUSE"]))
        return self.layers(inputs)
"""


@dataclass(frozen=True)
class Story:
    """What was there when the workers were killed, what came of it, and a study that nobody disturbed."""

    struck: FrozenTrial
    left: set[str]
    trials: list[FrozenTrial]
    undisturbed: list[FrozenTrial]
    files: set[str]
    log: str


def made(path: Path, pause: str) -> Folder:
    path.mkdir(exist_ok=True)
    (path / "slow.py").write_text(SLOW)
    return Folder(path, {"PAUSE": pause})


def with_checkpoint(folder: Folder) -> FrozenTrial | None:
    """Return the second trial once it has come to a second checkpoint."""
    trials = folder.trials(NAME)
    found = trials[1].user_attrs.get("checkpoint", {}) if len(trials) > 1 else {}
    return trials[1] if found.get("fidelity", 0) > 1 else None


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    path = tmp_path_factory.mktemp("killed")
    slow, quick = made(path, "0.05"), made(path, "0")
    process = slow.start(*STUDY)
    struck = wait_for(lambda: with_checkpoint(slow), process)
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    wait_for(lambda: is_gone(Worker.from_attrs(struck.user_attrs)))
    left, struck = quick.files(), slow.trials(NAME)[1]
    quick.run(*STUDY).check()
    other = made(tmp_path_factory.mktemp("undisturbed"), "0")
    other.run(*STUDY).check()
    log = (path / "studies" / NAME / "worker-0.log").read_text()
    return Story(struck, left, quick.trials(NAME), other.trials(NAME), quick.files(), log)


def test_it_was_killed_after_a_checkpoint(story: Story) -> None:
    assert state_of(story.struck) == "RUNNING"
    assert 1 < story.struck.user_attrs["checkpoint"]["fidelity"] < EPOCHS
    assert f"studies/{NAME}/artifacts/{story.struck.user_attrs['checkpoint']['id']}" in story.left


def test_the_retry_goes_on_from_there(story: Story) -> None:
    again = story.trials[2]
    reached = story.struck.user_attrs["checkpoint"]["fidelity"]

    assert again.user_attrs["retry_of"] == 1
    assert again.user_attrs["outcome"]["resumed_from"] == {"trial": 1, "fidelity": reached}
    assert f"trial 2 goes on from fidelity {reached}, the checkpoint of trial 1" in story.log
    assert again.user_attrs["checkpoint"]["fidelity"] == EPOCHS - 1


def test_it_ends_as_an_undisturbed_one_does(story: Story) -> None:
    pairs = zip([story.trials[0], story.trials[2]], story.undisturbed, strict=True)
    for mine, other in pairs:
        assert mine.params == other.params
        assert mine.values == other.values
        found, expected = (trial.user_attrs["outcome"] for trial in (mine, other))
        assert found["curve"] == expected["curve"]
        assert {**found["metrics"], "seconds": 0} == {**expected["metrics"], "seconds": 0}
    assert [fidelity for fidelity, _ in story.trials[2].user_attrs["outcome"]["curve"]] == list(range(1, EPOCHS + 1))


def test_nothing_is_left_of_it(story: Story) -> None:
    assert not [name for name in story.files if "/artifacts/" in name]
