"""`compare` leaves the study's test rows aside in every repeat, where the seed draws them too."""

import sys

import numpy as np
import pytest

from kirigami import tasks
from kirigami.search.command.cli import main
from kirigami.search.comparing import confirm as confirming
from kirigami.search.comparing.record import Arm
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.training import alone as trial
from kirigami.search.training import building
from kirigami.search.training.job import Outcome

OPTIONS = ["over=network.width", "values=[4,8]", "metric=balanced_accuracy", "repeats=6", "from=config", "format=json"]
OWN = """
import torch
from lightning.pytorch import LightningModule

class Steps(LightningModule):
    def __init__(self, out_features):
        super().__init__()
        self.layer = torch.nn.Linear(64, out_features)

    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=.1)
"""


@pytest.fixture
def table(tmp_path):
    """A table of which the task puts a share aside."""
    draw = np.random.default_rng(0)
    rows = "".join(f"{a:.6f},{b:.6f},{'yes' if a > b else 'no'}\n" for a, b in draw.normal(size=(300, 2)))
    (tmp_path / "all.csv").write_text(f"a,b,won\n{rows}")
    return ["task=table", f"task.train={tmp_path / 'all.csv'}", "task.target=won", "task.positive=yes"]


def rows_of(inputs):
    return {row.numpy().tobytes() for row in inputs}


@pytest.mark.parametrize("kind", ["bundled", "table"])
def test_no_test_row_of_the_study_takes_part_in_a_repeat(kind, table, tmp_path, sqlite_url, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    overrides = ["study=breast_cancer", "seed=3", "trainer.device=cpu", *(table if kind == "table" else ())]
    study = tasks.build(resolve(compose([*overrides, "space=[]"]))["task"], seed=3)
    study.setup("test")
    aside = rows_of(study.load_test().inputs)
    splits, seeds = set(), set()

    def look(job, threads, test_split):
        task = building.open_task(TrialConfig.from_resolved(job.config), None, test_split)
        parts = task.load()
        train, validation = rows_of(parts.train.inputs), rows_of(parts.validation.inputs)
        assert len(train) + len(validation) + len(aside) == (300 if kind == "table" else 569)
        assert not (train | validation) & aside
        splits.add(frozenset(validation))
        seeds.add(job.config["seed"])
        return Outcome("complete", {"balanced_accuracy": 0.5})

    monkeypatch.setattr(trial, "train", look)
    assert main(["compare", *overrides, f"storage.url={sqlite_url}", *OPTIONS]) == 0
    assert capsys.readouterr().out
    assert seeds == set(range(1003, 1009))
    assert len(splits) == 6  # each repeat has validation rows of its own


def test_test_rows_go_by_their_own_seed():
    one, other, moved = (tasks.build({"name": "digits"}, seed=a, test_seed=b) for a, b in ((1, None), (2, 1), (1, 2)))
    for task in (one, other, moved):
        task.setup("test")
    assert rows_of(one.test.inputs) == rows_of(other.test.inputs) != rows_of(moved.test.inputs)
    assert rows_of(one.validation.inputs) != rows_of(other.validation.inputs)
    assert one.fingerprint() == tasks.build({"name": "digits"}, seed=1, test_seed=1).fingerprint()


def test_a_network_without_a_forward_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    (tmp_path / "own_steps.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    overrides = ["study=digits_dense", "space=[]", "network._target_=own_steps.Steps", "trainer.device=cpu"]
    config = resolve(compose(overrides))
    with pytest.raises(InputError, match=r"^trial 7: its network has no forward, so that its test rows"):
        confirming.check_forward(Arm("trial 7", config, 7))
    confirming.check_forward(Arm("trial 8", resolve(compose(["study=digits_dense", "space=[]"])), 8))
    broken = {**config, "network": {"_target_": "own_steps.Nothing"}}
    with pytest.raises(InputError, match=r"^trial 9: its network cannot be built and called: "):
        confirming.check_forward(Arm("trial 9", broken, 9))
