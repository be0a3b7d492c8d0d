"""A user's folder with packages and files of the names of ours, or of libraries that we use: both sides keep theirs."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.commands import Ended, Folder, inside

NET = """
import sys
from pathlib import Path

import torch
from torch import nn

from models.parts import Gate


class Gated(nn.Module):
    def __init__(self, in_shape, out_features, width=4):
        super().__init__()
        with (Path(__file__).parents[1] / "built.txt").open("a") as file:
            file.write(f"{sys.modules['kirigami.models'].__file__}\\n")
        self.gate = Gate(in_shape[0], width)
        self.last = nn.Linear(width, out_features)

    def forward(self, inputs):
        return self.last(self.gate(inputs))
"""
PARTS = """
import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.value, self.open = nn.Linear(inputs, width), nn.Linear(inputs, width)

    def forward(self, inputs):
        return self.value(inputs) * torch.sigmoid(self.open(inputs))
"""
STUDY = """
# @package _global_
defaults:
  - override /task: breast_cancer
  - override /network: own
  - override /space: [optimizer]

objective: balanced_accuracy
network: {_target_: models.net.Gated}
trainer: {epochs: 2, batch_size: 64}
budget: {trials: 2}
"""
BREAKS = "raise ImportError('a file of the user that nobody asked for was imported')\n"
FILES = {
    "models/__init__.py": "",
    "models/net.py": NET,
    "models/parts.py": PARTS,
    "tasks/__init__.py": BREAKS,
    "spaces/__init__.py": BREAKS,
    "search.py": BREAKS,
    "datasets.py": BREAKS,
    "optuna.py": BREAKS,
    "kirigami_notes/__init__.py": BREAKS,
    "conf/__init__.py": BREAKS,
    "conf/study/mine.yaml": STUDY,
}
ROW = ",".join(["1.0"] * 30)
WHERE = ("study=mine", "--config-dir", "conf")


class OwnPackages:
    """What has to hold wherever kirigami itself comes from."""

    @pytest.fixture(scope="class")
    def env(self) -> dict[str, str]:
        return {}

    @pytest.fixture(scope="class")
    def folder(self, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Folder:
        folder = tmp_path_factory.mktemp("own")
        for name, text in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return Folder(folder, env)

    @pytest.fixture(scope="class")
    def searched(self, folder: Folder) -> Ended:
        return folder.run("search", *WHERE).check()

    @pytest.fixture(scope="class")
    def card(self, folder: Folder, searched: Ended) -> Path:
        folder.run("export", *WHERE, "twin=false").check()
        return folder.path / "studies/mine/export/card.json"

    def test_search_trains_the_users_network(self, folder: Folder, searched: Ended) -> None:
        trials = folder.trials("mine")

        assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE"]
        assert {trial.user_attrs["outcome"]["params"] for trial in trials} == {2 * (30 * 4 + 4) + (4 * 2 + 2)}

    def test_nothing_of_ours_is_in_the_users_folder(self, folder: Folder, searched: Ended) -> None:
        ours = set((folder.path / "built.txt").read_text().split())

        assert len(ours) == 1
        assert not Path(ours.pop()).is_relative_to(folder.path)

    def test_export_builds_it_again(self, card: Path) -> None:
        assert json.loads(card.read_text())["study"] == "mine"

    def test_predict_reads_the_file(self, folder: Folder, card: Path) -> None:
        header = ",".join(f"x{index}" for index in range(30))
        (folder.path / "rows.csv").write_text(f"{header}\n{ROW}\n")

        assert folder.run("predict", str(card.with_name("model.onnx")), "rows.csv").check().out

    def test_compare_repeats_it(self, folder: Folder, searched: Ended) -> None:
        ended = folder.run(
            *("compare", *WHERE, "over=network.width", "values=[2,4]", "reference=4", "repeats=5"),
            *("+network.width=4", "trainer.epochs=1", "from=config", "format=json"),
        ).check()

        assert json.loads(ended.out)["study"] == "mine"

    def test_a_name_that_is_taken_is_refused(self, folder: Folder) -> None:
        """The user's `datasets.py` would never be imported: an installed library has that name."""
        error = inside(folder, "search", *WHERE, "network._target_=datasets.Net", "name=taken").check(2).error

        assert "network._target_=datasets.Net" in error
        assert str(folder.path / "datasets.py") in error
        assert error.count("\n") == 1


@pytest.mark.slow  # several searches
class TestFromTheCheckout(OwnPackages):
    pass


@pytest.mark.slow  # it builds a wheel and installs it
class TestFromTheWheel(OwnPackages):
    @pytest.fixture(scope="class")
    def env(self, installed: Path) -> dict[str, str]:
        return {"PYTHONPATH": str(installed)}

    def test_nothing_of_the_checkout_is_used(self, folder: Folder, searched: Ended, installed: Path) -> None:
        (ours,) = set((folder.path / "built.txt").read_text().split())

        assert Path(ours).is_relative_to(installed)
