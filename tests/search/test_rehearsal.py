"""What is found before the first trial: the names of the test file, networks that cannot work or cannot be exported."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from lightning.pytorch import LightningModule
from rich.console import Console
from torch import Tensor, nn

from kirigami.errors import ArgumentError
from kirigami.search.config.compose import compose
from kirigami.search.config.study import StudySettings
from kirigami.search.errors import InputError
from kirigami.search.export.run import open_test_rows
from kirigami.search.rehearsal import running
from kirigami.search.rehearsal.building import rehearse
from kirigami.search.workers.launchers.local import Local
from kirigami.tasks.table import Table

HERE = __name__


class Linear(nn.Module):
    def __init__(self, in_shape: Any, out_features: int, width: int = 2) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_shape[0])
        self.out = nn.Linear(in_shape[0], out_features)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.norm(x))


class Dict(Linear):
    def forward(self, x: Tensor) -> Any:
        return {"logits": self.out(x)}


class Pair(Linear):
    def forward(self, x: Tensor) -> Any:
        return self.out(x), x


class TwoInputs(Linear):
    def forward(self, x: Tensor, y: Tensor) -> Any:  # type: ignore[override]
        return self.out(x + y)


class OneLogit(nn.Module):
    def __init__(self, in_shape: Any) -> None:
        super().__init__()
        self.out = nn.Linear(in_shape[0], 1)

    def forward(self, x: Tensor) -> Any:
        return self.out(x).squeeze(1)


class Counts(Linear):
    def forward(self, x: Tensor) -> Any:
        return (self.out(x) > 0).long()


class Raises(Linear):
    def forward(self, x: Tensor) -> Any:
        return self.out(x.reshape(-1, 1000))


class Logs(Linear):
    def forward(self, x: Tensor) -> Any:
        return self.out(x.log())


class Detached(Linear):
    def forward(self, x: Tensor) -> Any:
        return self.out(x).detach()


class Wide(Linear):
    """Works in the size of the config alone."""

    def __init__(self, in_shape: Any, out_features: int, width: int = 2) -> None:
        super().__init__(in_shape, out_features)
        self.width = width

    def forward(self, x: Tensor) -> Any:
        return self.out(x)[:, : self.width]


class Sized(Linear):
    def forward(self, x: Tensor) -> Any:
        return self.out(x) + torch.zeros(int(x.shape[0]), 1)


class Branch(Linear):
    def forward(self, x: Tensor) -> Any:
        return self.out(x) if x.mean() > 0 else self.out(-x)


class Normed(nn.Module):
    def __init__(self, in_shape: Any, out_features: int) -> None:
        super().__init__()
        with pytest.warns(FutureWarning):
            self.out = nn.utils.weight_norm(nn.Linear(in_shape[0], out_features))

    def forward(self, x: Tensor) -> Any:
        return self.out(x)


class Random(Linear):
    def forward(self, x: Tensor) -> Any:
        return self.out(x) + torch.rand(1)


class Lit(LightningModule):
    """Logs a score of its own name."""

    def __init__(self, in_shape: Any, out_features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_shape[0], out_features)

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)

    def training_step(self, batch: Any, index: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Broken(Lit):
    def validation_step(self, batch: Any, index: int) -> None:
        raise KeyError("no such score")


class Lazy(nn.Module):
    def __init__(self, out_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(out_features))

    def forward(self, x: Tensor) -> Any:
        return self.layers(x)


class Stubborn(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        raise ValueError("no step today")


def bad_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) - targets).abs()


def bad_metric(outputs: Tensor, targets: Tensor) -> float:
    return float(outputs.argmax(1).nonsense(targets))


STUDY = """
# @package _global_
defaults:
  - override /task: table
  - override /network: mlp
  - override /space: [optimizer]
task: {train: rows.csv, target: kind}
trainer: {batch_size: 32, device: cpu}
pruner: {name: none}
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    rows = pandas.DataFrame(generator.normal(size=(80, 3)), columns=["a", "b", "c"])
    rows["kind"] = np.where(rows["a"] > 0, "yes", "no")
    rows.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "own.yaml").write_text(STUDY.lstrip())
    return tmp_path


def settings(table: Path, *overrides: str, space: str = "") -> StudySettings:
    if space:
        (table / "study" / "own.yaml").write_text(STUDY.lstrip().replace("[optimizer]", "[]") + space)
    return StudySettings.from_raw(compose(["study=own", f"task.path={table}", *overrides], [table]))


def network(name: str) -> str:
    return f"network._target_={HERE}.{name}"


WORKS_NOT = {
    "Dict": r"network._target_=\S+Dict gives a dict of \(logits\); it must give a tensor \(rows, 2\), one score",
    "Pair": r"gives a tuple of 2; it must give a tensor \(rows, 2\)",
    "TwoInputs": r"for a tensor \(rows, 3\) raises TypeError: .*missing 1 required positional argument: 'y'",
    "OneLogit": r"gives a tensor \(rows,\); it must give a tensor \(rows, 2\), one score for each class of \(no, yes\)",
    "Counts": r"gives numbers of torch.int64; it must give floating-point numbers",
    "Raises": r"raises RuntimeError: shape '\[-1, 1000\]' is invalid",
    "Logs": r"gives NaN before any training",
    "Detached": r"the loss has no gradient",
}


@pytest.mark.parametrize(("name", "line"), WORKS_NOT.items(), ids=WORKS_NOT)
def test_a_network_that_cannot_work(table: Path, name: str, line: str) -> None:
    with pytest.raises(InputError, match=line) as refused:
        rehearse(settings(table, network(name)))
    assert name == "Detached" or "test_rehearsal.py:" in str(refused.value)
    assert "\n" not in str(refused.value)


EXPORTS_NOT = {
    "Sized": "uses the number of rows as a Python number",
    "Branch": r"decides by the data what is computed \(test_rehearsal.py:\d+\)",
    "Normed": "the older torch.nn.utils.weight_norm cannot be copied",
    "Random": "its values for the same rows are others the second time",
}


@pytest.mark.parametrize(("name", "line"), EXPORTS_NOT.items(), ids=EXPORTS_NOT)
def test_a_network_that_cannot_be_exported(
    table: Path, name: str, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=rf"{name} cannot be exported: .*{line}.*Set export=false\.$") as refused:
        rehearse(settings(table, network(name)))
    assert "\n" not in str(refused.value)
    assert "GraphModule" not in "".join(capfd.readouterr())
    rehearse(settings(table, network(name), "export=false"))


def test_both_ends_of_a_size_are_run(table: Path) -> None:
    space = "space: {network: {width: {low: 1, high: 2}}}"
    with pytest.raises(InputError, match=r"space.network.width=1 is refused: .*gives a tensor \(rows, 1\); it must"):
        rehearse(settings(table, network("Wide"), "+network.width=2", space=space))


def test_an_optimiser_of_ones_own(table: Path) -> None:
    own = ["optimizer=own", f"optimizer._target_={HERE}.Stubborn", "+optimizer.lr=0.1"]
    with pytest.raises(
        InputError, match=r"Stubborn at its first step raises ValueError: no step today \(test_rehearsal"
    ):
        rehearse(settings(table, *own, space="space: {trainer: {batch_size: {choices: [8, 16]}}}"))


def test_a_loss_and_a_metric_of_ones_own(table: Path) -> None:
    with pytest.raises(
        InputError, match=r"output.loss._target_=\S+bad_loss gives a tensor \(8,\); it must give a single"
    ):
        rehearse(settings(table, f"output.loss={{_target_: {HERE}.bad_loss}}"))
    own = f"+metrics.mine={{_target_: {HERE}.bad_metric, direction: minimize}}"
    with pytest.raises(
        InputError, match=r"metrics.mine._target_=\S+ raises AttributeError: .* \(test_rehearsal.py:\d+\)"
    ):
        rehearse(settings(table, own))


def test_a_lightning_module_has_to_log_the_objective(table: Path) -> None:
    with pytest.raises(InputError, match=r"objective must be one of \(val_acc\), but got 'accuracy'"):
        rehearse(settings(table, network("Lit")))
    rehearse(settings(table, network("Lit"), "objective={val_acc: maximize}"))
    with pytest.raises(
        InputError, match=r"Broken for a few rows raises KeyError: .*no such score.* \(test_rehearsal.py:"
    ):
        rehearse(settings(table, network("Broken"), "objective={val_acc: maximize}"))


def test_lazy_layers_are_no_obstacle(table: Path) -> None:
    rehearse(settings(table, network("Lazy")))


def test_nothing_is_changed(table: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    plain = rehearse(settings(table))
    drawn = torch.get_rng_state()
    torch.set_rng_state(before)
    own = rehearse(settings(table, network("Linear")))

    assert torch.equal(torch.get_rng_state(), drawn)
    assert torch.equal(own.train.inputs, plain.train.inputs)
    assert own.test is None
    for (inputs, targets), (same, alike) in zip(own.train_dataloader(), plain.train_dataloader(), strict=True):
        assert torch.equal(inputs, same)
        assert torch.equal(targets, alike)


def test_what_is_ours_is_not_run(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "build_module", pytest.fail)
    rehearse(settings(table))


def test_the_names_of_the_test_part_are_looked_at(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(task: Table) -> None:
        raise ArgumentError("test", "has no column 'b'.")

    monkeypatch.setattr(Table, "check_test_part", refuse)
    with pytest.raises(InputError, match=r"^task.test has no column 'b'\.$"):
        rehearse(settings(table))


def test_notices_are_said_once(tmp_path: Path) -> None:
    launcher = Local([], deaths_in_a_row=3, finished=lambda: 0)
    for line in ("a column is left out", "another one", "a column is left out"):
        launcher.tell([line])
    assert launcher.notes == ["a column is left out", "another one"]


SEEN_BEFORE = {
    "nofile": r"^task.test: there is no file 'nofile.csv'",
    "column": r"^task.test: 'column.csv' lacks .*\(b\)",
}
SEEN_AT_EXPORT = {
    "class": r"^task.test: 'class.csv', row 2: the class 'maybe' of 'kind' does not occur in the train rows",
    "text": r"^task.test: 'text.csv', row 2: 'x' in the column 'b' is no number",
    "gap": r"^task.test: 'gap.csv', row 2: the target 'kind' is empty",
}
TEST_FILES = {
    "column": "a,c,kind\n1,1,yes\n",
    "class": "a,b,c,kind\n1,2,1,yes\n0,1,1,maybe\n",
    "text": "a,b,c,kind\n1,2,1,yes\n-1,x,1,no\n",
    "gap": "a,b,c,kind\n1,2,1,yes\n1,1,1,\n",
}


def test_a_test_file_is_refused_by_its_header_before_and_by_its_rows_at_export(table: Path) -> None:
    for name, text in TEST_FILES.items():
        (table / f"{name}.csv").write_text(text)
    for name, line in SEEN_BEFORE.items():
        with pytest.raises(InputError, match=line):
            rehearse(settings(table, f"task.test={name}.csv"))
    for name, line in SEEN_AT_EXPORT.items():
        task = rehearse(settings(table, f"task.test={name}.csv"))
        with pytest.raises(ArgumentError) as refused:
            open_test_rows(task, Console())
        assert re.search(line, str(refused.value))
        assert "\n" not in str(refused.value)
