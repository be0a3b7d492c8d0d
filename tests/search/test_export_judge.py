"""Who judges the last cuts and the card: the study's first objective, also one that a LightningModule logs."""

from typing import Any

import optuna
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from kirigami import tasks
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import StudyStopped
from kirigami.search.export.card import interval
from kirigami.search.export.finish import finish
from kirigami.search.export.judge import Judge, judge_of, outputs_of
from kirigami.search.training.building import build_loss, build_module, network_of, open_task

HERE = __name__


class Sure(LightningModule):
    """Logs the share of rows that it is right about and sure of, less one where it is wrong: no metric of the task."""

    def __init__(self, in_shape: Any, out_features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_shape[0], out_features)

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)

    def training_step(self, batch: Any, index: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("sure", sure(self(batch[0]), batch[1]), on_epoch=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Holding(Sure):
    """The same, with the network that is exported inside."""

    def __init__(self, in_shape: Any, out_features: int) -> None:
        super().__init__(in_shape, out_features)
        self.network = self.layer
        del self.layer

    def forward(self, x: Tensor) -> Any:
        return self.network(x)


def sure(outputs: Tensor, targets: Tensor) -> Tensor:
    right = outputs.argmax(1) == targets
    return torch.where(right, outputs.softmax(1).max(1).values, -1.0).mean()


def opened(*overrides: str, objective: str = "sure") -> tuple[optuna.Study, TrialConfig, tasks.Task]:
    study = optuna.create_study(directions=["minimize" if name == "loss" else "maximize" for name in [objective]])
    study.set_metric_names([objective])
    small = ["study=breast_cancer", "space=[]", "trainer.device=cpu", *overrides]
    config = TrialConfig.from_resolved(resolve(compose(small)))
    task = open_task(config)
    task.setup("test")
    return study, config, task


pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.mark.parametrize("name", ["Sure", "Holding"])
def test_what_a_module_logs_judges_cuts_and_card(name: str) -> None:
    study, config, task = opened("network=own", f"network._target_={HERE}.{name}")
    network = network_of(build_module(config, task))
    judge = judge_of(study, config, task, tolerance=0.01)
    done = finish(network, config, judge)

    expected = float(sure(*outputs_of(network, task)))
    assert done.before == pytest.approx(expected, abs=1e-5)
    assert done.bits is not None  # cut, since the objective is hardly worse
    assert done.score == pytest.approx(float(sure(*outputs_of(done.network, task))), abs=1e-5)
    assert done.score >= done.before - 0.01 * abs(done.before) - 1e-6
    tested = outputs_of(done.network, task, "test")
    assert judge.scores(done.network, "test")["sure"] == pytest.approx(float(sure(*tested)), abs=1e-5)
    assert interval(judge, task, *tested, 0.5) is None
    assert judge.direction == "maximize"


def test_the_loss_judges_where_it_is_the_objective() -> None:
    study, config, task = opened("network=mlp", objective="loss")
    network = network_of(build_module(config, task))
    judge = judge_of(study, config, task, tolerance=0.1)

    outputs = outputs_of(network, task)
    assert judge.score(network) == pytest.approx(float(build_loss(config, task)(*outputs)))
    assert judge.is_enough(1.05, before=1.0)
    assert not judge.is_enough(1.2, before=1.0)
    assert judge.error(task, *outputs) > 0


def test_a_cost_alone_leaves_the_tasks_own_metric() -> None:
    study, config, task = opened("network=mlp", objective="bytes")
    assert judge_of(study, config, task, 0.1) == Judge(task, task.default_metric, 0.1)


def test_an_objective_that_nothing_measures_is_one_line() -> None:
    study, config, task = opened("network=mlp")
    with pytest.raises(StudyStopped, match=r"the objective 'sure' is not measured any more: the task has \(accuracy, "):
        judge_of(study, config, task, 0.1)
