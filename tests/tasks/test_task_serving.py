"""What a served network is fed: the rules of a task as a module give what the task itself gave in training."""

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from kirigami import tasks
from kirigami.tasks.serving import Preparation
from tests.tasks.picture_files import image_of


def prepared(task: tasks.Task) -> torch.Tensor:
    """Return the test inputs as the network gets them in training."""
    task.setup("test")
    return torch.cat([inputs for inputs, _ in task.test_dataloader()])


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "paths"])
def test_bundled_rows_are_prepared_to_the_bit(name: str) -> None:
    task = tasks.build({"name": name}, seed=0)
    wanted = prepared(task)
    assert torch.equal(Preparation(task.preparation())(task.raw_test()), wanted)


def test_bundled_rows_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_breast_cancer, load_digits

    for name, data in (("digits", load_digits()), ("breast_cancer", load_breast_cancer())):
        task = tasks.build({"name": name}, seed=0)
        task.setup("test")
        rows = {
            row.astype(np.float32).tobytes(): int(target) for row, target in zip(data.data, data.target, strict=True)
        }
        assert task.test is not None
        targets = task.test.targets if name == "digits" else 1 - task.test.targets  # ours counts the malignant as 1
        for row, target in zip(task.raw_test().flatten(1).numpy(), targets.tolist(), strict=True):
            assert rows[row.tobytes()] == target


def test_raw_digits_are_whole_numbers() -> None:
    task = tasks.build({"name": "digits"}, seed=0)
    task.setup("test")
    raw = task.raw_test()
    assert torch.equal(raw, raw.round())
    assert float(raw.max()) == 16


@pytest.mark.parametrize("mode", ["RGB", "I;16", "F"])
def test_pictures_are_prepared_to_the_bit(mode: str, tmp_path: Path) -> None:
    for number in range(32):
        folder = tmp_path / ("train", "test")[number % 2] / "ab"[number // 2 % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image_of(mode, 6, 6, seed=number).save(folder / f"{number}.tif")
    task = tasks.build({"name": "images", "path": str(tmp_path), "validation": 0.25}, seed=0)
    wanted = prepared(task)
    assert task.raw_test().dtype == (torch.uint8 if mode == "RGB" else torch.float32)
    assert torch.equal(Preparation(task.preparation())(task.raw_test()), wanted)


@pytest.mark.parametrize("scale", ["standard", "robust", "ranks"])
@pytest.mark.parametrize("log", [False, True])
def test_tables_with_gaps_and_categories_are_prepared(tmp_path: Path, log: bool, scale: str) -> None:
    drawn = np.random.default_rng(1)
    rows = pandas.DataFrame(
        {
            "size": drawn.exponential(10, 80),
            "shift": drawn.normal(size=80),
            "colour": drawn.choice(["red", "green", "blue"], 80),
            "good": drawn.integers(0, 2, 80),
        }
    )
    rows.loc[::7, "size"] = np.nan
    rows.loc[3, "colour"] = None
    rows.to_csv(tmp_path / "rows.csv", index=False)
    config = {"name": "table", "train": str(tmp_path / "rows.csv"), "target": "good", "log": log, "indicator": True}
    config["scale"] = scale
    task = tasks.build(config, seed=0)
    wanted = prepared(task)
    raw = task.raw_test()
    assert raw.isnan().any()
    assert raw.shape[1] == 6  # two numbers, three colours and none; marks of gaps are made inside
    assert torch.equal(Preparation(task.preparation())(raw), wanted)


def test_characters_stay_as_they_are() -> None:
    codes = torch.tensor([[1, 2, 3]])
    assert torch.equal(Preparation({"characters": "abc"})(codes), codes)
