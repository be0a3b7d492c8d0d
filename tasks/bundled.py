"""The data sets that come with scikit-learn: nothing to download, ready in milliseconds."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kirigami.tasks.pictures.decode import Rules
from kirigami.tasks.splits import TEST_STREAM, VALIDATION_STREAM, carve, take
from kirigami.tasks.standardise import Standardiser
from kirigami.tasks.task import Parts, Split, Task


def _file(name: str, head: int) -> NDArray[Any]:
    """Return the rows of a data file of scikit-learn, without loading the library, which takes longer than a trial."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.submodule_search_locations is not None
    return np.loadtxt(
        Path(package.submodule_search_locations[0]) / "datasets" / "data" / name, delimiter=",", skiprows=head
    )


@lru_cache(maxsize=2)
def _digits() -> tuple[Split, tuple[str, ...]]:
    rows = _file("digits.csv.gz", head=0)
    inputs = torch.from_numpy(rows[:, :-1].reshape(-1, 1, 8, 8).astype(np.float32))
    return Split(inputs, torch.from_numpy(rows[:, -1].astype(np.int64))), tuple("0123456789")


@lru_cache(maxsize=2)
def _breast_cancer() -> tuple[Split, tuple[str, ...]]:
    rows = _file("breast_cancer.csv", head=1)
    malignant = (rows[:, -1] == 0).astype(np.int64)
    inputs = torch.from_numpy(rows[:, :-1].astype(np.float32))
    return Split(inputs, torch.from_numpy(malignant)), ("benign", "malignant")


@lru_cache(maxsize=8)
def _indices(name: str, seed: int, test_seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Part the rows 60/20/20 into (train, validation, test), stratified by class."""
    strata = _SETS[name]()[0].targets.numpy()
    fifth = round(len(strata) / 5)
    rest, test = carve(strata, fifth, seed=test_seed, stream=TEST_STREAM)
    train, validation = carve(strata[rest], fifth, seed=seed, stream=VALIDATION_STREAM)
    return rest[train], rest[validation], test


@lru_cache(maxsize=8)
def _parts(name: str, seed: int, test_seed: int) -> Parts:
    rows, classes = _SETS[name]()
    train, validation, _ = _indices(name, seed, test_seed)
    return Parts("classes", _rows(rows, train), _rows(rows, validation), classes)


def _rows(split: Split, rows: np.ndarray) -> Split:
    return Split(take(split.inputs, rows), take(split.targets, rows))


_SETS = {"digits": _digits, "breast_cancer": _breast_cancer}


class Digits(Task):
    """Tell handwritten digits apart: 1,797 images (1, 8, 8), ten classes, 60/20/20 by the seed."""

    def load(self) -> Parts:
        """Return train and validation images."""
        return _parts("digits", self.seed, self.test_seed)

    def load_test(self) -> Split:
        """Return the fifth that was put aside."""
        return _rows(_digits()[0], _indices("digits", self.seed, self.test_seed)[2])

    def prepare(self, split: Split) -> Split:
        """Bring pixels of 0 to 16 to [0, 1]."""
        return Split(split.inputs / 16, split.targets)

    def preparation(self) -> dict[str, object]:
        """Pixels of 0 to 16 are divided by 16; of a picture, white becomes 16."""
        return {"divide": 16, "picture": Rules(channels=1, height=8, width=8, white=16, resize=True).to_dict()}


class BreastCancer(Task):
    """Tell malignant (class 1) from benign: 569 rows of 30 measures, standardised, 60/20/20 by the seed."""

    def load(self) -> Parts:
        """Return train and validation rows."""
        return _parts("breast_cancer", self.seed, self.test_seed)

    def load_test(self) -> Split:
        """Return the fifth that was put aside."""
        return _rows(_breast_cancer()[0], _indices("breast_cancer", self.seed, self.test_seed)[2])

    def fit_statistics(self, train: Split) -> None:
        """Learn each measure's mean and deviation."""
        self._standardiser = Standardiser.fit(train.inputs)

    def prepare(self, split: Split) -> Split:
        """Standardise the measures."""
        return Split(self._standardiser(split.inputs), split.targets)

    def preparation(self) -> dict[str, object]:
        """Mean and deviation of each measure."""
        return {"standardise": self._standardiser.to_dict()}
