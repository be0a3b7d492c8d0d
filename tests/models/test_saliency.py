"""Scores of single weights, each against an independent computation on a small network."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, vmap

from kirigami.models.saliency import Blocks, surgeon, weight_scores

ROWS = 12


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def data(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(ROWS, 3, generator=generator), torch.randint(0, 2, (ROWS,), generator=generator)


def loss_of(network: nn.Module) -> Callable[[Any], Tensor]:
    return lambda batch: F.cross_entropy(network(batch[0]), batch[1])


def halves(batch: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(batch[0][:6], batch[1][:6]), (batch[0][6:], batch[1][6:])]


def of_first(network: nn.Sequential, batch: tuple[Tensor, Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the loss as a function of the first layer's flattened weight."""
    shape = network[0].weight.shape
    rest = {name: value.detach() for name, value in network.named_parameters() if name != "0.weight"}
    return lambda flat: F.cross_entropy(
        functional_call(network, {**rest, "0.weight": flat.view(shape)}, (batch[0],)), batch[1]
    )


def first(network: nn.Module, criterion: str, batches: list, **settings: Any) -> Tensor:
    return weight_scores(network, criterion, batches, loss_of(network), ["0"], **settings)["0"].flatten()


class TestCriteria:
    def test_magnitude(self) -> None:
        network = small()
        assert torch.equal(first(network, "magnitude", []), network[0].weight.detach().abs().flatten())

    def test_snip_is_the_gradient_over_all_batches_times_the_weight(self) -> None:
        network, batch = small(), data()
        weight = network[0].weight.detach().flatten()
        expected = (grad(of_first(network, batch))(weight) * weight).abs()
        torch.testing.assert_close(first(network, "snip", halves(batch)), expected)

    def test_obd_has_the_exact_hessian_in_the_mean(self) -> None:
        network, batch = small(), data()
        weight = network[0].weight.detach().flatten()
        exact = hessian(of_first(network, batch))(weight).diagonal()
        found = 2 * first(network, "obd", halves(batch), probes=1500) / weight.square()
        torch.testing.assert_close(found, exact, atol=0.03 * float(exact.abs().max()), rtol=0)

    def test_obd_is_exact_with_one_probe_where_the_hessian_is_diagonal(self) -> None:
        network = nn.Sequential(nn.Linear(3, 1, bias=False))
        batch = (torch.diag(torch.tensor([1.0, 2.0, 3.0])), torch.zeros(3, 1))
        found = weight_scores(network, "obd", [batch], lambda b: F.mse_loss(network(b[0]), b[1]), ["0"], probes=1)["0"]
        curvature = 2 / 3 * torch.tensor([[1.0, 4.0, 9.0]])
        torch.testing.assert_close(found, 0.5 * curvature * network[0].weight.detach().square())

    def test_fisher_is_the_mean_square_of_single_gradients(self) -> None:
        network, batch = small(), data()
        weight = network[0].weight.detach().flatten()
        single = single_gradients(network, batch)
        torch.testing.assert_close(
            first(network, "fisher", halves(batch)), 0.5 * single.square().mean(0) * weight.square()
        )
        few = first(network, "fisher", halves(batch), rows=7)
        torch.testing.assert_close(few, 0.5 * single[:7].square().mean(0) * weight.square())

    @pytest.mark.parametrize("block", [12, 5])
    def test_obs_is_the_inverse_of_the_damped_fisher_in_blocks(self, block: int) -> None:
        network, batch = small(), data()
        weight = network[0].weight.detach().flatten()
        single = single_gradients(network, batch).double()
        fisher = single.T @ single / ROWS
        widths = [len(part) for part in torch.arange(12).split(block)]
        joint = torch.block_diag(*(torch.ones(width, width) for width in widths))
        filled = -(-12 // block) * block
        damped = fisher * joint + 0.1 * fisher.diagonal().sum() / filled * torch.eye(12)
        expected = weight.square() / (2 * torch.linalg.inv(damped).diagonal()).float()
        torch.testing.assert_close(first(network, "obs", halves(batch), block=block, damping=0.1), expected)

    def test_grasp_is_the_weight_times_the_hessian_times_the_gradient(self) -> None:
        network, batch = small(), data()
        weight, function = network[0].weight.detach().flatten(), of_first(network, batch)
        gradient = grad(function)(weight)
        expected = weight * (hessian(function)(weight) @ gradient)
        torch.testing.assert_close(first(network, "grasp", halves(batch)), expected, atol=1e-6, rtol=1e-4)

    def test_grasp_tells_how_the_norm_of_the_gradient_falls_when_a_weight_shrinks(self) -> None:
        network, batch = small(), data()
        weight, function = network[0].weight.detach().double().flatten(), of_first(network.double(), double(batch))
        score = first(network, "grasp", [double(batch)])
        for index in range(3):
            smaller = weight.clone()
            smaller[index] *= 1 - 1e-5
            change = grad(function)(smaller).square().sum() - grad(function)(weight).square().sum()
            assert float(change) == pytest.approx(-2e-5 * float(score[index]), rel=1e-3)

    def test_random_is_drawn_from_its_seed(self) -> None:
        network = small()
        assert torch.equal(first(network, "random", [], seed=3), first(network, "random", [], seed=3))
        assert not torch.equal(first(network, "random", [], seed=3), first(network, "random", [], seed=4))

    def test_blend_asks_obs_only_near_the_cut(self) -> None:
        network, batch = small(), data()
        scores = first(network, "blend", [batch], density=0.5, band=1 / 3)
        order = scores.argsort(descending=True)
        by_size = network[0].weight.detach().abs().flatten().argsort(descending=True)
        assert order[:4].tolist() == by_size[:4].tolist()
        assert order[8:].tolist() == by_size[8:].tolist()
        assert sorted(order[4:8].tolist()) == sorted(by_size[4:8].tolist())
        weight = network[0].weight.detach().flatten()
        near = by_size[4:8].sort().values
        single = single_gradients(network, batch).double()[:, near]
        fisher = torch.zeros(64, 64, dtype=torch.float64)
        fisher[:4, :4] = single.T @ single / ROWS
        fisher += 0.01 * fisher.diagonal().mean() * torch.eye(64)
        fine = weight[near].square() / torch.linalg.inv(fisher).diagonal()[:4]
        assert order[4:8].tolist() == near[fine.argsort(descending=True)].tolist()


def single_gradients(network: nn.Sequential, batch: tuple[Tensor, Tensor]) -> Tensor:
    weight = network[0].weight.detach().flatten()
    one = lambda x, y: grad(of_first(network, (x[None], y[None])))(weight)  # noqa: E731
    return vmap(one)(*batch)


def double(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch[0].double(), batch[1]


class TestSurgeon:
    def quadratic(self) -> tuple[nn.Linear, tuple[Tensor, Tensor], Callable[[Any], Tensor]]:
        """Return a linear regression at its minimum, with residuals of 1 and -1: its Fisher is its Hessian."""
        torch.manual_seed(0)
        layer = nn.Linear(5, 1, bias=False).double()
        inputs = torch.randn(20, 5, dtype=torch.float64)
        outputs = layer(inputs).detach()
        batch = torch.cat([inputs, inputs]), torch.cat([outputs + 1, outputs - 1])
        return layer, batch, lambda found: 0.5 * (layer(found[0]) - found[1]).square().mean()

    def test_update_is_the_minimum_over_what_stays(self) -> None:
        layer, batch, loss = self.quadratic()
        network = nn.Sequential(layer)
        keep = torch.tensor([[True, False, True, False, True]])
        blocks = surgeon(network, [batch], loss, ["0"], damping=0.0, block=5)["0"]
        updated = blocks.update(layer.weight.detach(), keep)
        best = torch.linalg.lstsq(batch[0][:, keep[0]], batch[1]).solution.T
        assert torch.all(updated[~keep] == 0)
        torch.testing.assert_close(updated[keep], best[0])

    def test_score_is_the_rise_of_the_loss_after_the_update(self) -> None:
        layer, batch, loss = self.quadratic()
        network = nn.Sequential(layer)
        scores = weight_scores(network, "obs", [batch], loss, ["0"], damping=0.0, block=5)["0"]
        blocks = surgeon(network, [batch], loss, ["0"], damping=0.0, block=5)["0"]
        before, weight = float(loss(batch).detach()), layer.weight.detach().clone()
        for index in range(5):
            keep = torch.ones(1, 5, dtype=torch.bool)
            keep[0, index] = False
            with torch.no_grad():
                layer.weight.copy_(blocks.update(weight, keep))
                rise = float(loss(batch)) - before
                layer.weight.copy_(weight)
            assert float(scores[0, index]) == pytest.approx(rise, rel=1e-6)

    def test_blocks_do_not_touch_each_other(self) -> None:
        curvature = torch.stack([torch.eye(2, dtype=torch.float64) + 0.5] * 2)
        blocks = Blocks(curvature, torch.arange(3))
        updated = blocks.update(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([False, True, True]))
        torch.testing.assert_close(updated, torch.tensor([0.0, 2 + 0.5 / 1.5, 4.0]))

    def test_weights_without_a_gradient_can_be_scored(self) -> None:
        network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        scores = weight_scores(network, "obs", [torch.ones(4, 2)], lambda batch: 0 * network(batch).sum(), ["0"])["0"]
        assert torch.all(scores >= 0)
        assert torch.all(torch.isfinite(scores))
