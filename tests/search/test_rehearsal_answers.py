"""Networks of the user's own whose answers or weights would not be those of the file, found before the first trial."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kirigami import tasks
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


class Shares(Linear):
    def forward(self, x: Tensor) -> Any:
        return self.out(x).softmax(1)


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


def nan_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs * 0).sum() / 0


def writing_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets.fill_(1))


def writing_metric(outputs: Tensor, targets: Tensor) -> float:
    return float(outputs.zero_().sum())


class Stuck(torch.optim.lr_scheduler.LRScheduler):
    def get_lr(self) -> Any:
        if self.last_epoch > 0:
            raise ArithmeticError("no rate today")
        return [group["lr"] for group in self.optimizer.param_groups]


class Idle(Lit):
    def training_step(self, batch: Any, index: int) -> Any:
        return None


STUDY = f"""
# @package _global_
defaults: [{{override /task: own}}, {{override /network: own}}, {{override /space: [optimizer]}}]
task: {{_target_: {HERE}.rows}}
trainer: {{device: cpu}}
"""


def rehearsed(folder: Path, name: str, *overrides: str) -> tasks.Task:
    (folder / "study").mkdir()
    (folder / "study" / "own.yaml").write_text(STUDY.lstrip())
    return rehearse(
        StudySettings.from_raw(compose(["study=own", f"network._target_={HERE}.{name}", *overrides], [folder]))
    )


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


@pytest.mark.parametrize(
    ("part", "line"),
    [
        (f"output.loss={{_target_: {HERE}.nan_loss}}", r"output.loss._target_=\S+ gives nan before any training"),
        (f"output.loss={{_target_: {HERE}.writing_loss}}", r"output.loss._target_=\S+ changes its targets in place"),
        (f"schedule._target_={HERE}.Stuck", r"schedule._target_=\S+Stuck at its first step raises ArithmeticError: no"),
    ],
)
def test_a_loss_and_a_schedule_are_tried(tmp_path: Path, part: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        rehearsed(tmp_path, "Linear", *(["schedule=own"] if "schedule" in part else []), part)


def test_a_metric_that_writes_spoils_no_other() -> None:
    metric = tasks.metrics.build({"mine": {"_target_": f"{HERE}.writing_metric", "direction": "minimize"}})["mine"]
    outputs = torch.ones(3, 2)

    assert metric.function(outputs, torch.zeros(3)) == 0
    assert outputs.sum() == 6


def test_a_buffer_may_change(tmp_path: Path) -> None:
    assert not any("softmax" in line for line in rehearsed(tmp_path, "Kept").notices)


def test_a_softmax_before_the_loss_is_said_once(tmp_path: Path) -> None:
    assert sum("Shares seems to end in a softmax" in line for line in rehearsed(tmp_path, "Shares").notices) == 1


def test_a_step_without_a_loss(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="would learn nothing: its training_step gives no loss"):
        rehearsed(tmp_path, "Idle", "objective={val_acc: maximize}")
