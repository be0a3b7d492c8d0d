"""The loop that grows and shrinks a network to its budget, in a plain Trainer, on a module that knows nothing of it."""

import json
from itertools import cycle, pairwise, product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kirigami.models import cost, growth
from kirigami.models.growth import CURRENCIES, Budget, Ground, GrowAndShrink
from kirigami.models.growth.budget import one_budget
from kirigami.models.technique import network_of

ROWS = 96
INPUTS = (1, 6, 6)


class Foreign(LightningModule):
    """Somebody's own module, with or without a network inside, and no idea of techniques."""

    def __init__(self, seed: int = 0, inside: bool = False, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        torch.manual_seed(seed)
        layers = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            activation(),
            nn.Conv2d(12, 20, 3, padding=1),
            activation(),
            nn.Flatten(),
            nn.Linear(20 * 36, 24),
            activation(),
            nn.Linear(24, 3),
        )
        if inside:
            self.network = layers
        else:
            self.layers = layers
        self.losses: list[float] = []

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs) if hasattr(self, "network") else self.layers(inputs)

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        if torch.is_grad_enabled():
            self.losses.append(float(loss.detach()))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def rows() -> tuple[Tensor, Tensor]:
    inputs = torch.randn(ROWS, *INPUTS, generator=torch.Generator().manual_seed(5))
    return inputs, (inputs[:, 0, 1, 1] > 0).long() + (inputs[:, 0, 3, 3] > 0).long()


def fit(module: LightningModule, *techniques: GrowAndShrink, epochs: int = 7, **trainer: Any) -> Trainer:
    made = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(techniques),
        **trainer,
    )
    made.fit(module, DataLoader(TensorDataset(*rows()), batch_size=24))
    return made


def make(**changes: Any) -> GrowAndShrink:
    return GrowAndShrink(**{"params": 22000, "batches": 1, **changes})


def ground(network: nn.Module, *optimizers: torch.optim.Optimizer) -> Ground:
    loss = lambda batch: F.cross_entropy(network(batch[0]), batch[1])  # noqa: E731
    return Ground(network, [rows()], loss, torch.Generator().manual_seed(0), optimizers)


START = {
    "params": cost.parameters(Foreign()),
    "macs": cost.macs(Foreign(), rows()[0]),
    "memory": cost.memory_bytes(Foreign(), rows()[0][:24]),
}


class TestBudget:
    @pytest.mark.parametrize(("currency", "share"), [*product(START, [0.5, 2.5]), ("params", 0.9)])
    def test_is_met(self, currency: str, share: float) -> None:
        module, amount = Foreign(), int(share * START[currency])
        technique = GrowAndShrink(**{currency: amount}, batches=1)
        fit(module, technique)
        measured = CURRENCIES[currency](network_of(module), rows()[0][:24])
        assert technique.hard
        assert abs(measured / amount - 1) < 0.05
        assert technique.report()[currency] == measured
        assert technique.report()["off"] == pytest.approx(measured / amount - 1)
        assert (technique.grown if share > 1 else technique.removed) > 0

    def test_in_milliseconds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With a clock that counts multiplications, since a test cannot rely on the machine being quiet."""

        def clock(network: nn.Module, inputs: Tensor, repeats: int = 50, *_: Any) -> float:
            noise = 1 + 0.01 * float(torch.randn(())) * (50 / repeats) ** 0.5
            return noise * (0.1 + 1e-6 * len(inputs) * cost.macs(network, inputs))

        monkeypatch.setattr(cost, "latency_ms", clock)
        module = Foreign()
        technique = GrowAndShrink(latency_ms=0.1 + 1e-6 * 7 * 2 * START["macs"], rows=7, batches=1)
        fit(module, technique)
        assert clock(module, rows()[0][:7]) == pytest.approx(technique.budget.amount, rel=0.05)
        assert technique.report()["latency_ms"] > 0
        assert technique.report()["latency_sd"] >= 0

    @pytest.mark.parametrize("side", [0.96, 1.0, 1.04])
    def test_nothing_happens_inside_the_band(self, side: float) -> None:
        module = Foreign()
        technique = make(params=round(START["params"] / side), hysteresis=0.11)
        fit(module, technique)
        report = technique.report()
        assert (report["grown"], report["removed"]) == (0, 0)
        assert report["params"] == START["params"]
        assert len(set(technique.history)) == 1

    def test_does_not_swing(self) -> None:
        """Once inside, it stays until the shapes are fixed; and no direction is taken up again and again."""
        technique = make(params=3 * START["params"], share=0.3, every=1)
        fit(Foreign(), technique)
        sides = [technique.budget.side(measured) for measured in technique.history]
        first = sides.index(0)
        assert not any(sides[first:])
        assert sum(one != other for one, other in pairwise(sides)) <= 2

    def test_a_budget_between_two_units_is_kept_below(self) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(36, 4), nn.ReLU(), nn.Linear(4, 3))
        technique = GrowAndShrink(params=4 * 40 + 3 + 15, hysteresis=0.01, least=1)
        technique.attach(network)
        task = Ground(
            network,
            [(rows()[0].flatten(1), rows()[1])],
            lambda batch: F.cross_entropy(network(batch[0]), batch[1]),
            torch.Generator(),
        )
        technique.settle(task)
        assert technique.hard
        assert network[0].out_features == 4
        assert cost.parameters(network) <= technique.budget.amount

    def test_an_impossible_budget_ends(self) -> None:
        module, technique = Foreign(), make(params=10, least=3)
        fit(module, technique, epochs=12)
        assert technique.hard
        assert module.layers[0].out_channels == module.layers[3].out_channels == module.layers[6].out_features == 3
        assert technique.report()["off"] > 1


class TestTraining:
    @pytest.mark.parametrize(("method", "inside"), zip(growth.METHODS, cycle([True, False])))
    def test_every_method_on_a_foreign_module(self, method: str, inside: bool) -> None:
        module = Foreign(inside=inside)
        technique = growth.build({"method": method, "params": 30000, "batches": 1})
        assert technique is not None
        trainer = fit(module, technique)
        assert technique.report()["params"] == pytest.approx(30000, rel=0.05)
        held = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
        assert held == {id(parameter) for parameter in module.parameters()}
        assert sum(module.losses[-4:]) < sum(module.losses[:4])

    def test_shapes_are_fixed_at_their_share_of_the_run(self) -> None:
        seen: list[int] = []

        class Watcher(Foreign):
            def on_train_batch_end(self, *_: Any) -> None:
                seen.append(cost.parameters(self))

        fit(Watcher(), make(params=12000, harden_at=0.5), epochs=8)
        assert len(seen) == 32
        assert seen[3] == START["params"] > seen[4]
        assert len(set(seen[16:])) == 1

    def test_visits_by_steps(self) -> None:
        technique = make(every=3, harden_at=1.0)
        fit(Foreign(), technique, epochs=4)
        assert len(technique.history) >= 15 // 3
        assert technique.hard

    def test_momentum_stays_with_its_unit(self) -> None:
        """Those that remain after a removal have the state they had, and new ones 0."""
        network = Foreign().layers
        optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
        task = ground(network, optimizer)
        task.loss(task.batches[0]).backward()
        optimizer.step()
        weights = network[3].weight.detach().clone()
        state = optimizer.state[network[3].weight]["momentum_buffer"].clone()
        technique = make(params=START["params"] // 2, names=["3"], share=0.9)
        technique.visit(task)
        after = network[3].weight.detach()
        assert len(after) < 20
        for row, buffer in zip(after, optimizer.state[network[3].weight]["momentum_buffer"], strict=True):
            (place,) = [i for i, old in enumerate(weights) if torch.equal(old, row)]
            assert torch.equal(buffer, state[place])

    def test_names_limit_what_changes(self) -> None:
        module = Foreign()
        names = ["network.3"]
        with pytest.raises(ValueError, match=r"'network\.3'"):
            fit(module, make(names=names))
        fit(module, make(names=["layers.3"], params=12000))
        assert module.layers[3].out_channels < 20
        assert (module.layers[0].out_channels, module.layers[6].out_features) == (12, 24)


class TestRecipe:
    @pytest.mark.parametrize(("inside", "layers"), [(True, 0), (False, 2)])
    def test_weights_load_into_a_fresh_network(self, inside: bool, layers: int, tmp_path: Any) -> None:
        module, technique = Foreign(inside=inside), make(params=32000, layers=layers)
        fit(module, technique)
        assert len(technique.inserted) == technique.report()["inserted"] == layers
        network = network_of(module).eval()
        save_model(network, str(tmp_path / "weights"))
        fresh, restored = network_of(Foreign(seed=1, inside=inside)), make()
        restored.restore(fresh, json.loads(json.dumps(technique.recipe())))
        load_model(fresh, str(tmp_path / "weights"))
        assert restored.hard
        assert torch.equal(fresh.eval()(rows()[0]), network(rows()[0]))
        assert restored.recipe() == technique.recipe()

    def test_restored_shapes_stay(self) -> None:
        module, technique = Foreign(), make(params=12000)
        fit(module, technique)
        other, restored = Foreign(seed=1), make(params=40000)
        restored.restore(network_of(other), technique.recipe())
        fit(other, restored, epochs=2)
        assert cost.parameters(other) == cost.parameters(module)

    def test_inserted_layers_learn(self) -> None:
        module, technique = Foreign(), make(params=32000, layers=1, harden_at=0.5)
        fit(module, technique)
        (layer,) = technique.inserted
        weight = network_of(module).get_submodule(layer["behind"])[1].weight
        identity = (
            nn.init.eye_(torch.empty_like(weight)) if weight.dim() == 2 else nn.init.dirac_(torch.empty_like(weight))
        )
        assert not torch.equal(weight, identity)


class TestErrors:
    @pytest.mark.parametrize("given", [{}, {"params": 10, "macs": 10}, {"latency_ms": 1.0, "memory": 5}])
    def test_exactly_one_budget(self, given: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="exactly one budget of"):
            GrowAndShrink(**given)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("params", 0),
            ("params", True),
            ("init", "zeros"),
            ("criterion", "luck"),
            ("hysteresis", 1.0),
            ("share", 0.0),
            ("every", 0),
            ("layers", -1),
            ("rows", 0),
            ("batches", 0),
            ("least", 0),
            ("scale", -1.0),
            ("harden_at", 0.0),
        ],
    )
    def test_refuses_values_out_of_range(self, name: str, value: Any) -> None:
        with pytest.raises(ValueError, match=f"{name} must be"):
            make(**{name: value})

    def test_refuses_a_network_without_units(self) -> None:
        class Linear(Foreign):
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))

        with pytest.raises(ValueError, match="no units that can be added or removed"):
            fit(Linear(), make())

    def test_build(self) -> None:
        assert growth.build({"method": "none"}) is None
        technique = growth.build({"method": "gradmax", "macs": 1000, "seed": 3})
        assert technique is not None
        assert (technique.init, technique.budget) == ("gradmax", Budget("macs", 1000.0, 0.05))
        with pytest.raises(ValueError, match=r"method is not set"):
            growth.build({})
        with pytest.raises(ValueError, match="Did you mean 'gradmax'"):
            growth.build({"method": "gradmaks"})
        with pytest.raises(ValueError, match="hysteresys"):
            growth.build({"method": "split", "params": 5, "hysteresys": 0.1})


def test_sides_of_a_budget() -> None:
    budget = one_budget(0.1, params=100, macs=None)
    assert [budget.side(cost) for cost in (89, 91, 100, 109, 111)] == [1, 0, 0, 0, -1]
    assert [budget.side(cost, 0.5) for cost in (94, 96, 104, 106)] == [1, 0, 0, -1]
