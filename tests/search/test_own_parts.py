"""Metrics, callbacks and loggers of the user's own in a study: checked before the first trial, and at work in one."""

import csv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from kirigami.search.config.compose import compose
from kirigami.search.config.identity import difference, identity
from kirigami.search.config.own_code import check_targets
from kirigami.search.config.resolve import resolve
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.export.judge import Judge
from kirigami.search.rehearsal.building import rehearse_trial
from kirigami.search.rehearsal.objectives import check_objectives, directions
from kirigami.search.training import alone
from kirigami.search.training.building import open_task
from kirigami.search.training.job import Job, Outcome

HERE = __name__
SMALL = ["study=breast_cancer", "space=[]", "network.width=8", "network.depth=1", "trainer.epochs=3"]
COST = f"+metrics.cost={{_target_: {HERE}.cost, direction: minimize, missed: 5}}"
KAPPA = "+metrics.kappa={_target_: torchmetrics.classification.MulticlassCohenKappa, num_classes: 2, "
OWN = [
    COST,
    f"output.loss._target_={HERE}.focal",
    *("optimizer._target_=torch.optim.NAdam", "+optimizer.lr=0.01"),
    *("schedule._target_=torch.optim.lr_scheduler.StepLR", "+schedule.step_size=1"),
]


def cost(outputs: Tensor, targets: Tensor, missed: float = 2) -> Tensor:
    return ((outputs.argmax(1) != targets) * torch.where(targets == 1, missed, 1.0)).sum()


def focal(outputs: Tensor, targets: Tensor, gamma: float = 1.0) -> Tensor:
    chances = outputs.log_softmax(1)[torch.arange(len(targets)), targets]
    return -((1 - chances.exp()) ** gamma * chances).mean()


class StopAfter(Callback):
    """Ends a trial after some epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def config_of(*overrides: str) -> TrialConfig:
    return TrialConfig.from_resolved(resolve(compose([*SMALL, *overrides])))


def run(*overrides: str, runs: Path | None = None) -> tuple[Outcome, Job]:
    job = Job(3, config_of(*overrides).plain, lambda fidelity, metrics: None)
    return alone.train(job, runs=runs), job


class TestMetric:
    def test_it_is_reported_and_has_its_direction(self) -> None:
        config = config_of(*OWN, "objective=[cost,accuracy]")
        outcome, _ = run(*OWN)

        assert directions(config) == {"cost": "minimize", "accuracy": "maximize"}
        check_objectives(config, directions(config), rehearse_trial(config))
        assert outcome.metrics["cost"] == int(outcome.metrics["cost"]) >= 0

    def test_the_last_cuts_are_judged_by_it(self) -> None:
        judge = Judge(open_task(config_of(COST)), "cost", tolerance=0.1)

        assert judge.is_enough(11.0, before=10.0)
        assert not judge.is_enough(12.0, before=10.0)

    def test_a_constant_answer_has_it_too(self) -> None:
        task = open_task(config_of(COST))
        targets = task.validation.targets

        assert task.baselines(targets)["all_negative"]["cost"] == 5 * int(targets.sum())

    def test_a_class_of_torchmetrics_forgets_the_rows_before(self) -> None:
        task = open_task(config_of(f"{KAPPA} direction: maximize}}"))
        targets = task.validation.targets
        perfect = torch.nn.functional.one_hot(targets, 2).float()

        assert task.evaluate(perfect, targets)["kappa"] == 1
        assert task.evaluate(1 - perfect, targets)["kappa"] < 0

    @pytest.mark.parametrize(
        ("override", "line"),
        [
            (f"+metrics.cost={{_target_: {HERE}.cost}}", r"metrics.cost.direction must be one of \(maximize, minim"),
            ("+metrics.cost={direction: minimize}", "metrics.cost._target_ must be of the form"),
            (f"+metrics.f1={{_target_: {HERE}.cost, direction: minimize}}", "metrics.f1 is the name of a metric"),
            (f"{COST[:-1]}, mised: 3}}", "metrics.cost.mised is no argument .*Did you mean 'missed'"),
            ("+metrics.cost=mine.cost", "metrics must be a mapping of names to mappings, .* but got 'mine.cost'"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, override: str, line: str) -> None:
        with pytest.raises(ValueError, match=line):
            open_task(config_of(override))


class TestCallbacks:
    def test_they_act_on_the_trial_and_begin_anew_with_each(self) -> None:
        stop = f"trainer.callbacks=[{{_target_: {HERE}.StopAfter, epochs: 2}}]"

        assert [fidelity for fidelity, _ in run(stop)[1].curve] == [1, 2]
        assert [fidelity for fidelity, _ in run(stop)[1].curve] == [1, 2]

    def test_the_scores_of_a_trial_that_one_stops_early_are_those_of_the_hard_form(self) -> None:
        stop = f"trainer.callbacks=[{{_target_: {HERE}.StopAfter, epochs: 1}}]"
        sparse = ["sparsity=magnitude", "sparsity.density=0.05"]
        with pytest.warns(UserWarning, match="before harden_at"):
            outcome, job = run(stop, *sparse)
        network, task = outcome.trained.network.eval(), outcome.trained.task
        with torch.no_grad():
            outputs = network(task.validation.inputs)

        assert outcome.trained.techniques[0].hard
        assert outcome.metrics["f1"] == pytest.approx(task.evaluate(outputs, task.validation.targets)["f1"])
        assert outcome.metrics["f1"] != job.curve[-1][1]["f1"]

    @pytest.mark.parametrize(
        ("callback", "line"),
        [
            ("{epochs: 2}", "trainer.callbacks.0._target_ is not set"),
            (f"{{_target_: {HERE}.StopAfter}}", "trainer.callbacks.0.epochs is required"),
            ("{_target_: torch.nn.Identity}", "must build a Lightning callback, but torch.nn.Identity gave Identity"),
            ("{_target_: lightning.pytorch.callbacks.ModelCheckpoint}", "must be no Checkpoint"),
            ("{_target_: lightning.pytorch.callbacks.LearningRateMonitor}", "needs a logger. Set trainer.logger=csv"),
            (
                "{_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val_loss}",
                r"trainer.callbacks.0.monitor must be one of \(accuracy, .*loss\) on this task, but got 'val_loss'",
            ),
        ],
    )
    def test_what_is_wrong_is_found_before_a_trial(self, callback: str, line: str) -> None:
        with pytest.raises(InputError, match=line):
            rehearse_trial(config_of(f"trainer.callbacks=[{callback}]"))

    def test_a_list_is_asked_for(self) -> None:
        with pytest.raises(InputError, match=r"trainer.callbacks must be a list of mappings"):
            config_of("trainer.callbacks=mine.Callback")


class TestLogger:
    def test_csv_has_the_curve_and_no_store(self, tmp_path: Path) -> None:
        _, job = run("trainer.logger=csv", runs=tmp_path / "runs")
        folder = tmp_path / "runs" / "trial-00003"
        rows = list(csv.DictReader((folder / "metrics.csv").open()))

        assert [float(row["accuracy"]) for row in rows if row["accuracy"]] == pytest.approx(
            [metrics["accuracy"] for _, metrics in job.curve]
        )
        assert all(float(row["train_loss"]) > 0 for row in rows if row["train_loss"])
        assert "sqlite" not in (folder / "hparams.yaml").read_text()

    def test_it_changes_nothing_and_is_off_elsewhere(self, tmp_path: Path) -> None:
        logged, plain = run("trainer.logger=csv", runs=tmp_path), run("trainer.logger=csv")

        assert {name: logged[0].metrics[name] for name in ("accuracy", "loss", "f1")} == {
            name: plain[0].metrics[name] for name in ("accuracy", "loss", "f1")
        }
        assert logged[1].curve == plain[1].curve

    def test_one_of_a_target_gets_its_folder(self, tmp_path: Path) -> None:
        run("trainer.logger={_target_: lightning.pytorch.loggers.CSVLogger}", runs=tmp_path)

        assert list((tmp_path / "trial-00003").rglob("metrics.csv"))

    @pytest.mark.skipif(find_spec("wandb") is not None, reason="its package is installed")
    def test_a_package_that_is_not_installed_is_one_line(self) -> None:
        with pytest.raises(InputError, match=r"trainer.logger._target_=.*WandbLogger raised .*wandb"):
            rehearse_trial(config_of("trainer.logger={_target_: lightning.pytorch.loggers.WandbLogger}"))

    @pytest.mark.parametrize(
        ("logger", "line"),
        [
            ("cvs", "trainer.logger must be null, csv, tensorboard or a mapping"),
            ("{save_dir: here}", "trainer.logger._target_ is not set"),
            ("{_target_: torch.nn.Identity}", "trainer.logger._target_ must build a Lightning logger"),
            ("{_target_: lightning.pytorch.loggers.CVSLogger}", "has no 'CVSLogger'. Did you mean 'CSVLogger'"),
            ("{_target_: lightning.pytorch.loggers.NoSuch, a: 1}", "trainer.logger._target_=.* cannot be imported"),
        ],
    )
    def test_what_is_wrong_is_found_before_a_trial(self, logger: str, line: str) -> None:
        with pytest.raises(InputError, match=line):
            rehearse_trial(config_of(f"trainer.logger={logger}"))


def test_parts_of_ones_own_are_the_identity_of_a_study() -> None:
    ours, theirs = identity(config_of().plain), identity(config_of(*OWN, "trainer.logger=csv").plain)
    before = {path: value for path, value in ours.items() if path not in ("metrics", "trainer.callbacks")}

    changed = {line.partition(":")[0] for line in difference(ours, theirs)}
    assert {"metrics.cost._target_", "output.loss._target_", "optimizer._target_", "schedule._target_"} <= changed
    assert not {"trainer.logger", "metrics"} & changed
    assert difference(before, ours) == []


def test_every_target_is_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "csv.py").write_text("")
    config = {"trainer": {"callbacks": [{"_target_": "csv.Stop"}]}, "network": {"_target_": "torch.nn.Identity"}}
    searched = {"space": {"optimizer": {"_target_": {"choices": ["torch.optim.SGD", "csv.Slow"]}}}}

    check_targets(config, [])
    with pytest.raises(InputError, match=r"trainer.callbacks.0._target_=csv.Stop would import .*not your"):
        check_targets(config, [tmp_path])
    with pytest.raises(InputError, match=r"space.optimizer._target_.choices=csv.Slow would import"):
        check_targets(searched, [tmp_path])
