"""Small data sets, written once, and a config for every registered task."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pytest
from pyarrow import parquet

from kirigami import tasks
from kirigami.tasks import bundled, files, images, paths, table, text
from kirigami.tasks.pictures import sources, store
from kirigami.tasks.tables import reader, source
from tests.tasks.samples import write_images, write_table

LETTERS = list("abcdefghijklmnop .,\n")


def clear_caches() -> None:
    """Forget everything the tasks have read."""
    for module in (bundled, files, images, paths, reader, source, sources, store, table, text):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, images and a text, each with a separate test file."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for name, rows, seed in (("old.csv", 90, 1), ("new.csv", 70, 2), ("test.csv", 60, 3)):
        write_table(folder / name, rows, seed)
    (folder / "pictures").mkdir()
    for part, rows in (("train", 120), ("test", 40)):
        pixels = generator.integers(0, 256, (rows, 9, 9, 3), dtype=np.uint8)
        labels = [row % 3 for row in range(rows)]
        write_images(folder / "pictures" / f"{part}-00000-of-00001.parquet", pixels, labels, ["a", "b", "c"])
    (folder / "prose").mkdir()
    for part, length in (("train", 6000), ("validation", 1200), ("test", 1200)):
        rows = {"text": ["".join(generator.choice(LETTERS, length))]}
        parquet.write_table(arrow.table(rows), folder / "prose" / f"{part}-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="session")
def configs(data: Path) -> dict[str, dict]:
    """A config for every registered task; a task without one fails the contract."""
    table = {"path": str(data), "train": ["old.csv", "new.csv"], "test": "test.csv", "target": "bug"}
    return {
        "digits": {},
        "breast_cancer": {},
        "table": {**table, "positive": ">0", "drop": ["name", "name.1"], "log": True, "indicator": True},
        "images": {"path": str(data / "pictures"), "augment": "flip_crop", "validation": 0.2},
        "text": {"path": str(data / "prose"), "length": 16},
        "paths": {"size": 6, "rows": 120, "validation": 40, "test": 30},
    }


@pytest.fixture
def make(configs: dict[str, dict]) -> Callable[..., tasks.Task]:
    """Build a task by name from its config, some keys replaced."""

    def build(name: str, *, seed: int = 0, **changes: object) -> tasks.Task:
        assert name in configs, f"{name} has no config in tests/tasks/conftest.py: add one"
        return tasks.build({"name": name, **configs[name], **changes}, seed=seed)

    return build


@pytest.fixture
def fresh() -> Iterator[Callable[[], None]]:
    """Start with nothing read before, and leave nothing read behind."""
    clear_caches()
    yield clear_caches
    clear_caches()
