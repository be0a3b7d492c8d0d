"""Who judges an exported network: the study's first objective that is a score, measured as the trials had it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.seed import isolate_rng
from optuna.study import Study
from torch import Tensor, nn

from kirigami import models, tasks
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import StudyStopped, one_line
from kirigami.search.study import ranking
from kirigami.search.training.building import build_loss, build_module
from kirigami.search.training.trainer import build_trainer
from kirigami.several import run
from kirigami.spaces.costs import COSTS
from kirigami.tasks.row_scores import Groups, parts

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Judge:
    """Scores networks, and says what is still good enough.

    Attributes:
        task: whose validation rows judge the last cuts.
        metric: one of the task, `loss`, or what a user's own LightningModule logs.
        tolerance: share of the trial's score that may be lost.
        way: "maximize" or "minimize"; None where the metric is one of the task, which knows.
        loss: of the trial, where that is the metric.
        logging: the config of a LightningModule that logs the metric; None where the task computes it of outputs.
    """

    task: tasks.Task
    metric: str
    tolerance: float
    way: str | None = None
    loss: Loss | None = None
    logging: TrialConfig | None = None

    @property
    def direction(self) -> str:
        """Return "maximize" or "minimize"."""
        return self.way or self.task.direction(self.metric)

    def scores(self, network: nn.Module, rows: str = "validation", task: tasks.Task | None = None) -> dict[str, float]:
        """Return all that is measured of "validation" or "test" rows; the latter must be open.

        Args:
            network: the one.
            rows: which.
            task: whose rows; by default those of the judge's.
        """
        task = self.task if task is None else task
        if self.logging is not None:
            return logged(network, self.logging, task, rows)
        return self.evaluate(task, *outputs_of(network, task, rows))

    def score(self, network: nn.Module) -> float:
        """Return the metric of validation rows."""
        return self.scores(network)[self.metric]

    def evaluate(self, task: tasks.Task, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return all that is measured of outputs and targets."""
        scores = task.evaluate(outputs, targets)
        return scores if self.loss is None else {**scores, "loss": float(self.loss(outputs, targets))}

    def error(self, task: tasks.Task, outputs: Tensor, targets: Tensor) -> float | None:
        """Return the standard error of the metric over rows; None where it is only known of all rows together."""
        if self.logging is not None:
            return None
        outputs, targets = outputs.detach().float().cpu(), targets.detach().cpu()
        if self.loss is None:
            values = task.row_scores(self.metric, outputs, targets)
        else:
            loss = self.loss
            values = parts(lambda *some: float(loss(*some)), outputs, targets, Groups.deal(len(targets)))
        return float(values.std() / len(values) ** 0.5) if len(values) > 1 else 0.0

    def is_enough(self, score: float, before: float) -> bool:
        """Return whether a score is within the tolerance of the one before."""
        lost = before - score if self.direction == "maximize" else score - before
        return lost <= self.tolerance * abs(before) + 1e-9


def judge_of(study: Study, config: TrialConfig, task: tasks.Task, tolerance: float) -> Judge:
    """Return the judge of a study's networks: by its first objective that is a score, else by the task's own metric.

    Args:
        study: whose objectives are meant.
        config: of the trial.
        task: its, open.
        tolerance: share of the trial's score that may be lost.

    Raises:
        StudyStopped: where nothing measures the objective any more.
    """
    ways = {name: way.name.lower() for name, way in zip(ranking.metric_names(study), study.directions, strict=True)}
    metric = next((name for name in ways if name not in COSTS), task.default_metric)
    judge = Judge(task, metric, tolerance, ways.get(metric))
    if metric in ways and is_own_module(config, task):
        return replace(judge, logging=config)
    if metric in task.metrics:
        return judge
    if metric == "loss":
        return replace(judge, loss=build_loss(config, task))
    raise StudyStopped(f"the objective {metric!r} is not measured any more: the task has ({', '.join(task.metrics)}).")


def is_own_module(config: TrialConfig, task: tasks.Task) -> bool:
    """Tell whether a config's network is a LightningModule of the user's own, which logs its own scores."""
    if "_target_" not in config.network:
        return False
    with isolate_rng():
        return not isinstance(build_module(config, task), models.Learner)


def logged(network: nn.Module, config: TrialConfig, task: tasks.Task, rows: str) -> dict[str, float]:
    """Return what a user's own LightningModule logs when its validation runs over "validation" or "test" rows.

    Args:
        network: the module, or what it holds under `network`.
        config: of the module.
        task: whose rows.
        rows: which; they are validated, also those of the test, since the objective is logged there.

    Raises:
        StudyStopped: in one line, for whatever it raises, and where the first objective is not logged.
    """
    loader = task.test_dataloader() if rows == "test" else task.val_dataloader()
    with isolate_rng():
        module = network if isinstance(network, LightningModule) else build_module(config, task)
        if module is not network:
            module.network = network
        trainer = build_trainer(config.with_changes(trainer={"device": "cpu", "devices": 1}).trainer, [])
        try:
            trainer.validate(module, loader, verbose=False)
        except Exception as error:
            raise StudyStopped(
                f"the network's own validation raises {type(error).__name__}: {one_line(error)}"
            ) from error
    values: Mapping[str, Tensor] = trainer.callback_metrics
    return {name: float(value) for name, value in values.items()}


def outputs_of(network: nn.Module, task: tasks.Task, rows: str = "validation") -> tuple[Tensor, Tensor]:
    """Return outputs and targets of all "validation" or "test" rows; the latter must be open."""
    network = network.cpu().eval()
    batches = list(task.test_dataloader() if rows == "test" else task.val_dataloader())
    with torch.no_grad():
        outputs = torch.cat([run(network, inputs) for inputs, _ in batches])
    return outputs, torch.cat([targets for _, targets in batches])


def metrics_of(network: nn.Module, task: tasks.Task, rows: str) -> dict[str, float]:
    """Return all metrics that a task has of "validation" or "test" rows; the latter must be open."""
    return task.evaluate(*outputs_of(network, task, rows))
