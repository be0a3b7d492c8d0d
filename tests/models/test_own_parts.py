"""An optimiser, a schedule and a loss of the user's own, by the path of a class or a function."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kirigami.models import Learner
from kirigami.models.optimizers import build_optimizer, slowed
from kirigami.models.outputs import loss
from kirigami.models.regimes.phases import Phase, phased
from kirigami.models.schedules import build_schedule, stepping
from kirigami.targets import located
from tests.models.test_learner import QUIET, Batches, Trainer, metrics

HERE = __name__


def focal(outputs: Tensor, targets: Tensor, gamma: float = 1.0) -> Tensor:
    chances = outputs.log_softmax(1)[torch.arange(len(targets)), targets]
    return -((1 - chances.exp()) ** gamma * chances).mean()


def weighted(outputs: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, weight=class_weights)


def plain(parameters: Any) -> Optimizer:
    return torch.optim.SGD(parameters, lr=0.5)


def decaying(optimizer: Optimizer, total_steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda now: 1 - now / total_steps)


def failing() -> None:
    raise RuntimeError("no such\nthing")


def layer() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


class TestOptimizer:
    def test_arguments_pass_through(self) -> None:
        optimizer = build_optimizer(layer(), {"_target_": "torch.optim.NAdam", "lr": 0.02, "betas": [0.5, 0.9]})

        assert isinstance(optimizer, torch.optim.NAdam)
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (0.02, [0.5, 0.9])

    @pytest.mark.parametrize(("decay_norms", "decays"), [(False, [0.1, 0.0]), (True, [0.1])])
    def test_decay_leaves_norms_alone(self, decay_norms: bool, decays: list[float]) -> None:
        config = {"_target_": "torch.optim.NAdam", "weight_decay": 0.1, "decay_norms": decay_norms}

        assert [group["weight_decay"] for group in build_optimizer(layer(), config).param_groups] == decays

    def test_its_own_default_of_decay_stays(self) -> None:
        assert build_optimizer(layer(), {"_target_": "torch.optim.AdamW"}).param_groups[0]["weight_decay"] == 0.01

    def test_a_slower_one_for_tuning(self) -> None:
        nadam, function = {"_target_": "torch.optim.NAdam"}, {"_target_": f"{HERE}.plain"}

        assert slowed(nadam, 0.1)["lr"] == pytest.approx(2e-4)
        assert slowed(function, 0.1) == function
        assert slowed({"name": "sgd", "lr": 0.3}, 0.1)["lr"] == pytest.approx(0.03)

    @pytest.mark.parametrize(
        ("config", "line"),
        [
            ({"_target_": "torch.optim.NAdam", "rl": 1}, "rl is no argument of torch.optim.NAdam. Did you mean 'lr'"),
            ({"_target_": "torch.optim.NAdam", "lr": -1.0}, "_target_=torch.optim.NAdam raised ValueError: Invalid"),
            ({"_target_": "torch.nn.Linear"}, "out_features is required by torch.nn.Linear"),
            ({"_target_": f"{HERE}.layer"}, "layer raised TypeError"),
            ({"_target_": "torch.optim.Nadam"}, "cannot be imported"),
            ({"_target_": 3}, "must be of the form package.module.Class, but got 3"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, config: Mapping[str, Any], line: str) -> None:
        with pytest.raises(ValueError, match=line):
            build_optimizer(layer(), config)


def fit(schedule: Mapping[str, Any], epochs: int = 2) -> list[float]:
    """Return the rate before each of 4 batches an epoch, and after them."""
    torch.manual_seed(0)
    rates: list[float] = []

    class Watched(Learner):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            rates.append(self.optimizers().param_groups[0]["lr"])

    module = Watched(nn.Linear(2, 2), loss("auto", "classes", 2), metrics, {"name": "sgd", "lr": 1.0}, schedule)
    batches = Batches(torch.randn(8, 2), torch.arange(8) % 2, 2)
    Trainer(**QUIET, max_epochs=epochs).fit(module, batches, batches)
    return rates


class TestSchedule:
    def test_steps_by_epochs_unless_told(self) -> None:
        schedule = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.5}

        assert fit(schedule) == [1.0] * 4 + [0.5] * 4
        assert fit({**schedule, "interval": "step"}) == [0.5**step for step in range(8)]

    @pytest.mark.parametrize(("interval", "rates"), [("step", [0.875, 0.125]), ("epoch", [1.0, 0.5])])
    def test_lengths_are_counted_in_its_interval(self, interval: str, rates: list[float]) -> None:
        seen = fit({"_target_": f"{HERE}.decaying", "interval": interval})

        assert [seen[1], seen[-1]] == rates

    def test_one_that_watches_a_metric(self) -> None:
        plateau = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 0, "mode": "max"}

        assert fit({**plateau, "monitor": "rows"}, epochs=3)[-1] == pytest.approx(0.1)

    def test_phases_of_a_regime_refuse_it(self) -> None:
        optimizer = build_optimizer(layer(), {"name": "sgd"})
        phases = [Phase(0, 0), Phase(1, 1)]

        with pytest.raises(ValueError, match="_target_ must be left out for a regime of several phases"):
            phased(optimizer, {"_target_": f"{HERE}.decaying"}, phases, [2, 2], 2)

    @pytest.mark.parametrize(
        ("config", "line"),
        [
            ({"_target_": f"{HERE}.decaying", "interval": "batch"}, "interval must be one of"),
            ({"_target_": f"{HERE}.plain"}, "must build a torch LRScheduler|raised"),
            ({"_target_": "torch.optim.lr_scheduler.StepLR"}, "step_size is required"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, config: Mapping[str, Any], line: str) -> None:
        with pytest.raises(ValueError, match=line):
            build_schedule(build_optimizer(layer(), {"name": "sgd"}), config, 8, 4)

    def test_ours_step_at_every_step(self) -> None:
        assert stepping({"name": "cosine"}) == {"interval": "step"}


class TestLoss:
    outputs, targets = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])

    def test_a_function_gets_its_arguments(self) -> None:
        made = loss({"_target_": f"{HERE}.focal", "gamma": 2.0}, "classes", 3)

        assert made(self.outputs, self.targets) == focal(self.outputs, self.targets, 2.0)

    def test_a_class_is_built_once(self) -> None:
        made = loss({"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.1}, "classes", 3)

        assert made(self.outputs, self.targets) == nn.functional.cross_entropy(
            self.outputs, self.targets, label_smoothing=0.1
        )

    def test_class_weights_reach_one_that_takes_them(self) -> None:
        weights = torch.tensor([1.0, 2.0, 3.0])
        made = loss({"_target_": f"{HERE}.weighted"}, "classes", 3, weights=weights)

        assert made(self.outputs, self.targets) == weighted(self.outputs, self.targets, weights)

    @pytest.mark.parametrize(
        ("config", "options", "line"),
        [
            ({"_target_": f"{HERE}.focal", "gama": 1.0}, {}, "loss.gama is no argument .*Did you mean 'gamma'"),
            ({"gamma": 1.0}, {}, "loss._target_ must be of the form package.module.Class, but got None"),
            ({"_target_": f"{HERE}.focal"}, {"smoothing": 0.1}, "takes no smoothing"),
            ({"_target_": f"{HERE}.focal"}, {"weights": torch.ones(3)}, "no argument class_weights"),
            ({"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1}, {}, "without parameters"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, config: Mapping[str, Any], options: dict[str, Any], line: str) -> None:
        with pytest.raises(ValueError, match=line):
            loss(config, "classes", 3, **options)


def test_what_a_module_raises_on_import_is_one_line(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breaks_on_import.py").write_text("raise ZeroDivisionError('half a file')\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ValueError, match=r"breaks_on_import.x raised ZeroDivisionError on import: half a file"):
        located("breaks_on_import.x")
