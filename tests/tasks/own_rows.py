"""Functions and modules that a user might name as a task, for the tests of `kirigami.tasks.arrays`."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset, WeightedRandomSampler

from kirigami.tasks import Parts, Split, Task

READ: list[str] = []
"""The parts that `by_part` and `Module` were asked for."""


def rows(count: int = 60, seed: int = 0, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = np.arange(count) % classes
    return generator.normal(size=(count, 4)) + targets[:, None], targets


def pair(count: int = 60, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    return rows(count, classes=classes)


def seeded(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return rows(seed=seed)


def by_part(part: str) -> tuple[np.ndarray, np.ndarray]:
    READ.append(part)
    return rows(*{"train": (60, 0), "validation": (30, 1), "test": (15, 2)}[part])


def untouchable() -> tuple[Any, Any]:
    raise AssertionError("a test row was read")


def mapping() -> dict[str, Any]:
    return {"train": rows(), "validation": rows(30, 1), "test": untouchable}


class Named(NamedTuple):
    train: Any
    validation: Any = None
    test: Any = None


def loaders() -> Named:
    inputs, targets = (torch.as_tensor(part) for part in rows())
    return Named(DataLoader(TensorDataset(inputs.float(), targets), batch_size=7, shuffle=True))


class Noisy(Dataset[Any]):
    """Draws each row anew, as augmentation does."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.randn(3), index % 2


def noisy() -> dict[str, Any]:
    sampler = WeightedRandomSampler([1.0] * 40, 40)
    return {"train": DataLoader(Noisy(), batch_size=8, sampler=sampler), "validation": Noisy()}


def by_name() -> dict[str, Any]:
    inputs, targets = rows()
    return {"train": ({"word": np.arange(60)[:, None] % 9, "place": inputs}, targets)}


def by_place() -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    inputs, targets = rows()
    return (inputs, inputs[:, :2].copy()), targets


def stream() -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(4):
        inputs, targets = rows(9)
        yield torch.as_tensor(inputs), torch.as_tensor(targets)


def streams() -> dict[str, Any]:
    return {"train": stream}


def of(name: str) -> tuple[Any, Any]:
    """Return rows with one kind of targets."""
    generator, inputs = np.random.default_rng(0), rows()[0]
    targets: dict[str, Any] = {
        "labels": generator.integers(0, 2, (60, 4)),
        "values": generator.normal(size=60),
        "vectors": generator.normal(size=(60, 2)) * [1, 1000] + 5,
        "words": np.array(["no", "yes", "no"] * 20),
        "objects": np.array(["no", "yes", "no"] * 20, dtype=object),
        "flags": np.arange(60) % 2 == 0,
        "many": np.arange(60),
        "one_hot": np.eye(3, dtype=int)[np.arange(60) % 3],
        "mixed": np.array(["no", 1, None] * 20, dtype=object),
        "same": np.zeros(60, dtype=int),
        "gap": np.where(np.arange(60) == 7, np.nan, 1.0),
        "series": np.arange(120).reshape(60, 2),
    }
    if name == "pixels":
        masks = generator.integers(0, 3, (60, 5, 5))
        masks[:, 0] = -100
        return generator.normal(size=(60, 2, 5, 5)), masks
    return inputs, targets[name]


def spoilt(how: str) -> Any:
    inputs, targets = rows()
    if how == "nan":
        inputs[3, 1] = np.nan
    if how == "huge":
        inputs[4, 1] = 1e39
    if how == "stamps":
        inputs[:, 0] += 1.7e12
    if how == "words":
        return inputs.astype(str), targets
    if how == "short":
        return inputs[:-1], targets
    if how == "unknown":
        return {"train": (inputs, targets), "validation": (inputs, targets + 1)}
    if how == "part":
        return {"train": (inputs, targets), "vali": (inputs, targets)}
    if how == "keras":
        return (inputs, targets), (inputs, targets)
    if how == "nothing":
        return None
    if how == "ragged":
        return [[1.0, 2.0], [3.0]], [0, 1]
    if how == "empty":
        return inputs[:0], targets[:0]
    if how == "constant":
        return inputs, np.full(60, 2.5)
    if how == "dictionaries":
        return {"train": DataLoader([{"x": 1.0}] * 8)}  # type: ignore[arg-type]
    if how == "later":
        return {"train": lambda: inputs.no_such_thing}  # type: ignore[attr-defined]
    if how == "raises":
        raise RuntimeError("the disk\nis away")
    return inputs, targets


class Module(pl.LightningDataModule):
    def __init__(self, count: int = 60) -> None:
        super().__init__()
        self.count = count

    def setup(self, stage: str) -> None:
        READ.append(stage)
        part = {"fit": 0, "test": 2}[stage]
        inputs, targets = rows(self.count, part)
        self.data = TensorDataset(torch.as_tensor(inputs).float(), torch.as_tensor(targets))

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.data, batch_size=8, shuffle=True)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.data, batch_size=8)


class Own(Task):
    """A task of the user's."""

    def __init__(self, *, classes: int = 2, seed: int = 0, test_seed: int | None = None) -> None:
        super().__init__(seed=seed, test_seed=test_seed)
        self.count = classes

    def load(self) -> Parts:
        inputs, targets = (torch.as_tensor(part) for part in rows(classes=self.count))
        split = Split(inputs.float(), targets)
        return Parts("classes", split, split, tuple(map(str, range(self.count))))

    def load_test(self) -> Split:
        return untouchable()  # type: ignore[return-value]


class Unfinished(Task):
    """A task whose `load` is not there yet."""
