"""Networks of the user's own whose answers or weights would not be those of the file, found before the first trial."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kirigami.search.config.compose import compose
from kirigami.search.config.study import StudySettings
from kirigami.search.errors import InputError
from kirigami.search.rehearsal.building import rehearse
from tests.search.test_rehearsal import Lit

HERE = __name__


def rows() -> Any:
    inputs = np.random.default_rng(0).normal(size=(40, 3))
    return inputs, np.where(inputs[:, 0] > 0, "yes", "no")


class Linear(nn.Module):
    def __init__(self, in_shape: Any, out_features: int) -> None:
        super().__init__()
        self.out = nn.Linear(in_shape[0], out_features)

    def forward(self, x: Tensor) -> Any:
        return self.out(x)


class Centred(Linear):
    def forward(self, x: Tensor) -> Any:
        return self.out(x - x.mean(0))


class Draws(Linear):
    def forward(self, x: Tensor) -> Any:
        return nn.functional.dropout(self.out(x), 0.5)


class Infinite(Linear):
    def forward(self, x: Tensor) -> Any:
        return self.out(x).abs() / 0


class Writes(Linear):
    def forward(self, x: Tensor) -> Any:
        return self.out(x.mul_(2))


class Counts(Linear):
    def __init__(self, in_shape: Any, out_features: int) -> None:
        super().__init__(in_shape, out_features)
        self.mean = torch.zeros(1)

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.mean = self.mean + x.mean().detach()
        return self.out(x) - self.mean


class Short(Counts):
    def __init__(self, in_shape: Any, out_features: int) -> None:
        super().__init__(in_shape, out_features)
        del self.mean
        self.register_buffer("mean", torch.zeros(1), persistent=False)


class Kept(Short):
    def __init__(self, in_shape: Any, out_features: int) -> None:
        super().__init__(in_shape, out_features)
        self.register_buffer("mean", torch.zeros(1))


class Listed(Linear):
    def __init__(self, in_shape: Any, out_features: int) -> None:
        super().__init__(in_shape, out_features)
        self.layers = [nn.Linear(in_shape[0], in_shape[0])]

    def forward(self, x: Tensor) -> Any:
        return self.out(self.layers[0](x))


class Frozen(Linear):
    def __init__(self, in_shape: Any, out_features: int) -> None:
        super().__init__(in_shape, out_features)
        self.requires_grad_(False)


class Idle(Lit):
    def training_step(self, batch: Any, index: int) -> Any:
        return None


STUDY = f"""
# @package _global_
defaults: [{{override /task: own}}, {{override /network: own}}, {{override /space: [optimizer]}}]
task: {{_target_: {HERE}.rows}}
trainer: {{device: cpu}}
"""


def rehearsed(folder: Path, name: str, *overrides: str) -> None:
    (folder / "study").mkdir()
    (folder / "study" / "own.yaml").write_text(STUDY.lstrip())
    rehearse(StudySettings.from_raw(compose(["study=own", f"network._target_={HERE}.{name}", *overrides], [folder])))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Centred", "in eval mode its values for a row depend on the rows beside it"),
        ("Draws", "in eval mode its values for the same rows are others the second time"),
        ("Infinite", "gives infinite numbers before any training"),
        ("Writes", r"changes its inputs in place; it must make new ones \(test_rehearsal_answers.py:"),
        ("Counts", "changes self.mean in training, which neither checkpoints nor files hold"),
        ("Short", "changes self.mean in training, which neither checkpoints nor files hold"),
        ("Listed", r"keeps layers in a list, self.layers, .* it must be a torch.nn.ModuleList"),
        ("Frozen", "Frozen has no parameter to train"),
    ],
)
def test_what_no_file_would_give_is_one_line(tmp_path: Path, name: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        rehearsed(tmp_path, name)


def test_a_buffer_may_change(tmp_path: Path) -> None:
    rehearsed(tmp_path, "Kept")


def test_a_step_without_a_loss(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="would learn nothing: its training_step gives no loss"):
        rehearsed(tmp_path, "Idle", "objective={val_acc: maximize}")
