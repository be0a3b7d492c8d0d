"""A user's own folder: data, networks, LightningModule and studies of one's own, run from an empty folder."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from kirigami.search.command.cli import main
from tests.end_to_end.commands import Ended, Folder, inside

NETWORK = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_shape, out_features, width, depth=1):
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, 1, 3)]  # needs numbers, not shapes alone
        layers = [nn.Linear(in_shape[0], width), nn.ReLU()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.ReLU()]
        self.own_layers = nn.Sequential(*layers, nn.Linear(width, out_features))

    def forward(self, inputs):
        return self.own_layers(inputs)
"""
MODULE = """
import torch
from lightning.pytorch import LightningModule
from torch import nn


class Lit(LightningModule):
    def __init__(self, in_shape, out_features, rate=0.01):
        super().__init__()
        self.rate = rate
        self.layer = nn.Linear(in_shape[0], out_features)

    def training_step(self, batch, index):
        inputs, targets = batch
        return nn.functional.cross_entropy(self.layer(inputs), targets)

    def validation_step(self, batch, index):
        inputs, targets = batch
        self.log("val_acc", (self.layer(inputs).argmax(1) == targets).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.rate)
"""
STUDY = """
# @package _global_
defaults:
  - override /task: table
  - override /network: own
  - override /space: [optimizer, mine]

task: {train: rows.csv, test: secret.csv, target: kind, drop: [id]}
network: {_target_: net.Net, width: 8}
trainer: {epochs: 2, batch_size: 16}
budget: {trials: 2}
"""
SPACE = """
network:
  width: {low: 4, high: 16}
"""
MODULE_STUDY = """
# @package _global_
defaults:
  - override /task: table
  - override /network: own
  - override /space: []
  - override /pruner: none

task: {train: rows.csv, target: kind, drop: [id]}
network: {_target_: lit.Lit, rate: 0.1}
objective: {val_acc: maximize}
export: false
space: {network: {rate: {low: 0.01, high: 1.0, log: true}}}
trainer: {epochs: 3, batch_size: 16}
budget: {trials: 2}
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        file = folder / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def rows() -> str:
    """Return a table of 120 rows whose class is told by two of its columns."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 120))
    kinds = np.where(x + y > 0, "cat", "dog")
    lines = [f"{number},{a:.4f},{b:.4f},{kind}" for number, (a, b, kind) in enumerate(zip(x, y, kinds, strict=True))]
    return "\n".join(["id,x,y,kind", *lines]) + "\n"


@dataclass(frozen=True)
class Own:
    """The user's folder, the empty folders where the command ran, and how that ended."""

    mine: Path
    network: Folder
    module: Folder
    network_ended: Ended
    module_ended: Ended


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    mine = write(
        tmp_path_factory.mktemp("mine"),
        net_dot_py=NETWORK,
        lit_dot_py=MODULE,
        study__mine_dot_yaml=STUDY,
        study__lit_dot_yaml=MODULE_STUDY,
        space__mine_dot_yaml=SPACE,
    )
    secret = "id,x,y,kind\n1,no number,,a class that no train row has\n"
    data = write(tmp_path_factory.mktemp("data"), rows_dot_csv=rows(), secret_dot_csv=secret)
    network = Folder(tmp_path_factory.mktemp("network"))
    module = Folder(tmp_path_factory.mktemp("module"))
    where = (f"task.path={data}", "--config-dir", str(mine))
    ended = network.run("search", "study=mine", *where)
    return Own(mine, network, module, ended, inside(module, "search", "study=lit", *where))


def test_own_network_on_own_table(own: Own) -> None:
    own.network_ended.check()
    trials = own.network.trials("mine")

    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE"]
    assert all(4 <= trial.params["network.width"] <= 16 for trial in trials)


def test_own_network_is_what_was_trained(own: Own) -> None:
    trials = own.network.trials("mine")
    files = list((own.network.path / "studies/mine/networks").glob("*.safetensors"))

    assert files
    for file in files:
        kept = load_file(file)
        width = trials[int(file.stem.partition("-")[2])].params["network.width"]
        assert kept["own_layers.0.weight"].shape == (width, 2)
        assert kept["own_layers.2.weight"].shape == (2, width)


def test_own_file_of_test_rows_is_never_opened(own: Own) -> None:
    """The study names a test file whose one row cannot be read: a search looks at its header alone."""
    assert own.network_ended.code == 0
    own.network_ended.check()


def test_own_lightning_module_is_trained_as_it_is(own: Own) -> None:
    own.module_ended.check()
    trials = own.module.trials("lit")

    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE"]
    for trial in trials:
        outcome = trial.user_attrs["outcome"]
        assert trial.values == [outcome["metrics"]["val_acc"]]
        assert [fidelity for fidelity, _ in outcome["curve"]] == [1, 2, 3]
        assert outcome["params"] == 6
    assert max(trial.value for trial in trials) > 0.7


def test_own_metric_stands_in_the_results(own: Own) -> None:
    ended = inside(own.module, "results", "study=lit", "format=json", "--config-dir", str(own.mine)).check()

    assert json.loads(ended.out)["objective"] == ["val_acc"]


def test_results_need_no_study_file(own: Own) -> None:
    ended = inside(own.module, "results", "study=lit", "format=json").check()

    assert json.loads(ended.out)["study"] == "lit"


@pytest.mark.parametrize("name", ["network", "module"])
def test_empty_folder_holds_the_store_and_the_study_only(own: Own, name: str) -> None:
    folder: Folder = getattr(own, name)

    assert {file.split("/")[0] for file in folder.files()} == {"studies.db", "studies"}


ORDERS = {
    "last": ["config", "study=lit", "seed=7", "--config-dir", "DIR"],
    "in the midst": ["config", "study=lit", "--config-dir", "DIR", "seed=7"],
    "first": ["config", "--config-dir", "DIR", "study=lit", "seed=7"],
    "before the verb": ["--config-dir", "DIR", "config", "study=lit", "seed=7"],
    "with a sign of equality": ["config", "--config-dir=DIR", "study=lit", "seed=7"],
}


@pytest.mark.parametrize("arguments", ORDERS.values(), ids=ORDERS)
def test_config_dir_may_stand_anywhere(own: Own, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = main([one.replace("DIR", str(own.mine)) for one in arguments])
    out = capsys.readouterr()

    assert code == 0, out.err
    assert "lit.Lit" in out.out
    assert "seed: 7" in out.out
