"""Folding: similarity against its null, exact folds, loops, and what may be claimed."""

import copy
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_model, save_model
from scipy import stats
from torch import Tensor, nn
from torch.func import functional_call

from kirigami.models import build_network, cost
from kirigami.models.sharing import Similarity, SoftSharing, fold, loops, lsm, null, shuffled, similarity
from kirigami.models.sharing.bank import bank_of, banks, row_of


class Turn(nn.Module):
    """A residual block of somebody else's: the scale of `back` matters, since nothing normalises it."""

    def __init__(self) -> None:
        super().__init__()
        self.forth = nn.Conv2d(4, 4, 3, padding=1)
        self.back = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + 0.3 * self.back(torch.relu(self.forth(inputs)))


def chain(blocks: int = 6, templates: int = 4, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Sequential(*(Turn() for _ in range(blocks))), nn.Conv2d(4, 1, 1))
    SoftSharing(templates, seed=seed).attach(network)
    return network


def align(network: nn.Module, clusters: list[list[str]], scales: tuple[float, ...] = (1.0, -0.7, 1.6)) -> None:
    """Put the coefficients of each cluster on the line of its first layer, with scales of both signs."""
    with torch.no_grad():
        for cluster in clusters:
            first = row_of(network.get_submodule(cluster[0]))
            for place, name in enumerate(cluster[1:]):
                row_of(network.get_submodule(name)).copy_(scales[place % len(scales)] * first)


def by_place(blocks: int, period: int = 1) -> list[list[str]]:
    """Return clusters that make blocks i and i + period alike."""
    return [[f"1.{i}.{name}" for i in range(p, blocks, period)] for p in range(period) for name in ("forth", "back")]


INPUTS = torch.randn(8, 2, 6, 6, generator=torch.Generator().manual_seed(1))


class TestSimilarity:
    def test_definition(self) -> None:
        rows = torch.tensor([[1.0, 0.0], [-2.0, 0.0], [3.0, 3.0]])
        expected = torch.tensor([[1, 1, 0.5**0.5], [1, 1, 0.5**0.5], [0.5**0.5, 0.5**0.5, 1]])
        torch.testing.assert_close(lsm(rows), expected)

    @pytest.mark.parametrize(("templates", "share"), [(1, 1), (2, 0.202), (3, 0.05), (4, 0.0132), (8, 8.8e-5)])
    def test_independent_rows_look_alike_too(self, templates: int, share: float) -> None:
        """The share of pairs above .95, from the surface of a cap of the sphere."""
        assert null(templates).above == pytest.approx(share, rel=0.1)

    @pytest.mark.parametrize("templates", [2, 3, 4, 8])
    def test_band_is_where_a_twentieth_of_independent_pairs_begins(self, templates: int) -> None:
        rows = torch.randn(4000, 2, templates, generator=torch.Generator().manual_seed(2))
        pairs = lsm(rows.double())[:, 0, 1]
        assert 0.04 < (pairs > null(templates).band).double().mean() < 0.06

    @pytest.mark.parametrize(("layers", "templates"), [(2, 2), (4, 4), (12, 4), (3, 8)])
    def test_p_is_uniform_for_independent_rows(self, layers: int, templates: int) -> None:
        draws = lsm(torch.randn(300, layers, templates, generator=torch.Generator().manual_seed(3)).double())
        p = [Similarity(tuple(map(str, range(layers))), matrix, templates).p for matrix in draws]
        assert stats.kstest(p, "uniform").pvalue > 0.01

    @pytest.mark.parametrize(("blocks", "templates"), [(6, 4), (3, 8), (2, 4)])
    def test_p_is_small_for_tied_rows_and_not_at_the_start(self, blocks: int, templates: int) -> None:
        """Also with as many templates as layers, whose rows are orthogonal at the start."""
        network = chain(blocks, templates)
        start = similarity(network)["1.0.forth"]
        assert start.p > 0.05
        assert start.beyond < 0.1
        align(network, by_place(blocks))
        tied = similarity(network)["1.0.forth"]
        assert tied.p < 0.05 < start.null.band
        assert start.null.band == pytest.approx(null(min(2 * blocks, templates)).band)

    def test_one_template_tells_nothing(self) -> None:
        alike = similarity(chain(templates=1))["1.0.forth"]
        assert (alike.p, alike.null.band, alike.beyond) == (1.0, 1.0, 0.0)

    def test_names_follow_the_matrix(self) -> None:
        network = chain()
        align(network, by_place(6))
        found = similarity(network)["1.0.forth"]
        assert found.names[:3] == ("1.0.forth", "1.0.back", "1.1.forth")
        torch.testing.assert_close(found.matrix[0, 2::2], torch.ones(5))
        assert found.matrix[0, 1] < 0.999
        assert found.above >= 30 / 66 > 10 * found.null.above


class TestFold:
    def test_collinear_layers_fold_exactly(self) -> None:
        network = chain()
        align(network, by_place(6))
        before = network(INPUTS)
        done = fold(network, inputs=INPUTS)
        assert (network(INPUTS) - before).abs().max() < 1e-5
        assert done.difference is not None
        assert done.difference < 1e-5
        assert done.pattern == by_place(6)

    def test_every_weight_is_held_once_and_scales_are_kept(self) -> None:
        network = chain()
        align(network, by_place(6))
        done = fold(network)
        templates = {id(bank_of(layer).templates) for layers in banks(network).values() for layer in layers.values()}
        assert len(templates) == 2
        assert done.before - done.after == 2 * 144 + 12 * (4 - 1)
        assert done.after == cost.parameters(network)
        scales = [row_of(network[1][i].back).item() for i in range(6)]
        assert [scale / scales[0] for scale in scales[1:]] == pytest.approx([1.0, -0.7, 1.6, 1.0, -0.7], abs=1e-5)

    def test_learns_on(self) -> None:
        network = chain()
        align(network, by_place(6))
        fold(network)
        network(INPUTS).square().mean().backward()
        assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []

    def test_leaves_alone_what_would_save_nothing(self) -> None:
        network = chain(templates=2)
        state = copy.deepcopy(network.state_dict())
        align(network, [["1.0.forth", "1.1.forth"]])
        before = network(INPUTS)
        done = fold(network, tau=1.0)
        assert done.kept == ("1.0.forth",)
        assert (done.clusters, done.before) == ({}, done.after)
        assert torch.equal(network(INPUTS), before)
        assert network.state_dict().keys() == state.keys()

    def test_random_coefficients_do_not_fold(self) -> None:
        assert fold(chain()).pattern == []

    def test_clusters_are_complete(self) -> None:
        """A chain of neighbours at small angles is no cluster: its ends are not alike."""
        network = chain(blocks=3, templates=6)
        angles = torch.linspace(0, 1.2, 6)
        rows = torch.stack([angles.cos(), angles.sin(), *torch.zeros(4, 6)], dim=1)
        with torch.no_grad():
            for layer, row in zip(banks(network)["1.0.forth"].values(), rows, strict=True):
                row_of(layer).copy_(row)
        matrix = similarity(network)["1.0.forth"]
        clusters = fold(network, tau=0.95).pattern
        assert 1 < len(clusters) < 6
        for cluster in clusters:
            places = [matrix.names.index(name) for name in cluster]
            assert matrix.matrix[places][:, places].min() >= 0.95

    def test_a_fold_that_is_not_exact_changes_the_outputs(self) -> None:
        done = fold(chain(), pattern=by_place(6), inputs=INPUTS)
        assert done.difference is not None
        assert done.difference > 1e-2

    def test_weight_is_the_best_one_in_squares(self) -> None:
        """The folded coefficients are the nearest ones of rank 1."""
        network = chain(blocks=3)
        rows = torch.stack([row_of(network[1][i].forth).detach().clone() for i in range(3)])
        templates = bank_of(network[1][0].forth).templates.detach().clone()
        fold(network, pattern=by_place(3))
        values = torch.linalg.svdvals(rows)
        left = torch.stack([network[1][i].forth.weight.detach() for i in range(3)]).flatten(1)
        mixed = torch.linalg.lstsq(templates.flatten(1).T, left.T).solution.T
        assert float((mixed - rows).square().sum()) == pytest.approx(float(values[1:].square().sum()), rel=1e-3)

    def test_state_goes_round_after_the_same_fold(self, tmp_path: Path) -> None:
        one, other = chain(seed=0), chain(seed=1)
        align(one, by_place(6))
        fold(other, pattern=fold(one).pattern)
        other.load_state_dict(one.state_dict())
        assert torch.equal(other(INPUTS), one(INPUTS))
        third = chain(seed=2)
        fold(third, pattern=by_place(6))
        save_model(one, str(tmp_path / "folded.safetensors"))
        load_model(third, tmp_path / "folded.safetensors")
        assert torch.equal(third(INPUTS), one(INPUTS))

    def test_is_a_function_of_its_state(self) -> None:
        network = chain()
        fold(network, pattern=by_place(6))
        shell = copy.deepcopy(network).to("meta")
        assert torch.equal(functional_call(shell, dict(network.named_parameters()), (INPUTS,)), network(INPUTS))

    def test_random_control_has_the_same_size(self) -> None:
        clusters = [["a", "b", "c"], ["d", "e"], ["f"]]
        dealt = shuffled(clusters, torch.Generator().manual_seed(0))
        assert [len(cluster) for cluster in dealt] == [3, 2, 1]
        assert sorted(name for cluster in dealt for name in cluster) == list("abcdef")
        assert dealt != clusters

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ([["1.0.forth", "0"]], "are no layers of one bank"),
            ([["1.0.forth", "1.1.forth"], ["1.1.forth", "1.2.forth"]], "names a layer twice"),
        ],
    )
    def test_wrong_pattern(self, pattern: list[list[str]], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            fold(chain(), pattern=pattern)

    def test_wrong_use(self) -> None:
        with pytest.raises(ValueError, match=re.escape("tau must be above 0 and at most 1, but got 0.")):
            fold(chain(), tau=0)
        with pytest.raises(ValueError, match="has no layers that share"):
            fold(nn.Sequential(nn.Linear(2, 2)))


class TestLoops:
    def test_self_loop(self) -> None:
        network = chain()
        align(network, by_place(6))
        (loop,) = fold(network).loops
        assert loop.blocks == tuple(f"1.{i}" for i in range(6))
        assert (loop.period, loop.turns) == (1, 6)

    def test_cycle_of_two_blocks(self) -> None:
        network = chain(blocks=7, templates=6)
        (loop,) = fold(network, pattern=by_place(7, period=2)).loops
        assert loop.blocks == tuple(f"1.{i}" for i in range(7))
        assert (loop.period, loop.turns) == (2, 3.5)

    def test_one_layer_of_a_block_makes_no_loop(self) -> None:
        network = chain(blocks=3)
        done = fold(network, pattern=[["1.0.forth", "1.1.forth", "1.2.forth"], ["1.0.back", "1.2.back"]])
        assert len(done.pattern) == 3
        assert done.loops == ()

    def test_a_gap_ends_a_loop(self) -> None:
        weights = {f"1.{i}.{name}": name for i in (0, 1, 3, 4, 5) for name in ("forth", "back")}
        found = loops(chain(), weights)
        assert [loop.blocks for loop in found] == [("1.0", "1.1"), ("1.3", "1.4", "1.5")]

    def test_layers_without_blocks_are_a_chain(self) -> None:
        class Plain(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second, self.third = (nn.Linear(3, 3) for _ in range(3))

        (loop,) = loops(Plain(), {"first": 0, "second": 0})
        assert loop.blocks == ("first", "second")

    def test_our_networks_have_blocks(self) -> None:
        config = {"name": "resnet", "stages": 1, "blocks": 5, "width": 4, "preactivation": True}
        network = build_network(config, in_shape=(1, 8, 8), out_features=3)
        SoftSharing(4, groups=["stages.0.[!0].conv*"]).attach(network)
        names = [[f"stages.0.{i}.conv{k}" for i in range(1, 5)] for k in (1, 2)]
        (loop,) = fold(network, pattern=names).loops
        assert loop.blocks == tuple(f"stages.0.{i}" for i in range(1, 5))
