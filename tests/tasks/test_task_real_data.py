"""Real data sets, where they are at hand: the folder is named by KIRIGAMI_DATA."""

import os
from pathlib import Path

import pytest
import torch

from kirigami import tasks
from kirigami.tasks import Task


def build(folder: str, name: str, seed: int = 0, **arguments: object) -> Task:
    root = os.environ.get("KIRIGAMI_DATA")
    if not root or not (Path(root) / folder).is_dir():
        pytest.skip(f"KIRIGAMI_DATA names no folder with {folder}")
    task = tasks.build({"name": name, "path": str(Path(root) / folder), **arguments}, seed=seed)
    task.setup("fit")
    return task


def test_fashion_mnist() -> None:
    task = build("fashion_mnist", "images", rows=10000)
    assert (task.in_shape, task.out_features) == ((1, 28, 28), 10)
    assert torch.bincount(task.train.targets).tolist() == [1000] * 10
    assert len(task.validation.targets) == 1111
    standardise = task.preparation()["standardise"]
    assert standardise["mean"] == pytest.approx([0.2860], abs=2e-3)
    assert standardise["scale"] == pytest.approx([0.3530], abs=2e-3)


def test_cifar10() -> None:
    task = build("cifar10", "images", rows=2000, validation=500, augment="flip_crop")
    assert (task.in_shape, task.classes[0], task.classes[9]) == ((3, 32, 32), "airplane", "truck")
    assert torch.bincount(task.train.targets).tolist() == [200] * 10
    standardise = task.preparation()["standardise"]
    assert standardise["mean"] == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.01)
    assert standardise["scale"] == pytest.approx([0.2470, 0.2435, 0.2616], abs=0.01)


def test_tiny_shakespeare() -> None:
    task = build("tiny_shakespeare", "text")
    assert (len(task.characters), task.vocabulary, task.in_shape) == (65, 66, (64,))
    assert len(task.train.targets) == (1003854 - 1) // 64
    assert "".join(task.characters[code] for code in task.train.inputs[0].tolist()).startswith("First Citizen:")
    task.setup("test")
    assert int(task.test.inputs.max()) < 65


def test_camel_defects() -> None:
    task = build(
        "promise",
        "table",
        train=["camel-1.0.csv", "camel-1.2.csv", "camel-1.4.csv"],
        test="camel-1.6.csv",
        target="bug",
        positive=">0",
        drop=["name", "version", "name.1"],
        log=True,
    )
    task.setup("test")
    assert task.in_shape == (20,)
    assert len(task.train.targets) + len(task.validation.targets) == 339 + 608 + 872
    assert int(task.train.targets.sum() + task.validation.targets.sum()) == 13 + 216 + 145
    assert (len(task.test.targets), int(task.test.targets.sum())) == (965, 188)
