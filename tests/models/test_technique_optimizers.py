"""Techniques live with the optimisers and schedules that a module's author makes, under the names that they know."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim import lr_scheduler as schedules

from kirigami.models.bits import SMOL, Uniform
from kirigami.models.sharing import SoftSharing
from kirigami.models.sparsity import ContinuousSparsification, MagnitudePruning
from kirigami.models.technique import Technique
from tests.models.foreign import Foreign, fit

KINDS: dict[str, Callable[[], Technique]] = {
    "continuous": lambda: ContinuousSparsification(0.3),
    "magnitude": lambda: MagnitudePruning(0.3),
    "bits": lambda: Uniform(4),
    "learnt bits": lambda: SMOL(2.5),
}


class Authors(Foreign):
    """Makes its optimiser, and a schedule, in a way of its own."""

    def __init__(self, optimizer: Callable[[nn.Module], Optimizer], schedule: Callable[[Optimizer], Any] | None = None):
        super().__init__()
        self.make, self.schedule = optimizer, schedule

    def configure_optimizers(self) -> Any:
        optimizer = self.make(self)
        if self.schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.schedule(optimizer), "interval": "step"}}


def by_names(module: nn.Module) -> Optimizer:
    """The recipe of most authors."""
    decayed = [p for name, p in module.named_parameters() if name.endswith("weight") and p.dim() > 1]
    others = [p for name, p in module.named_parameters() if not (name.endswith("weight") and p.dim() > 1)]
    return AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=5e-3)


def by_layers(module: Any) -> Optimizer:
    body = module.body
    layers = [body.out, body.stem, body.first, body.second, body.norms, body.depthwise, body.memory]
    head, rest = [body.second[0].weight], [p for layer in layers for p in layer.parameters()]
    return SGD([{"params": head, "lr": 1e-3}, {"params": [p for p in rest if p is not head[0]]}], lr=1e-2, momentum=0.9)


def weights_alone(module: nn.Module) -> Optimizer:
    return SGD([p for name, p in module.named_parameters() if name.endswith("weight")], lr=1e-2)


def entries(group: dict[str, Any]) -> int:
    return sum(parameter.numel() for parameter in group["params"])


@pytest.mark.parametrize("kind", KINDS)
def test_weights_decay_as_their_author_meant(kind):
    plain = by_names(Foreign())
    trainer = fit(Authors(by_names), KINDS[kind](), epochs=1)
    assert entries(trainer.optimizers[0].param_groups[0]) == entries(plain.param_groups[0])
    assert {group["weight_decay"] for group in trainer.optimizers[0].param_groups[1:]} == {0.0}


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_is_listed_by_its_layer(kind):
    module = Authors(by_layers)
    before = module.body.second[0].weight.clone()
    fit(module, KINDS[kind](), epochs=1)
    assert not torch.equal(module.body.second[0].parametrizations.weight.original, before)


@pytest.mark.parametrize("technique", [ContinuousSparsification(0.3), SoftSharing(2)], ids=["gates", "templates"])
def test_what_a_technique_learns_is_trained_whoever_lists_the_parameters(technique):
    module = Authors(weights_alone)
    trainer = fit(module, technique, epochs=1)
    held = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert technique.learned()
    assert all(id(parameter) in held for parameter in technique.learned())


def test_names_are_plain_in_that_moment_only():
    module = Authors(by_names)
    fit(module, MagnitudePruning(0.3), epochs=1)
    assert "body.second.0.parametrizations.weight.original" in dict(module.named_parameters())
    assert "configure_optimizers" not in vars(module)


def warm_up(optimizer: Optimizer) -> Any:
    parts: Sequence[Any] = [
        schedules.LinearLR(optimizer, 0.1, total_iters=6),
        schedules.CosineAnnealingLR(optimizer, T_max=54),
    ]
    return schedules.SequentialLR(optimizer, parts, milestones=[6])


SCHEDULES: dict[str, Callable[[Optimizer], Any]] = {
    "sequence": warm_up,
    "chain": lambda optimizer: schedules.ChainedScheduler([schedules.ExponentialLR(optimizer, 0.9)]),
    "cyclic": lambda optimizer: schedules.CyclicLR(optimizer, 1e-3, 1e-1, step_size_up=5),
    "one cycle": lambda optimizer: schedules.OneCycleLR(optimizer, 1e-1, total_steps=60),
    "lambda": lambda optimizer: schedules.LambdaLR(optimizer, lambda step: 0.9**step),
    "polynomial": lambda optimizer: schedules.PolynomialLR(optimizer, 60),
    "restarts": lambda optimizer: schedules.CosineAnnealingWarmRestarts(optimizer, 10),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_drives_the_techniques_group_in_proportion(name):
    module = Authors(lambda module: SGD(module.parameters(), lr=1e-2, momentum=0.9), SCHEDULES[name])
    technique = ContinuousSparsification(0.3, mask_lr_scale=3.0)
    trainer = fit(module, technique, epochs=2)
    first, second = (group["lr"] for group in trainer.optimizers[0].param_groups)
    assert second == pytest.approx(3 * first, abs=1e-12)


def test_an_optimiser_without_groups_is_refused_in_a_line():
    module = Authors(lambda module: torch.optim.LBFGS(module.parameters()))
    with pytest.raises(ValueError, match="LBFGS takes one group of parameters"):
        fit(module, ContinuousSparsification(0.3), epochs=1)
