"""What the methods of sparsity do that choose by size or by lot: magnitudes, lots, rounds and rewinding."""

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
from tests.models.foreign_vectors import Foreign, fit, rows


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
