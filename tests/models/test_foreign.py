"""Every technique alone, on a network and a LightningModule that know nothing of this project, by a plain Trainer."""

import copy
import functools
import importlib
import inspect
import json
import math
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kirigami import models
from kirigami.models.bits import SMOL, Uniform
from kirigami.models.compact import decode, encode, plain
from kirigami.models.growth import GrowAndShrink
from kirigami.models.influence import WEIGHT_CRITERIA
from kirigami.models.sharing import SoftSharing, TiedLayers
from kirigami.models.sparsity import (
    ContinuousSparsification,
    GradualPruning,
    InfluencePruning,
    MagnitudePruning,
    RandomPruning,
)
from kirigami.models.sparsity.structured import StructuredPruning
from kirigami.models.technique import Technique

TECHNIQUES: dict[str, Callable[[], Technique]] = {
    "soft sharing": lambda: SoftSharing(templates=2),
    "soft sharing, folded": lambda: SoftSharing(templates=4, pressure=3.0, fold=True, tau=0.3, harden_at=0.6),
    "tied layers": TiedLayers,
    "continuous sparsification": lambda: ContinuousSparsification(density=0.3),
    "magnitude pruning": lambda: MagnitudePruning(density=0.3),
    "gradual pruning": lambda: GradualPruning(density=0.3, updates=10),
    "random pruning": lambda: RandomPruning(density=0.5),
    "uniform bits": lambda: Uniform(3),
    "uniform bits, inputs too": lambda: Uniform(4, activation_bits=4),
    "learnt bits": lambda: SMOL(2.5),
    "learnt bits, inputs too": lambda: SMOL(2.5, activation_bits=3),
    "structured pruning": lambda: StructuredPruning(keep=0.7),
    "growth and shrinking": lambda: GrowAndShrink(params=3000, batches=1, every=4),
}
TECHNIQUES |= {
    f"influence pruning, {criterion}": functools.partial(InfluencePruning, criterion, 0.5, rows=32, batches=2, probes=2)
    for criterion in WEIGHT_CRITERIA
    if criterion != "synflow"  # which asks for units that do not saturate: in a GRU all its scores are 0
}


class Network(nn.Module):
    """Reads images (n, 1, 6, 6): residual blocks, a depthwise convolution, and a GRU from column to column."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.first = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.second = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.memory = nn.GRU(8, 8, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return scores (n, 3)."""
        found = self.stem(images)
        for first, second, norm in zip(self.first, self.second, self.norms, strict=True):
            found = F.relu(found + norm(second(F.relu(first(found)))))
        columns = F.relu(self.depthwise(found)).mean(2).transpose(1, 2)
        return self.out(self.memory(columns)[0][:, -1])


class Foreign(LightningModule):
    """Somebody's module; its network is not where ours is."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = Network()

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)

    def training_step(self, batch: Sequence[Tensor], _index: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=5e-3)


def rows() -> tuple[Tensor, Tensor]:
    """Return images and which third of the columns is the brightest."""
    images = torch.randn(96, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    return images, images.mean((1, 2)).reshape(96, 3, 2).mean(2).argmax(1)


def fit(module: LightningModule, *callbacks: Callback, epochs: int = 10) -> Trainer:
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(module, DataLoader(TensorDataset(*rows()), batch_size=16))
    return trainer


def loss_of(module: nn.Module) -> float:
    """Return the loss on all rows, in evaluation."""
    with torch.no_grad():
        return float(F.cross_entropy(module.eval()(rows()[0]), rows()[1]))


@dataclass(frozen=True)
class Run:
    """A technique that has had its run, on a module in evaluation mode."""

    module: Foreign
    technique: Technique
    before: float

    def outputs(self) -> Tensor:
        """Return the module's outputs on all rows."""
        with torch.no_grad():
            return self.module(rows()[0])


@functools.cache
def trained(name: str) -> Run:
    """Train once with a technique of the table."""
    module, technique = Foreign(), TECHNIQUES[name]()
    before = loss_of(module)
    fit(module.train(), technique)
    return Run(module.eval(), technique, before)


def restored(name: str) -> Foreign:
    """Bring a fresh module, of other weights, to the form of the one that was trained."""
    recipe = json.loads(json.dumps(trained(name).technique.recipe()))
    fresh = Foreign(seed=1).eval()
    TECHNIQUES[name]().restore(fresh, recipe)
    return fresh


def descendants(base: type) -> set[type]:
    """Return all classes below a class."""
    return set().union(*({below, *descendants(below)} for below in base.__subclasses__()))


def test_table_holds_every_technique() -> None:
    for module in pkgutil.walk_packages(models.__path__, "kirigami.models."):
        importlib.import_module(module.name)
    ours = {kind for kind in descendants(Technique) if not inspect.isabstract(kind)}
    assert {kind.__name__ for kind in ours} == {type(make()).__name__ for make in TECHNIQUES.values()}


@pytest.mark.parametrize("name", TECHNIQUES)
class TestTechnique:
    def test_loss_falls(self, name: str) -> None:
        run = trained(name)
        assert loss_of(run.module) < 0.85 * run.before

    def test_ends_hard_and_finite(self, name: str) -> None:
        run = trained(name)
        assert run.technique.hard
        assert run.outputs().isfinite().all()
        assert all(value.isfinite().all() for value in run.module.state_dict().values())

    def test_reports_figures(self, name: str) -> None:
        report = trained(name).technique.report()
        assert report
        assert all(math.isfinite(value) for value in report.values())

    def test_comes_back_from_recipe_and_state(self, name: str) -> None:
        run, fresh = trained(name), restored(name)
        assert not torch.equal(fresh(rows()[0]), run.outputs())
        fresh.load_state_dict(run.module.state_dict(), strict=True)
        assert torch.equal(fresh(rows()[0]), run.outputs())

    def test_comes_back_from_a_file_of_tensors(self, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
        run, fresh = trained(name), restored(name)
        path = str(tmp_path_factory.mktemp("saved") / "weights.safetensors")
        save_model(run.module, path)
        load_model(fresh, path)
        assert torch.equal(fresh(rows()[0]), run.outputs())

    def test_comes_back_from_the_encoded_file(self, name: str) -> None:
        run, target = trained(name), plain(restored(name))
        assert not torch.equal(target(rows()[0]), run.outputs())
        assert torch.equal(decode(encode(run.module), target)(rows()[0]), run.outputs())

    def test_copies(self, name: str) -> None:
        run = trained(name)
        body = copy.deepcopy(run.module.body)
        assert torch.equal(body(rows()[0]), run.outputs())
        with torch.no_grad():
            for parameter in body.parameters():
                parameter.zero_()
        assert trained(name).outputs().abs().sum() > 0

    def test_hard_form_still_learns(self, name: str) -> None:
        module, technique = copy.deepcopy((trained(name).module, trained(name).technique))
        before = trained(name).outputs()
        fit(module.train(), technique, epochs=1)
        assert technique.hard
        assert not torch.equal(module.eval()(rows()[0]), before)
