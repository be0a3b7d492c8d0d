"""The studies of docs/data.md, on a few rows of the forms that the public data sets have."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.config.settings import TrialConfig
from kirigami.search.rehearsal.building import rehearse_trial
from kirigami.search.training import alone
from kirigami.search.training.job import Job

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
CODE = {title: re.findall(r"```python\n(.+?)```", text, flags=re.DOTALL) for title, text in SECTIONS.items()}
STUDIES = {title: re.findall(r"```yaml\n(.+?)```", text, flags=re.DOTALL) for title, text in SECTIONS.items()}
KINDS = {
    "Sound: arrays": ("classes", (1, 40, 51)),
    "A sequence: steps of several channels": ("classes", (128, 9)),
    "Two inputs": ("classes", {"picture": (1, 8, 8), "sums": (16,)}),
    "Several labels a row": ("labels", (5,)),
    "Classes of pixels: segmentation": ("pixels", (3, 32, 32)),
}


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's Python as the module `mine`, and its data sets in the current folder."""
    monkeypatch.chdir(tmp_path)
    module = ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    for block in (block for blocks in CODE.values() for block in blocks):
        exec(block, vars(module))
    generator = np.random.default_rng(0)
    monkeypatch.setattr(module, "fetch_openml", lambda *_, **__: openml(generator))
    recordings, pets = Path("free-spoken-digit-dataset/recordings"), Path("pets")
    for folder in (recordings, pets / "images", pets / "annotations" / "trimaps"):
        folder.mkdir(parents=True)
    for row in range(30):
        wave = generator.integers(-900, 900, 3000 + 100 * row).astype(np.int16)
        wavfile.write(recordings / f"{row % 3}_jackson_{row}.wav", 8000, wave)
        Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
            pets / "images" / f"pet_{row}.jpg"
        )
        trimap = generator.integers(1, 4, (40, 50), dtype=np.uint8)
        Image.fromarray(trimap).save(pets / "annotations" / "trimaps" / f"pet_{row}.png")
    for part in ("train", "test"):
        folder = Path("UCI HAR Dataset", part)
        (folder / "Inertial Signals").mkdir(parents=True)
        for channel in range(9):
            np.savetxt(
                folder / "Inertial Signals" / f"{channel}_{part}.txt", generator.normal(size=(30, 128)), fmt="%.3f"
            )
        np.savetxt(folder / f"y_{part}.txt", 1 + np.arange(30) % 6, fmt="%d")


def openml(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return generator.normal(size=(40, 5)), np.where(generator.random((40, 3)) < 0.4, "TRUE", "FALSE").astype(object)


def config_of(study: str) -> TrialConfig:
    Path("conf/study").mkdir(parents=True, exist_ok=True)
    Path("conf/study/own_rows.yaml").write_text(study)
    short = ["study=own_rows", "trainer.epochs=2", "trainer.device=cpu"]
    return TrialConfig.from_resolved(resolve(compose(short, [Path("conf")])))


@pytest.mark.parametrize("title", KINDS)
@pytest.mark.usefixtures("mine")
def test_a_kind_of_data_is_searched(title: str) -> None:
    config = config_of(STUDIES[title][0])
    task = rehearse_trial(config)
    outcome = alone.train(Job(0, config.plain, lambda fidelity, metrics: None))

    assert (task.kind, task.in_shape) == KINDS[title]
    assert outcome.state == "complete"
    assert 0 <= outcome.metrics[next(iter(config.objective))] <= 1


@pytest.mark.usefixtures("mine")
def test_a_function_of_a_package_needs_no_python() -> None:
    task: Any = rehearse_trial(config_of(STUDIES["Classes of pixels: segmentation"][1]))

    assert (task.kind, task.in_shape, task.out_features) == ("values", (3,), 3)


@pytest.mark.parametrize("title", KINDS)
def test_a_kind_of_data_takes_at_most_fifteen_lines(title: str) -> None:
    lines = [line for block in (*CODE[title], STUDIES[title][0]) for line in block.splitlines() if line.strip()]
    assert len([line for line in lines if not re.match("import|from", line)]) <= 15
