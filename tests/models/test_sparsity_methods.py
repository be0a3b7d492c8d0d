"""What each method of sparsity does: gates and their controller, ranks, lots, rounds and rewinding."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kirigami.models.sparsity import (
    ContinuousSparsification,
    GradualPruning,
    MagnitudePruning,
    RandomPruning,
    Snapshot,
    iterative_magnitude,
    rewind,
    state_of,
    winning_ticket,
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


class TestMagnitude:
    def test_ranks_over_all_layers(self) -> None:
        module, technique = Foreign(), MagnitudePruning(0.3)
        technique.attach(module)
        dense = torch.cat([layer.weight.detach().flatten() for layer in (module.layers[0], module.layers[2])])
        technique.harden()
        pruned = torch.cat([layer.weight.detach().flatten() for layer in (module.layers[0], module.layers[2])])
        assert int((pruned != 0).sum()) == round(0.3 * 448)
        assert dense[pruned != 0].abs().min() >= dense[pruned == 0].abs().max()

    def test_ranks_the_weight_that_comes_in(self) -> None:
        """A link before the mask turns the order around; the mask must see it."""

        class Inverse(nn.Module):
            def forward(self, weight: Tensor) -> Tensor:
                return 1 / weight

        module = Foreign()
        original = module.layers[0].weight.detach().clone()
        parametrize.register_parametrization(module.layers[0], "weight", Inverse())
        technique = MagnitudePruning(0.3, names=["layers.0"])
        technique.attach(module)
        technique.harden()
        kept = technique.masks[0].kept
        assert original[kept].abs().max() <= original[~kept].abs().min()

    def test_dense_until_pruned(self) -> None:
        module, technique = Foreign(), MagnitudePruning(0.3)
        expected = module(rows()[0])
        technique.attach(module)
        technique.advance(0.9)
        assert torch.equal(module(rows()[0]), expected)

    def test_gradual_path_is_cubic(self) -> None:
        technique = GradualPruning(0.1, start=0.2)
        assert technique.path(0.1) == 1.0
        assert technique.path(0.6) == pytest.approx(1 - 0.9 * (1 - 0.5**3))
        assert technique.path(1.0) == pytest.approx(0.1)

    def test_gradual_density_falls_with_its_updates_only(self) -> None:
        technique = GradualPruning(0.1, start=0.0, updates=4)
        technique.attach(Foreign())
        densities = []
        for progress in (0.0, 0.1, 0.26, 0.3, 0.51, 0.6, 1.0):
            technique.advance(progress)
            densities.append(technique.report()["density"])
        steps = [1.0, 1.0, technique.path(0.26), technique.path(0.26), technique.path(0.51), technique.path(0.51), 0.1]
        assert densities == pytest.approx(steps, abs=0.002)


class TestRandom:
    def test_mask_is_there_from_the_first_step(self) -> None:
        technique = RandomPruning(0.2)
        technique.attach(Foreign())
        technique.advance(0.0)
        assert technique.hard
        assert technique.report()["density"] == pytest.approx(0.2, abs=0.002)

    def test_seed_decides(self) -> None:
        masks = []
        for seed in (0, 0, 1):
            technique = RandomPruning(0.2, seed=seed)
            technique.attach(Foreign())
            technique.harden()
            masks.append(technique.masks[0].kept)
        assert torch.equal(masks[0], masks[1])
        assert not torch.equal(masks[0], masks[2])

    def test_takes_the_densities_of_another_mask(self) -> None:
        one, other = MagnitudePruning(0.2), RandomPruning(0.2)
        one.attach(Foreign())
        one.harden()
        other = RandomPruning(one.densities())
        other.attach(Foreign())
        other.harden()
        assert other.densities() == one.densities()
        assert not torch.equal(one.masks[0].kept, other.masks[0].kept)

    def test_refuses_a_layer_without_a_density(self) -> None:
        technique = RandomPruning({"layers.0": 0.2, "layers.3": 0.2})
        technique.attach(Foreign())
        with pytest.raises(ValueError, match=r"has none for 'layers.2'\. Did you mean 'layers.3'"):
            technique.harden()


class TestTickets:
    def test_snapshot_is_of_its_share_of_the_run(self) -> None:
        module, snapshot = Foreign(), Snapshot(0.0)
        first = state_of(module)
        fit(module, snapshot, epochs=2)
        assert all(torch.equal(snapshot.state[name], value) for name, value in first.items())
        late = Snapshot(0.5)
        module = Foreign()
        fit(module, late, epochs=2)
        assert not torch.equal(late.state["layers.0.weight"], first["layers.0.weight"])
        assert not torch.equal(late.state["layers.0.weight"], module.layers[0].weight)

    def test_rewinding_changes_weights_and_no_mask(self) -> None:
        module, technique = Foreign(), MagnitudePruning(0.2)
        technique.attach(module)
        early = state_of(module)
        fit(module, technique, epochs=3)
        masks = [mask.kept.clone() for mask in technique.masks]
        rewind(module, early)
        assert all(torch.equal(mask.kept, old) for mask, old in zip(technique.masks, masks, strict=True))
        assert torch.equal(module.layers[0].weight, Foreign().layers[0].weight * masks[0])

    def test_random_restart_takes_a_fresh_network(self) -> None:
        module, technique = Foreign(), MagnitudePruning(0.2)
        fit(module, technique, epochs=3)
        fresh = Foreign(seed=9)
        rewind(module, fresh.state_dict())
        assert torch.equal(module.layers[2].weight, fresh.layers[2].weight * technique.masks[1].kept)

    def test_refuses_a_state_that_does_not_fit(self) -> None:
        module = Foreign()
        MagnitudePruning(0.2).attach(module)
        with pytest.raises(ValueError, match=r"has no 'layers\.0\.bias'"):
            rewind(module, {"layers.0.weight": torch.zeros(16, 20)})
        with pytest.raises(ValueError, match=r"'layers\.9\.weight', for which the network has no place"):
            rewind(module, {"layers.9.weight": torch.zeros(16, 20)})

    def test_iterative_magnitude_prunes_by_the_same_factor(self) -> None:
        module, densities = Foreign(), []

        def train(callbacks: list) -> None:
            fit(module, *callbacks, epochs=1)
            densities.append(callbacks[0].report()["density"])

        technique = iterative_magnitude(module, train, 0.125, rounds=3)
        assert densities == pytest.approx([1.0, 0.5, 0.25, 0.125], abs=0.002)
        assert technique.hard

    @pytest.mark.parametrize("rewind_at", [0.0, None])
    def test_iterative_magnitude_rewinds_if_wanted(self, rewind_at: float | None) -> None:
        module, starts = Foreign(), []

        def train(callbacks: list) -> None:
            starts.append(state_of(module)["layers.4.weight"])
            fit(module, *callbacks, epochs=1)

        iterative_magnitude(module, train, 0.25, rounds=2, rewind_at=rewind_at)
        assert torch.equal(starts[0], starts[2]) == (rewind_at is not None)

    def test_winning_ticket_is_its_early_weights_under_its_mask(self) -> None:
        module, technique, seen = Foreign(), ContinuousSparsification(0.1, harden_at=1.0), []

        def train(callbacks: list) -> None:
            if technique.hard and technique.network is not None:
                seen.append([layer.weight.detach().clone() for layer in (module.layers[0], module.layers[4])])
            fit(module, *callbacks, epochs=4)

        early = winning_ticket(module, train, technique, rounds=2, rewind_at=0.0)
        assert technique.report()["density"] == pytest.approx(0.1, abs=0.002)
        assert len(seen) == 1
        torch.testing.assert_close(seen[0][0], 2 * Foreign().layers[0].weight * technique.masks[0].kept)
        assert torch.equal(seen[0][1], early["layers.4.weight"])
        assert not torch.equal(module.layers[4].weight, early["layers.4.weight"])
