"""Soft sharing while a network trains: what decays, what learns, and what pressure makes of it."""

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from kirigami.models import Learner, build_network, cost
from kirigami.models.optimizers.build import OPTIMIZERS
from kirigami.models.sharing import SoftSharing
from kirigami.models.sharing.bank import bank_of, row_of, rows_of
from tests.models.sharing_networks import Foreign, fit, foreign


class TestTraining:
    def test_decay_pulls_on_templates_and_never_on_coefficients(self) -> None:
        network, technique = foreign(), SoftSharing(2)
        trainer = fit(network, technique)
        decay = {id(p): group["weight_decay"] for group in trainer.optimizers[0].param_groups for p in group["params"]}
        assert len(decay) == len(list(network.parameters()))
        assert {decay[id(row_of(layer))] for layer in technique.layers.values()} == {0.0}
        assert {decay[id(bank_of(layer).templates)] for layer in technique.layers.values()} == {0.01}

    def test_coefficients_without_a_gradient_stay(self) -> None:
        """With no loss at all, only what decays may move."""

        class Idle(Foreign):
            def training_step(self, batch: list[Tensor], index: int) -> Tensor:
                return 0 * super().training_step(batch, index)

        torch.manual_seed(0)
        network, technique = Idle(), SoftSharing(2)
        technique.attach(network)
        rows = {name: row_of(layer).detach().clone() for name, layer in technique.layers.items()}
        bank = bank_of(network.chain[0].up).templates.detach().clone()
        fit(network, technique)
        assert all(torch.equal(rows[name], row_of(layer)) for name, layer in technique.layers.items())
        assert bank_of(network.chain[0].up).templates.norm() < 0.99 * bank.norm()

    def test_both_learn(self) -> None:
        network, technique = foreign(), SoftSharing(2)
        technique.attach(network)
        before = {name: value.detach().clone() for name, value in network.named_parameters()}
        fit(network, technique)
        assert [name for name, value in network.named_parameters() if torch.equal(value, before[name])] == []

    def test_pressure_makes_layers_alike_and_folds_them_while_training(self) -> None:
        network = foreign(blocks=6)
        technique = SoftSharing(3, pressure=3.0, distinct=1, fold=True, harden_at=0.7)
        trainer = fit(network, technique, epochs=20)
        assert technique.folding is not None
        assert [len(clusters) for clusters in technique.folding.clusters.values()] == [1, 1]
        assert technique.folding.after == cost.parameters(network) < technique.folding.before
        found = technique.similarities()
        assert [len(one.names) for one in found.values()] == [6, 6]  # of the layers that were folded
        assert all(0 < float(one.pairs.min()) < 1 for one in found.values())
        held = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
        assert held == {id(p) for p in network.parameters()}
        decay = {id(p): group["weight_decay"] for group in trainer.optimizers[0].param_groups for p in group["params"]}
        assert {decay[id(row_of(layer))] for layer in technique.layers.values()} == {0.0}
        assert {decay[id(bank_of(layer).templates)] for layer in technique.layers.values()} == {0.01}
        scales = rows_of(technique.layers).flatten()
        assert len(set(scales.tolist())) == len(scales)  # every layer has a scale of its own

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_every_optimizer_goes_on_after_a_fold(self, name: str) -> None:
        torch.manual_seed(0)
        network = build_network({"name": "mlp", "width": 8, "depth": 6, "norm": "batch"}, in_shape=(6,), out_features=2)
        config = {"name": name, "lr": 0.01, "weight_decay": 0.01}
        module = Learner(network, F.cross_entropy, lambda outputs, targets: {}, config, {"name": "onecycle"})
        technique = SoftSharing(3, fold=True, tau=1e-9, harden_at=0.5)
        technique.attach(network)
        seen: dict[str, Tensor] = {}

        class Watch(Callback):
            def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
                if technique.folding and not seen:
                    seen.update({name: value.detach().clone() for name, value in network.named_parameters()})

        trainer = fit(module, technique, Watch(), epochs=4)
        assert technique.report()["weights"] == 1
        assert {name for name, value in network.named_parameters() if torch.equal(value, seen[name])} == set()
        held = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
        assert held == {id(p) for p in network.parameters()}
        assert all(id(p) in held for p in trainer.optimizers[0].state)

    def test_without_pressure_nothing_is_added(self) -> None:
        technique = SoftSharing(3, pressure=0.0)
        technique.attach(foreign())
        technique.advance(1.0)
        assert technique.penalty() is None
        pressed = SoftSharing(3, pressure=2.0, distinct=1)
        pressed.attach(foreign())
        assert pressed.penalty() is None  # at the start of the run
        pressed.advance(0.5)
        gentle = pressed.penalty().item()
        pressed.advance(1.0)
        assert pressed.penalty().item() == pytest.approx(2 * gentle)

    @pytest.mark.parametrize(
        ("pattern", "clusters"),
        [
            ("cycle", [["chain.0.up", "chain.2.up"], ["chain.1.up", "chain.3.up"]]),
            ("sequence", [["chain.0.up", "chain.1.up"], ["chain.2.up", "chain.3.up"]]),
            ([["chain.0.up", "chain.3.up"]], [["chain.0.up", "chain.3.up"]]),
        ],
    )
    def test_patterns(self, pattern: str, clusters: list[list[str]]) -> None:
        technique = SoftSharing(3, pattern=pattern, distinct=2)
        technique.attach(foreign())
        assert technique.clusters[:2] == clusters

    def test_found_pattern_waits_and_follows_the_coefficients(self) -> None:
        technique = SoftSharing(3, groups=["chain.*.up"], pressure=1.0, pattern="found", distinct=2)
        technique.attach(foreign())
        technique.advance(0.3)
        assert technique.penalty() is None
        with torch.no_grad():
            for name, row in {0: [1, 0, 0], 1: [0, 1, 0], 2: [0, 1.1, 0.1], 3: [-1, 0.1, 0]}.items():
                row_of(technique.layers[f"chain.{name}.up"]).copy_(torch.tensor(row))
        technique.advance(0.4)
        assert technique.clusters == [["chain.0.up", "chain.3.up"], ["chain.1.up", "chain.2.up"]]
        assert 0 < technique.penalty().item() < 0.02 * 0.4
