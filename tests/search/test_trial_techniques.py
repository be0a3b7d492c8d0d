"""A trial with techniques: attached before training, hard at its end, measured in bytes, refused where it must be."""

import copy
import functools

import pytest
import torch
from safetensors.torch import save_file

from kirigami import models
from kirigami.models.technique import chain, stored_parameters, weighted
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.rehearsal import building as rehearsal
from kirigami.search.training import alone as trial
from kirigami.search.training import building, costs
from kirigami.search.training.job import Job

SMALL = [
    "study=digits_dense",
    "~space.network",
    "space=[]",
    "network.width=8",
    "trainer.epochs=4",
    "trainer.device=cpu",
]
ALL = ["sharing=soft", "sparsity=continuous", "bits=uniform"]
BLOCKS = ["network=resnet", "network.stages=1", "network.blocks=3", "network.depth=20"]


@functools.cache
def config_of(*overrides):
    return resolve(compose([*SMALL, *overrides]))


@functools.cache
def run(*overrides):
    """Train a trial, once for all tests that ask for the same."""
    return run_anew(*overrides)


def run_anew(*overrides):
    job = Job(0, copy.deepcopy(config_of(*overrides)), lambda fidelity, metrics: None)
    return trial.train(job), job


@pytest.mark.parametrize(
    "overrides",
    [["sparsity=magnitude"], ["sparsity=gradual"], ["bits=smol"], [*BLOCKS, "sharing=tied"], [*BLOCKS, *ALL]],
    ids=lambda overrides: " ".join(one for one in overrides if "network" not in one),
)
def test_trial_ends_hard_and_measured(overrides, tmp_path):
    outcome, job = run(*overrides)
    assert outcome.state == "complete"
    assert outcome.metrics["bytes"] == job.details["bytes"] > 500
    assert [fidelity for fidelity, _ in job.curve] == [1, 2, 3, 4]
    outcome.trained.save(tmp_path / "network.safetensors")
    assert [one.name for one in tmp_path.iterdir()] == ["network.safetensors"]
    network, config = building.load(tmp_path / "network.safetensors")
    assert config.network == job.config["network"]
    assert models.compact.encoded_bytes(network) == job.details["bytes"]
    task = building.open_task(config)
    batches = list(task.val_dataloader())
    with torch.no_grad():
        outputs = torch.cat([network(inputs) for inputs, _ in batches])
    found = task.evaluate(outputs, torch.cat([targets for _, targets in batches]))
    assert found["accuracy"] == pytest.approx(outcome.metrics["accuracy"], abs=1e-6)


@pytest.mark.parametrize(
    ("content", "said"), [(b"no tensors", "no readable"), (None, "no readable"), ({}, "no network")]
)
def test_what_no_trial_kept_is_refused(content, said, tmp_path):
    path = tmp_path / "network.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=said):
        building.load(path)


def test_figures_are_those_of_the_network():
    outcome, job = run("sparsity=continuous", "sparsity.density=0.2", "bits=uniform", "bits.bits=3")
    assert outcome.state == "complete"
    assert job.details["density"] == pytest.approx(0.2, abs=0.01)
    assert job.details["bits"] == pytest.approx(3)


def test_masks_and_bits_make_the_file_smaller():
    sizes = [run(*overrides)[1].details["bytes"] for overrides in ([], ["sparsity=magnitude"], ["bits=uniform"])]
    both = run("sparsity=magnitude", "bits=uniform")[1].details["bytes"]
    assert both < min(sizes[1:]) < max(sizes[1:]) < sizes[0]


def test_gates_are_no_parameters_of_the_network_and_templates_are():
    dense = run()[1].details["params"]
    assert run("sparsity=continuous")[1].details["params"] == dense
    shared = TrialConfig.from_resolved(config_of(*BLOCKS, "sharing=soft", "sharing.templates=2"))
    task = building.open_task(shared)
    network = building.build_network(shared, task)
    before = models.cost.parameters(network)
    building.attach(building.build_techniques(shared.techniques), network)
    assert stored_parameters(network) < before


GROWN = ["growth=gradmax", "growth.params=6000", "growth.every=4"]


@pytest.mark.parametrize(
    "overrides",
    [GROWN, ["sparsity=structured", "sparsity.keep=0.5"], [*GROWN, "sparsity=continuous", "bits=uniform"]],
    ids=["grown", "structured", "grown, masked and rounded"],
)
def test_a_network_whose_shape_changes_is_measured_at_the_end_and_comes_back(overrides, tmp_path):
    before = run()[1].details
    outcome, job = run(*overrides)
    assert outcome.state == "complete"
    outcome.trained.save(tmp_path / "network.safetensors")
    network, config = building.load(tmp_path / "network.safetensors")
    assert stored_parameters(network) == job.details["params"] != before["params"]
    assert costs.macs(models.compact.plain(network), building.open_task(config))["macs"] == job.details["macs"]
    assert job.details["macs"] != before["macs"]
    assert models.compact.encoded_bytes(network) == job.details["bytes"]


def test_what_shrinks_may_begin_over_the_budget():
    outcome, job = run("sparsity=structured", "sparsity.keep=0.4", "budget.params=1000")
    assert outcome.state == "complete"
    assert job.details["shrinks"]
    assert outcome.metrics["params"] < run()[1].details["params"]
    refused, _ = run("budget.params=1000")
    assert refused.state == "infeasible"


def test_over_the_budget_in_bytes_costs_no_training():
    outcome, job = run("budget.bytes=3000")
    assert outcome.state == "infeasible"
    assert "over budget.bytes=3000" in outcome.reason
    assert outcome.metrics["bytes"] > 3000
    assert not job.curve
    assert "fit_s" not in job.details
    within, _ = run("budget.bytes=3000", "sparsity=magnitude", "sparsity.density=0.05", "bits=uniform", "bits.bits=2")
    assert within.state == "complete"
    assert within.metrics["bytes"] <= 3000


def test_a_network_that_the_file_cannot_hold_is_trained_all_the_same(monkeypatch):
    def refuse(network):
        raise ValueError("no form for complex numbers")

    monkeypatch.setattr(models.compact, "encoded_bytes", refuse)
    outcome, job = run_anew()
    assert outcome.state == "complete"
    assert "bytes" not in job.details


def test_links_stand_in_order():
    config = TrialConfig.from_resolved(config_of(*BLOCKS, *ALL))
    task = building.open_task(config)
    network = building.build_network(config, task)
    building.attach(building.build_techniques(config.techniques), network)
    stages = {tuple(link.stage for link in chain(layer)) for _, layer in weighted(network)}
    assert ("share", "mask", "quantise") in stages
    with torch.no_grad():
        assert network(torch.zeros(2, *task.in_shape)).shape == (2, 10)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sparsity=continuous", "sparsity.density=2"], "sparsity.density"),
        (["bits=uniform", "bits.bits=0"], "bits.bits"),
        (["sharing=soft", "sharing.templates=0"], "sharing.templates"),
        (["sparsity=magnitude", "sparsity.method=magnitudes"], "sparsity.method"),
        (["network=convnet", "sharing=soft"], "sharing"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_one_line_before_any_trial(overrides, words):
    with pytest.raises(InputError, match=words) as error:
        rehearsal.rehearse_trial(TrialConfig.from_resolved(config_of(*overrides)))
    assert "\n" not in str(error.value)
