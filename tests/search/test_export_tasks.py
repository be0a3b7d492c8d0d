"""What is exported of other tasks: tables with gaps and categories, values in their own unit, folded networks."""

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from torch import nn

from kirigami import models, tasks
from kirigami.models.sharing import SoftSharing
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.config.settings import TrialConfig
from kirigami.search.export import parity
from kirigami.search.export.files import compare, to_onnx, written
from kirigami.search.export.finish import Finished, finish
from kirigami.search.export.judge import Judge
from kirigami.search.export.predict import predict
from kirigami.search.training.building import build_network

pytestmark = pytest.mark.usefixtures("operators_once")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    drawn = np.random.default_rng(0)
    rows = pandas.DataFrame(
        {"size": drawn.exponential(10, 120), "colour": drawn.choice(["red", "green"], 120), "price": 0.0, "good": "no"}
    )
    rows["price"] = 100 + 7 * rows["size"] + drawn.normal(size=120)
    rows.loc[rows["size"] > 7, "good"] = "yes"
    rows.loc[::9, "size"] = np.nan
    rows.to_csv(tmp_path / "rows.csv", index=False, sep=";", decimal=",")  # as spreadsheets of many lands write it
    return tmp_path / "rows.csv"


def opened(table: Path, target: str, drop: str) -> tasks.Task:
    task = tasks.build({"name": "table", "train": str(table), "target": target, "drop": [drop], "log": True}, seed=0)
    task.setup("fit")
    return task


MLP = {"name": "mlp", "width": 8, "depth": 1}


def network_for(task: tasks.Task) -> nn.Module:
    torch.manual_seed(0)
    return models.build_network(MLP, in_shape=task.in_shape, out_features=task.out_features).eval()


@pytest.mark.parametrize(("target", "drop"), [("good", "price"), ("price", "good")], ids=["classes", "values"])
def test_a_table_is_served_from_raw_columns(target: str, drop: str, table: Path, tmp_path: Path) -> None:
    task = opened(table, target, drop)
    network = network_for(task)
    files = written(Finished(network, 0.0, 0.0), MLP, [], task)
    task.setup("test")
    assert compare(network, files, task).rows == len(task.raw_test())
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    rows = pandas.read_csv(table, sep=";")
    found = {}
    for name in files:
        to = predict(tmp_path / name, table, tmp_path / f"{name}.csv")
        assert to is not None
        found[name] = pandas.read_csv(to)
    assert len(found["model.kgm"]) == len(rows)
    pandas.testing.assert_frame_equal(found["model.kgm"], found["model.onnx"])
    if target == "good":
        assert set(found["model.kgm"]["class"]) <= {"no", "yes"}
    else:  # an untrained network says something near the mean, in the unit of the column
        assert found["model.kgm"]["value"].between(0, 500).all()


def test_a_table_without_a_column_is_refused(table: Path, tmp_path: Path) -> None:
    task = opened(table, "good", "price")
    (tmp_path / "model.onnx").write_bytes(to_onnx(network_for(task), task))
    pandas.read_csv(table, sep=";").drop(columns=["colour"]).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(ValueError, match=r"'other\.csv' has no column 'colour'"):
        predict(tmp_path / "model.onnx", tmp_path / "other.csv", None)


def test_a_table_of_categories_alone_is_served_and_what_is_new_is_said(tmp_path: Path, capsys) -> None:
    rows = {"colour": ["red", "blue", "", "red"] * 10, "shape": ["round", "flat"] * 20, "kind": ["yes", "no"] * 20}
    pandas.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    task = tasks.build({"name": "table", "train": str(tmp_path / "rows.csv"), "target": "kind"}, seed=0)
    task.setup("fit")
    (tmp_path / "model.onnx").write_bytes(to_onnx(network_for(task), task))
    (tmp_path / "new.txt").write_text("shape|colour\nround|red\nflat|green\nround|\n")
    assert predict(tmp_path / "model.onnx", tmp_path / "new.txt", None) is None
    answers, said = capsys.readouterr()
    assert len(answers.splitlines()) == 4
    assert "'colour' has 1 cell of a category that training did not have (such as 'green', 'new.txt', row 2)" in said


def test_layers_that_are_alike_fold_at_the_end(tmp_path: Path) -> None:
    overrides = ["network=resnet", "network.stages=1", "network.blocks=3", "network.width=8", "trainer.device=cpu"]
    raw = compose(["study=digits_dense", "~space.network", "space=[]", *overrides, "trainer.epochs=5"])
    config = TrialConfig.from_resolved(resolve(raw))
    task = tasks.build({"name": "digits"}, seed=0)
    task.setup("fit")
    network = build_network(config, task)
    technique = SoftSharing(4)
    technique.attach(network)
    with torch.no_grad():  # as fold pressure would have left them
        for layer in technique.layers.values():
            row = layer.parametrizations.weight.original
            row.copy_(torch.tensor([1.0, 2.0, 0.5, -1.0]) * float(row[0] or 1.0))
    technique.harden()
    done = finish(network, config, Judge(task, "accuracy", tolerance=1.0))
    assert any(note.startswith("fold: ") and "not kept" not in note for note in done.notes)
    files = written(done, config.network, [], task)
    task.setup("test")
    assert compare(done.network, files, task).differences["model.onnx"] < 1e-3
    unfolded = written(Finished(network, 0.0, 0.0), config.network, [], task)
    assert len(files["model.onnx"]) < 0.6 * len(unfolded["model.onnx"])  # each weight is there once
    assert len(files["model.kgm"]) < 0.6 * len(unfolded["model.kgm"])


def test_a_form_that_differs_is_named() -> None:
    outputs = np.eye(3)
    assert parity.check("classes", outputs, {"same": outputs}).differences == {"same": 0.0}
    with pytest.raises(RuntimeError, match="other disagrees with the trained network on 2 of 3 test rows"):
        parity.check("classes", outputs, {"other": outputs[[1, 0, 2]]})
    with pytest.raises(RuntimeError, match=r"has outputs \(2, 3\)"):
        parity.check("values", outputs, {"short": outputs[:2]})
