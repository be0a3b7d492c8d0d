"""Trials on a user's own rows, of every kind, up to files that are compared and asked for predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch import Tensor, nn

from kirigami.models import graph
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.export import serving
from kirigami.search.export.card import interface
from kirigami.search.export.files import compare, to_onnx, written
from kirigami.search.export.finish import Judge, finish
from kirigami.search.export.predict import predict
from kirigami.search.export.session import open_session
from kirigami.search.rehearsal.building import rehearse_trial
from kirigami.search.training import alone
from kirigami.search.training.building import Assembly, open_task
from kirigami.search.training.job import Job

HERE = __name__
DRAWN = np.random.default_rng(0)
TARGETS: dict[str, Any] = {
    "labels": DRAWN.integers(0, 2, (48, 3)),
    "vectors": DRAWN.normal(size=(48, 2)) * [1, 100],
    "classes": np.arange(48) % 2,
}


def rows(shape: str) -> tuple[Any, Any]:
    inputs = np.random.default_rng(1).normal(size=(48, 5))
    if shape == "pixels":
        images = np.random.default_rng(1).normal(size=(48, 1, 6, 6))
        return images, np.digitize(images[:, 0], [-0.5, 0.5])
    if shape == "named":
        return {"place": inputs, "word": np.arange(48) % 4}, TARGETS["classes"]
    if shape == "placed":
        return (inputs, inputs[:, :2]), TARGETS["classes"]
    return inputs, TARGETS[shape]


class Two(nn.Module):
    """Takes two inputs, by place or by name; its own names are letters, as those of values in a file are."""

    def __init__(self, in_shape: Any, out_features: int) -> None:
        super().__init__()
        shapes = list(in_shape.values() if isinstance(in_shape, dict) else in_shape)
        self.first, self.second = nn.Linear(shapes[0][0], 6), nn.Linear(shapes[1][0], 6)
        self.last = nn.Linear(6, out_features)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(a) + self.second(b)))


class Words(nn.Module):
    """Takes a number and a word, by name."""

    def __init__(self, in_shape: dict[str, Any], out_features: int, vocabulary: dict[str, int]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary["word"], 4)
        self.last = nn.Linear(4 + in_shape["place"][0], out_features)

    def forward(self, word: Tensor, place: Tensor) -> Tensor:
        return self.last(torch.cat((self.embedding(word[:, 0]), place), dim=1))


class Squares(nn.Module):
    """Prepares rows: each number over a width, and its square beside it."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("width", torch.tensor(width))

    def forward(self, inputs: Tensor) -> Tensor:
        scaled = inputs / self.width
        return torch.cat((scaled, scaled.square()), dim=1)


class Joined(nn.Module):
    """Makes one input of two."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat((a, b), dim=1)


PREPARED = f"+task.preprocessing={{_target_: {HERE}.Squares, width: 2.0}}"
CASES = {
    "labels": ["network=mlp", "network.width=8"],
    "vectors": ["network=mlp", "network.width=8"],
    "pixels": ["network=convnet", "network.width=4"],
    "placed": [f"network._target_={HERE}.Two"],
    "named": [f"network._target_={HERE}.Words", "+task.vocabulary={word: 4}"],
    "classes": ["network=mlp", "network.width=8", PREPARED],
}
INPUTS = {"placed": ["a", "b"], "named": ["place", "word"]}


def config_of(kind: str, *more: str) -> TrialConfig:
    own = [f"task._target_={HERE}.rows", f"+task.shape={kind}"]
    small = ["study=breast_cancer", "space=[]", "trainer.epochs=2", "optimizer=adam", "schedule=constant"]
    return TrialConfig.from_resolved(resolve(compose([*small, *own, *CASES[kind], *more])))


@pytest.mark.parametrize("kind", CASES)
def test_a_kind_goes_from_rows_to_predictions(kind: str, tmp_path: Path) -> None:
    config = config_of(kind)
    rehearse_trial(config)
    outcome = alone.train(Job(0, config.plain, lambda fidelity, metrics: None))
    assembly = outcome.trained
    assert isinstance(assembly, Assembly)
    task = assembly.task
    assert outcome.state == "complete"
    assert outcome.metrics["macs"] > 0
    assert set(task.metrics) <= set(outcome.metrics)

    done = finish(assembly.network.cpu(), config, Judge(task, task.default_metric, 0.05))
    files = written(done, config.network, [], task)
    task.setup("test")
    agreed = compare(done.network, files, task)
    assert agreed.rows == 10
    lines = "\n".join(serving.code(interface(files["model.onnx"], task)))

    (tmp_path / "model.onnx").write_bytes(files["model.onnx"])
    (tmp_path / "model.kgm").write_bytes(files["model.kgm"])
    raw = task.raw_test()
    if kind in INPUTS:
        arrays = dict(zip(INPUTS[kind], raw.values() if isinstance(raw, dict) else raw, strict=True))
        np.savez(tmp_path / "rows.npz", **{name: part.numpy() for name, part in arrays.items()})
        data = tmp_path / "rows.npz"
        assert all(f'"{name}": rows_' in lines for name in INPUTS[kind])
    else:
        data = tmp_path / "rows.npy"
        np.save(data, raw.numpy())
    tables = []
    for file in ("model.onnx", "model.kgm"):
        predict(tmp_path / file, data, tmp_path / "answers.csv")
        tables.append(pandas.read_csv(tmp_path / "answers.csv"))
    assert len(tables[0]) == 10
    assert tables[0].equals(tables[1])
    assert list(tables[0].columns[1:]) == {
        "labels": ["labels", "0", "1", "2"],
        "vectors": ["output 0", "output 1"],
        "pixels": ["0", "1", "2"],
    }.get(kind, ["class", "share"])


@pytest.mark.parametrize(
    ("kind", "override", "line"),
    [
        ("labels", "task.shape=placed", "network.name=mlp takes one input, but the task has 2.* Set network._target_="),
        ("named", "regime=local", "regime.name must be backprop for a task of several inputs, but got 'local'"),
        ("labels", "init=closed_form", "init.name must be default for a task of labels, but got 'closed_form'"),
        (
            "labels",
            "output.loss=cross_entropy",
            "output.loss must be one of .binary_cross_entropy. for a task of label",
        ),
        ("pixels", "network=mlp", "network.name must be one of"),
        ("labels", "+task.wrong=1", "task.wrong is no argument of"),
        ("labels", "task._target_=nothing.here", "task._target_=nothing.here cannot be imported"),
    ],
)
def test_what_does_not_go_with_a_kind_is_one_line(kind: str, override: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        rehearse_trial(config_of(kind, override))


def test_what_prepares_rows_travels_with_the_file(tmp_path: Path) -> None:
    task = open_task(config_of("classes"))
    raw = torch.as_tensor(np.random.default_rng(1).normal(size=(48, 5))).float()

    assert (task.in_shape, tuple(task.raw_sample().shape)) == ((10,), (2, 5))
    assert torch.isin(task.train.inputs[:, :5] * 2, raw).all()
    assert torch.equal(task.load_test().inputs[:, :5] * 2, task.raw_test())
    both = open_task(config_of("vectors", "task.shape=placed", f"+task.preprocessing={{_target_: {HERE}.Joined}}"))
    assert both.in_shape == (7,)
    assert [tuple(part.shape) for part in both.raw_sample()] == [(2, 5), (2, 2)]
    model = to_onnx(nn.Linear(7, 2), both)
    assert [argument.name for argument in open_session(model).get_inputs()] == ["a", "b"]


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("{width: 2}", "task.preprocessing must be a mapping with a _target_"),
        (
            f"{{_target_: {HERE}.Squares, widht: 2.0}}",
            "task.preprocessing.widht is no argument .*Did you mean",
        ),
        ("{_target_: torch.nn.Linear, in_features: 5, out_features: 3}", "without parameters to train"),
        (f"{{_target_: {HERE}.Squares, width: 0.0}}", "task.preprocessing gives numbers that are not finite"),
        ("{_target_: torch.nn.Unflatten, dim: 1, unflattened_size: [2, 2]}", "Unflatten raised RuntimeError"),
    ],
)
def test_what_cannot_prepare_rows_is_one_line(target: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        rehearse_trial(config_of("vectors", f"+task.preprocessing={target}"))


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"a": np.zeros((3, 5))}, r"holds the arrays \(a\), but the network takes \(a, b\)"),
        ({"a": np.zeros((3, 4)), "b": np.zeros((3, 2))}, r"a must have the shape \(rows, 5\), but has \(3, 4\)"),
        ({"a": np.zeros((3, 5)), "b": np.zeros((2, 2))}, "as many rows as each other"),
        ({"a": np.full((3, 5), np.nan), "b": np.zeros((3, 2))}, "a has a value that is not finite in row 0"),
        ({"a": np.full((3, 5), "x"), "b": np.zeros((3, 2))}, "a must be of float32, but is of <U1"),
    ],
)
def test_arrays_that_do_not_fit_are_one_line(arrays: dict[str, Any], line: str, two: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", **arrays)

    with pytest.raises(InputError, match=line):
        predict(two, tmp_path / "rows.npz", None)


def test_nothing_is_unpickled(two: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)

    with pytest.raises(InputError, match="cannot be read as arrays"):
        predict(two, tmp_path / "rows.npy", None)
    with pytest.raises(InputError, match=r"must be an .npz with the arrays \(a, b\), since"):
        predict(two, Path(__file__), None)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a network of two inputs."""
    file = tmp_path_factory.mktemp("two") / "model.onnx"
    network = Two([(5,), (2,)], 2)
    file.write_bytes(graph.to_onnx(network, (torch.zeros(2, 5), torch.zeros(2, 2)), metadata={"kind": "classes"}))
    return file
