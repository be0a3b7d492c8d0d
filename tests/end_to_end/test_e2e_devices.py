"""The command with two devices a trial: it ends at its budget, and leaves no process behind."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.end_to_end.commands import Folder

SMALL = ["study=breast_cancer", "space=[optimizer]", "network.width=8", "trainer.epochs=2", "trainer.device=cpu"]
SMALL += ["sampler=random", "pruner=none"]


def running_in(folder: Path) -> list[str]:
    """Return the processes that run in a folder; none where the system does not tell."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(process / "cwd") == str(folder):
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.slow
def test_a_search_whose_trials_train_on_two_devices(tmp_path: Path) -> None:
    folder = Folder(tmp_path)

    ended = folder.run("search", *SMALL, "trainer.devices=2", "budget.trials=2").check()

    assert "2 trials: 2 complete" in ended.out
    for trial in folder.trials("breast_cancer"):
        outcome = trial.user_attrs["outcome"]
        assert trial.user_attrs["origin"]["config"]["trainer"]["devices"] == 2
        assert abs(outcome["device_s"] - 2 * outcome["wall_s"]) < 1e-3
    assert running_in(tmp_path) == []
