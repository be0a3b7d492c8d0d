"""A trial with what learns faster: starts in closed form, regimes, rare classes, thresholds, the entropy of weights."""

import pytest
import torch

from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.config.settings import TrialConfig
from kirigami.search.config.study import StudySettings
from kirigami.search.errors import InputError
from kirigami.search.rehearsal import building as rehearsal
from kirigami.search.training import alone as trial
from kirigami.search.training import building
from kirigami.search.training.job import Job

SMALL = ["study=breast_cancer", "space=[]", "network.width=24", "trainer.epochs=3"]
MODULE = """
import torch
from lightning.pytorch import LightningModule
from torch import nn


class Lit(LightningModule):
    def __init__(self, in_shape, out_features):
        super().__init__()
        self.layer = nn.Linear(in_shape[0], out_features)

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
"""


def config_of(*overrides):
    return resolve(compose([*SMALL, *overrides]))


def run(*overrides):
    job = Job(0, config_of(*overrides), lambda fidelity, metrics: None)
    return trial.train(job), job


def scored(network, task):
    """Return the metrics of a network on a task's validation rows."""
    with torch.no_grad():
        return task.evaluate(network(task.validation.inputs), task.validation.targets)


def test_a_trial_of_no_epochs_is_fitted_in_closed_form(tmp_path):
    outcome, job = run("init=closed_form", "trainer.epochs=0")

    assert outcome.state == "complete"
    assert [fidelity for fidelity, _ in job.curve] == [0]
    assert outcome.metrics["balanced_accuracy"] > 0.85
    assert job.details["fit_s"] >= job.details["init_s"] > 0


def test_a_closed_form_start_is_ahead_after_an_epoch():
    slow = ("trainer.epochs=1", "optimizer.lr=0.001", "schedule=constant")
    (warm, _), (cold, _) = run("init=closed_form", *slow), run(*slow)

    assert warm.metrics["loss"] < cold.metrics["loss"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["trainer.epochs=0"], "trainer.epochs must be at least 1 with init=default, but got 0"),
        (["trainer.epochs=0", "init=closed_form", "bits=uniform"], "with bits=uniform, which needs training"),
        (["trainer.epochs=0", "init=closed_form", "regime=local"], "with regime=local, which needs training"),
    ],
)
def test_no_epochs_ask_for_nothing_that_trains(overrides, said):
    with pytest.raises(InputError, match=said):
        run(*overrides)


def test_threshold_and_temperature_are_in_the_kept_network(tmp_path):
    outcome, job = run("imbalance=fuzzy", "output.threshold=balanced_accuracy", "output.calibration=temperature")
    plain, _ = run("imbalance=fuzzy")
    outcome.trained.save(tmp_path / "network.safetensors")
    network, config = building.load(tmp_path / "network.safetensors")

    assert outcome.metrics["balanced_accuracy"] >= plain.metrics["balanced_accuracy"]
    assert outcome.metrics["loss"] != pytest.approx(plain.metrics["loss"])
    assert job.details["nll_before"] == pytest.approx(plain.metrics["loss"], rel=1e-4)
    assert 0 < job.details["threshold"] < 1
    for name, value in scored(network, building.open_task(config)).items():
        assert value == pytest.approx(outcome.metrics[name], abs=1e-6)


@pytest.mark.parametrize("regime", ["greedy", "local", "partition"])
def test_a_regime_reports_every_epoch_and_leaves_a_plain_network(regime, tmp_path):
    more = ("network.depth=3", "regime.partition=1") if regime == "partition" else ("network.depth=3",)
    outcome, job = run(f"regime={regime}", *more)
    plain, other = run("network.depth=3")
    outcome.trained.save(tmp_path / "network.safetensors")
    network, config = building.load(tmp_path / "network.safetensors")

    assert [fidelity for fidelity, _ in job.curve] == [1, 2, 3]
    assert job.details["params"] == other.details["params"]
    assert 0 < job.details["saved_bytes"] < other.details["saved_bytes"]
    found = scored(network, building.open_task(config))
    assert found["accuracy"] == pytest.approx(outcome.metrics["accuracy"], abs=1e-6)
    assert outcome.metrics["loss"] != plain.metrics["loss"]


def test_class_weights_reach_the_loss():
    config = TrialConfig.from_resolved(config_of("imbalance=weights"))
    task = building.open_task(config)
    loss = building.build_loss(config, task)
    wrong = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    rare, common = (float(loss(wrong.roll(flip, 1), torch.tensor([1 - flip] * 2))) for flip in (0, 1))

    assert rare / common == pytest.approx(float(task.class_weights[1] / task.class_weights[0]))


def test_entropy_of_weights_is_in_the_curve():
    _, job = run("weight_entropy=true")

    assert all(4 < metrics["weight_entropy"] <= 8 for _, metrics in job.curve)
    assert job.curve[-1][1]["weight_bytes"] > 100


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("regime=local", "regime: the regime .local. cannot train a LightningModule: .* Set regime.name=backprop"),
        ("output.threshold=f1", "output.threshold must be none for a LightningModule"),
        ("imbalance=weights", "imbalance.method must not be weights for a LightningModule"),
    ],
)
def test_a_lightning_module_trains_its_own_way(override, said, tmp_path, monkeypatch):
    (tmp_path / "mine_lit.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)

    config = ["study=breast_cancer", "space=[]", "network=own", "network._target_=mine_lit.Lit", override]

    with pytest.raises(ValueError, match=said):
        trial.train(Job(0, resolve(compose(config)), lambda fidelity, metrics: None))


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"regime": {"name": {"choices": ["backprop", "greddy"]}}}, "greddy"),
        ({"imbalance": {"method": {"choices": ["none", "smoot"]}}}, "smoot"),
        ({"init": {"name": {"choices": ["default", "closed"]}}}, "closed"),
        ({"output": {"threshold": {"choices": ["none", "f2"]}}}, "f2"),
    ],
    ids=["regime", "imbalance", "init", "threshold"],
)
def test_a_typo_in_a_space_is_found_before_any_trial(space, said):
    settings = StudySettings.from_raw({**compose(SMALL), "space": space})

    with pytest.raises(InputError, match=f"is refused: .*{said}"):
        rehearsal.rehearse(settings)
