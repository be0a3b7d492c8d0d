"""`kirigami lr-range`: the study's own network is tried under rising rates, and what is found is said and drawn."""

import json
import re
import sys

import numpy as np
import pytest

from kirigami.models.schedules import RangeTest
from kirigami.search.command import cli
from kirigami.search.comparing.range_test import sentences, steepest
from kirigami.search.comparing.rates import Rates

SMALL = ["study=breast_cancer", "network.width=8", "trainer.device=cpu"]
OWN = """
import torch
from lightning.pytorch import LightningModule

class Own(LightningModule):
    def __init__(self, out_features, optimizers=1, wrong=False):
        super().__init__()
        self.layer = torch.nn.Linear(30, out_features)
        self.optimizers_wanted, self.wrong = optimizers, wrong

    def forward(self, inputs):
        return self.layer(inputs)

    def training_step(self, batch, index):
        if self.wrong:
            raise RuntimeError("no such luck")
        loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log("train", loss)
        return loss

    def configure_optimizers(self):
        made = [torch.optim.SGD(self.parameters(), lr=.1) for _ in range(self.optimizers_wanted)]
        return made, [torch.optim.lr_scheduler.ConstantLR(made[0])]
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the verb in an empty folder; return the exit code, what was printed and what went wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("KIRIGAMI_STORAGE", f"sqlite:///{tmp_path}/studies.db")

    def command(*given):
        code = cli.main(["lr-range", *given])
        told = capsys.readouterr()
        return code, told.out, told.err

    return command


def made(losses, rates=None):
    rates = rates or [10.0**place for place in range(-len(losses), 0)]
    lowest = int(np.argmin(losses))
    highest = rates[lowest] if losses[lowest] < losses[0] else None
    return RangeTest(rates, losses, losses, None if highest is None else highest / 10, highest)


def test_the_verb_says_draws_and_keeps_nothing_else(run, tmp_path):
    code, out, error = run(*SMALL, "steps=60")
    assert (code, error) == (0, "")
    folder = tmp_path / "studies" / "breast_cancer"
    assert {one.relative_to(tmp_path).as_posix() for one in tmp_path.rglob("*") if one.is_file()} == {
        "studies/breast_cancer/lr-range.html",
        "studies/breast_cancer/lr-range.json",
    }
    found = json.loads((folder / "lr-range.json").read_text())
    assert found["asked"] == {"lowest": 1e-6, "highest": 10.0, "steps": 60}
    assert found["suggestion"] == pytest.approx(found["highest"] / 10)
    assert found["steepest"] <= found["highest"]
    assert f"optimizer.lr={found['suggestion']:.2g}" in out
    assert f"space.optimizer.lr.high={found['highest']:.2g}" in out
    page = (folder / "lr-range.html").read_text()
    assert "<script src=" not in page
    assert not re.search(r"<link[^>]+href=", page)
    assert f"suggestion {found['suggestion']:.2g}" in page
    again = run(*SMALL, "steps=60", "format=json")
    assert json.loads(again[1])["losses"] == found["losses"]  # the seed decides
    other = json.loads(run(*SMALL, "steps=60", "format=json", "optimizer=adam", "~space.optimizer")[1])
    assert other["losses"] != found["losses"]
    assert other["optimizer"] == "adam"
    assert "space.optimizer" not in " ".join(other["said"])


def test_a_lightning_module_of_ones_own_has_its_own_optimiser(run, tmp_path):
    (tmp_path / "own_range.py").write_text(OWN)
    own = ["study=breast_cancer", "space=[]", "network._target_=own_range.Own", "trainer.device=cpu"]
    code, out, error = run(*own, "steps=20", "lowest=1e-4")
    assert (code, error) == (0, "")
    assert "optimizer.lr" not in out
    assert "lr=" in out
    code, _, error = run(*own, "+network.optimizers=2")
    assert code == 2
    assert error.startswith("kirigami: configure_optimizers must give one optimiser")
    code, _, error = run(*own, "+network.wrong=true")
    assert (code, error) == (1, "kirigami: the network cannot be trained: RuntimeError: no such luck\n")


def test_what_is_left_out_is_said(run):
    code, out, _ = run(*SMALL, "sparsity=magnitude", "steps=10")
    assert code == 0
    assert "Trained without what sparsity would add" in out


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["lowest=0"], "lowest must be a rate above 0, such as 1e-3, but got '0'."),
        (["highest=fast"], "highest must be a rate above 0, such as 1e-3, but got 'fast'."),
        (["lowest=1", "highest=0.1"], "lowest must be below highest=0.1, but got 1. Set lowest=1e-6."),
        (["steps=9"], "steps must be a whole number of at least 10, but got '9'. Set steps=100."),
        (["format=yaml"], "format must be one of (table, json), but got 'yaml'."),
        (["study=digist"], "study=digist: no such file in the config. Did you mean 'digits'?"),
        (["study=breast_cancer", "network.width=-1"], "network.width"),
    ],
)
def test_what_is_wrong_is_one_line(run, given, expected):
    code, out, error = run(*given)
    assert (code, out) == (2, "")
    assert error.startswith(f"kirigami: {expected}")
    assert error.count("\n") == 1


def test_steepest_is_where_the_loss_falls_most_for_a_factor():
    assert steepest(made([5.0, 4.9, 4.0, 1.0, 0.9, 6.0])) == 1e-4  # halfway down the cliff, before the lowest point
    assert steepest(made([5.0, 5.1, 6.0, 7.0])) is None


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (
            [5.0, 6.0, 7.0, 8.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0],
            r"nowhere below that of the first rate\. Begin lower \(lowest=1e-08\)",
        ),
        ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.5, 1.0], r"falls up to the last rate\. Go on: highest=1000"),
    ],
)
def test_what_to_do_where_the_range_was_wrong(losses, expected):
    rates = Rates(lowest=1e-6, highest=10.0, steps=10)
    said = " ".join(sentences(rates, made(losses), left_out=[], searched=False, fixed=False))
    assert re.search(expected, said)
