"""Continuous sparsification: gates, their controller, and the ranks by which they meet a density."""

import math

import pytest
import torch

from kirigami.models.sparsity import (
    ContinuousSparsification,
)
from kirigami.models.sparsity.continuous import Gate, shift
from tests.models.foreign_vectors import Foreign, fit, rows


def attached(technique: ContinuousSparsification, seed: int = 0) -> Foreign:
    module = Foreign(seed)
    technique.attach(module)
    return module


def scatter(technique: ContinuousSparsification, size: float = 0.1) -> None:
    """Spread s as training would, around s0."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for gate in technique.gates:
            gate.logits.add_(size * torch.randn(gate.logits.shape, generator=generator))


class TestGate:
    @pytest.mark.parametrize("initial", [-0.3, 0.0, 0.3])
    def test_mask_is_one_at_the_start(self, initial: float) -> None:
        weight = torch.randn(5, 4)
        torch.testing.assert_close(Gate(weight, initial)(weight), weight)

    def test_hard_mask_is_the_step_over_the_first_gate(self) -> None:
        weight, gate = torch.ones(4), Gate(torch.ones(4), 0.1)
        with torch.no_grad():
            gate.logits.copy_(torch.tensor([-0.1, 0.0, 1e-6, 2.0]))
        gate.harden()
        first = 1 / (1 + math.exp(-0.1))
        torch.testing.assert_close(gate(weight), torch.tensor([0.0, 0.0, 1 / first, 1 / first]))

    def test_soft_mask_comes_to_the_hard_one(self) -> None:
        weight, gate = torch.ones(3), Gate(torch.ones(3), 0.0)
        with torch.no_grad():
            gate.logits.copy_(torch.tensor([-0.2, 0.2, 0.5]))
        gate.beta.fill_(200.0)
        soft = gate(weight)
        gate.harden()
        torch.testing.assert_close(soft, gate(weight))

    def test_fixed_mask_ignores_what_an_optimiser_does_to_s(self) -> None:
        gate = Gate(torch.ones(3), 0.0)
        with torch.no_grad():
            gate.logits.copy_(torch.tensor([-1.0, 1.0, 1.0]))
        gate.harden()
        with torch.no_grad():
            gate.logits.fill_(-5.0)
        gate.harden()
        assert gate(torch.ones(3)).tolist() == [0.0, 2.0, 2.0]


class TestContinuous:
    def test_beta_rises_by_powers(self) -> None:
        technique = ContinuousSparsification(beta_final=100.0)
        attached(technique)
        for progress, beta in [(0.0, 1.0), (0.5, 10.0), (1.0, 100.0)]:
            technique.advance(progress)
            assert [float(gate.beta) for gate in technique.gates] == pytest.approx([beta, beta])

    def test_penalty_is_the_weighted_sum_of_the_gates(self) -> None:
        technique = ContinuousSparsification(penalty=0.01)
        attached(technique)
        technique.advance(0.5)
        beta = 200**0.5
        penalty = technique.penalty()
        penalty.backward()
        assert penalty.item() == pytest.approx(0.01 * 0.5 * 448)
        torch.testing.assert_close(technique.gates[0].logits.grad, torch.full((16, 20), 0.01 * beta / 4))

    def test_without_a_density_the_penalty_sets_what_is_kept(self) -> None:
        kept = []
        for penalty in (0.0, 1e-3, 1e-2):
            technique = ContinuousSparsification(penalty=penalty)
            fit(Foreign(), technique)
            kept.append(technique.report()["density"])
            assert technique.report()["moved"] == 0
        assert kept[0] > kept[1] > kept[2]

    @pytest.mark.parametrize("density", [0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0])
    @pytest.mark.parametrize("initial", [-0.2, 0.0, 0.2])
    def test_controller_follows_its_path(self, density: float, initial: float) -> None:
        technique = ContinuousSparsification(density, initial=initial)
        attached(technique)
        for progress in (0.0, 0.3, 0.6, 1.0):
            scatter(technique)
            technique.advance(progress)
            assert technique.report()["soft_density"] == pytest.approx(technique.path(progress), abs=1e-3)
        assert technique.path(0.0) == pytest.approx(1 / (1 + math.exp(-initial)))
        assert technique.path(0.8) == pytest.approx(density)

    def test_controller_keeps_the_order_of_s(self) -> None:
        technique = ContinuousSparsification(0.1)
        attached(technique)
        scatter(technique)
        before = technique.gates[0].logits.detach().flatten().argsort()
        technique.advance(0.5)
        assert torch.equal(technique.gates[0].logits.detach().flatten().argsort(), before)

    def test_fixing_keeps_exactly_the_largest_s_and_reports_what_moved(self) -> None:
        technique = ContinuousSparsification(0.25)
        attached(technique)
        scatter(technique)
        logits = torch.cat([gate.logits.detach().flatten() for gate in technique.gates])
        by_sign = int((logits > 0).sum())
        technique.harden()
        kept = torch.cat([gate.kept.flatten() for gate in technique.gates])
        assert int(kept.sum()) == 112
        assert logits[kept].min() > logits[~kept].max()
        assert technique.report()["moved"] == pytest.approx((by_sign - 112) / 448)

    def test_trained_density_is_nearly_that_of_the_signs(self) -> None:
        technique = ContinuousSparsification(0.1)
        fit(Foreign(), technique, epochs=20)
        assert technique.report()["moved"] < 0.05

    @pytest.mark.parametrize("density", [0.05, 0.2, 0.5])
    def test_gates_decide_at_every_density(self, density: float) -> None:
        """What the last choice by rank still moves is less than a point, and less than with the published beta."""
        moved = []
        for sharpness in (0.0, 12.0):
            technique = ContinuousSparsification(density, sharpness=sharpness)
            fit(Foreign(), technique, epochs=20)
            moved.append(technique.report()["moved"])
        assert moved[1] < 0.01
        assert moved[1] <= moved[0]

    def test_beta_rises_where_s_hardly_spreads(self) -> None:
        technique = ContinuousSparsification(0.2, beta_final=100.0, sharpness=10.0)
        attached(technique)
        scatter(technique, size=0.01)
        spread = float(torch.cat([gate.logits.detach().flatten() for gate in technique.gates]).std())
        for progress, beta in [(0.0, 1.0), (0.5, 10 / 16 / spread), (1.0, 10 / spread)]:
            technique.advance(progress)
            assert float(technique.gates[0].beta) == pytest.approx(beta, rel=1e-3)
        scatter(technique, size=1.0)
        technique.advance(1.0)
        assert float(technique.gates[0].beta) == pytest.approx(100.0)  # the published one

    def test_equal_s_leave_beta_finite(self) -> None:
        technique = ContinuousSparsification(0.2)
        module = attached(technique)
        for progress in (0.0, 0.5):
            technique.advance(progress)
        assert module(rows()[0]).isfinite().all()

    def test_s_has_no_decay_and_a_rate_of_its_own(self) -> None:
        technique = ContinuousSparsification(0.1, mask_lr_scale=3.0)
        trainer = fit(Foreign(), technique, epochs=1)
        own = {id(gate.logits) for gate in technique.gates}
        groups = [g for g in trainer.optimizers[0].param_groups if own & {id(p) for p in g["params"]}]
        assert [(group["lr"], group["weight_decay"], len(group["params"])) for group in groups] == [
            (pytest.approx(0.3), 0.0, 2)
        ]

    def test_undecided_counts_the_gates_that_can_still_move(self) -> None:
        technique = ContinuousSparsification()
        attached(technique)
        with torch.no_grad():
            technique.gates[0].logits.fill_(0.3)
            technique.gates[1].logits.fill_(0.01)
        technique.advance(1.0)
        assert technique.report()["undecided"] == pytest.approx(128 / 448)

    def test_finds_the_inputs_that_matter(self) -> None:
        """Two of twenty inputs decide the class; by chance, a tenth of the mask would be theirs."""
        technique = ContinuousSparsification(0.1, names=["layers.0"])
        fit(Foreign(), technique, epochs=40)
        columns = technique.masks[0].kept.float().sum(0)
        assert columns[[3, 7]].sum() / columns.sum() > 0.3

    def test_another_round_prunes_first_and_then_resets_beta(self) -> None:
        technique = ContinuousSparsification(0.5)
        attached(technique)
        scatter(technique)
        technique.advance(1.0)
        technique.harden()
        before = torch.cat([(200 * gate.logits.detach()).flatten() for gate in technique.gates])
        technique.restart(0.25)
        after = torch.cat([gate.logits.detach().flatten() for gate in technique.gates])
        assert torch.allclose(after, before.clamp(max=0.0))
        assert not technique.hard
        assert float(technique.gates[0].beta) == 1.0
        assert technique.path(0.0) == pytest.approx(technique.report()["soft_density"])

    def test_shift_solves_for_the_mean(self) -> None:
        logits = torch.linspace(-3, 5, 1000)
        for beta, mean in [(1.0, 0.5), (200.0, 0.02), (14.0, 0.97)]:
            offset = shift(logits, beta, mean)
            assert float(torch.sigmoid(beta * (logits - offset)).mean()) == pytest.approx(mean, abs=1e-4)
