"""Each method of quantisation alone: uniform rounding, SMOL, and the price that brings it to its target."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from kirigami.models.bits import SMOL, Uniform
from kirigami.models.bits.control import Price, bits_of, rounded_bits, s_of, shift_to
from tests.models.foreign_images import Foreign, batches, fit, inputs, masked


class TestUniform:
    def test_all_weights_have_the_bits(self) -> None:
        technique = Uniform(3)
        fit(technique, epochs=2)
        report = technique.report()
        assert report["bits"] == 3
        assert report["map_bits"] == 0
        assert report["level_bits"] <= 3
        assert 2 < report["stored_bits"] < 3.1

    def test_trains_in_full_precision_first(self) -> None:
        technique, module = Uniform(2), Foreign()
        before = module(inputs())
        technique.attach(module)
        assert torch.equal(module(inputs()), before)
        with torch.no_grad():
            module.body[4].parametrizations.weight.original.mul_(3)
        old = technique.links["body.4"].scale.clone()
        technique.harden()
        assert technique.links["body.4"].scale == pytest.approx(3 * old)
        assert module.body[4].weight.unique().numel() == 4

    def test_scale_suits_gaussian_weights(self) -> None:
        """No scale of a grid does better than the table's, within a percent of the error."""
        weight = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
        for bits in range(1, 9):
            p = torch.tensor(bits)
            technique = Uniform(bits)
            link = technique.link("", nn.Linear(2, 2))
            errors = {}
            for factor in (0.8, 0.9, 1.0, 1.1, 1.25):
                link.scale = factor * technique.scale(weight)
                errors[factor] = float((link.coded(weight, p) - weight).square().mean())
            assert errors[1.0] <= 1.01 * min(errors.values())


class TestSmol:
    @pytest.mark.parametrize("target", [1.0, 1.15, 2.0, 5.0])
    def test_hits_its_target(self, target: float) -> None:
        technique = SMOL(target)
        fit(technique)
        assert technique.report()["bits"] == pytest.approx(target, abs=0.01)

    def test_price_alone_comes_near_its_target(self) -> None:
        technique = SMOL(2.0, harden_at=1.0)
        fit(technique, epochs=30)
        assert technique.mean_bits().item() == pytest.approx(2.0, abs=0.3)

    def test_target_counts_unpruned_weights(self) -> None:
        technique = SMOL(2.0)
        fit(technique, masked(Foreign()))
        assert technique.report()["bits"] == pytest.approx(2.0, abs=0.01)

    def test_higher_price_fewer_bits(self) -> None:
        found = []
        for penalty in (0.0, 0.1, 10.0):
            technique = SMOL(penalty=penalty)
            fit(technique)
            found.append(technique.report()["bits"])
        assert found[0] > found[1] > found[2]

    @pytest.mark.parametrize("optimizer", ["sgd", "adam"])
    def test_no_optimiser_holds_s(self, optimizer: str) -> None:
        technique, module = SMOL(2.0), Foreign(optimizer)
        trainer = Trainer(
            max_epochs=1, accelerator="cpu", callbacks=[technique], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, batches())
        held = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
        assert not held & {id(link.s) for link in technique.links.values()}
        assert held == {id(p) for name, p in module.named_parameters() if not name.endswith(".s")}

    def test_noise_is_fresh_uniform_and_off_in_evaluation(self) -> None:
        technique, module = SMOL(initial_bits=2), Foreign()
        technique.attach(module)
        layer, link = module.body[4], technique.links["body.4"]
        seen = []
        for _ in range(3):
            technique.advance(0.0)
            seen.append(layer.weight.detach())
        assert not torch.equal(seen[0], seen[1])
        quiet = layer.eval().weight.detach()
        noise = (seen[2] - quiet) / link.scale
        assert noise.abs().max() <= 0.5 + 1e-5  # sigmoid(s) = 2^(1-2)
        assert noise.abs().max() > 0.48
        assert noise.var() == pytest.approx(0.25 / 3, rel=0.1)

    def test_s_starts_at_its_bits(self) -> None:
        assert s_of(8) == pytest.approx(-4.844, abs=1e-3)
        assert bits_of(torch.tensor(s_of(3.7))).item() == pytest.approx(3.7)

    def test_penalty_is_mean_bits_less_one(self) -> None:
        technique = SMOL(penalty=0.5)
        technique.attach(Foreign())
        assert technique.penalty().item() == pytest.approx(0.5 * 7)

    def test_gradients_of_a_scaled_loss_are_scaled_back(self) -> None:
        technique = SMOL(penalty=0.0)
        technique.attach(Foreign())
        link = technique.links["body.4"]
        link.s.grad = torch.ones_like(link.s)
        scaler = SimpleNamespace(get_scale=lambda: 4.0)
        trainer = SimpleNamespace(world_size=1, precision_plugin=SimpleNamespace(scaler=scaler))
        technique.on_before_optimizer_step(trainer, None, None)
        assert torch.equal(link.s.grad, torch.full_like(link.s, 0.25))

    def test_overflown_gradients_leave_s_finite(self) -> None:
        technique = SMOL()
        technique.attach(Foreign())
        link = technique.links["body.4"]
        technique.advance(0.0)
        link.s.grad = torch.full_like(link.s, float("inf"))
        technique.advance(0.1)
        assert link.s.isfinite().all()

    def test_state_of_the_run_goes_round(self) -> None:
        one, other = SMOL(2.0), SMOL(2.0)
        for technique in (one, other):
            technique.attach(Foreign())
        for progress in (0.0, 0.1):
            one.advance(progress)
            for index, link in enumerate(one.links.values()):
                link.s.grad = torch.full_like(link.s, 0.1 * (index + 1))
        other.network.load_state_dict(one.network.state_dict())
        other.load_state_dict(one.state_dict())
        one.advance(0.2)
        other.advance(0.2)
        for mine, its in zip(one.links.values(), other.links.values(), strict=True):
            assert torch.equal(mine.s, its.s)
            assert torch.equal(mine.noise, its.noise)
        assert one.price.now == other.price.now != one.price.first


class TestControl:
    def test_price_rises_above_the_path_and_falls_below(self) -> None:
        price = Price(0.1, 8, 2.0)
        price.follow(7.9, 0.5, 0.01)
        assert price.now > 0.1
        price.follow(1.2, 0.5, 0.01)
        assert price.now < 0.1

    def test_without_target_it_stays(self) -> None:
        price = Price(0.1, 8, None)
        price.follow(7.9, 0.5, 0.01)
        assert price.now == 0.1

    def test_shift_weighs_entries_by_their_weights(self) -> None:
        entries = [torch.linspace(-3, 3, 50), torch.linspace(-2, 5, 40)]
        counts = [torch.ones(50), torch.full((40,), 5.0)]
        shift = shift_to(2.5, entries, counts, 8)
        total = sum((rounded_bits(s + shift, 8) * n).sum() for s, n in zip(entries, counts, strict=True))
        assert total / 250 == pytest.approx(2.5, abs=0.025)
