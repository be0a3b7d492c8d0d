"""Scores of weights on networks with links, norms and parametrizations, and SynFlow's linear copy of them."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from kirigami.models.saliency import WEIGHT_CRITERIA, weight_scores
from kirigami.models.saliency.flow import linear_copy, saliency
from kirigami.models.saliency.probe import cut, rows
from kirigami.models.sparsity import PlainMask
from kirigami.models.technique import Link


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 3, generator=generator), torch.randint(0, 2, (12,), generator=generator)


def loss_of(network: nn.Module) -> Callable[[Any], Tensor]:
    return lambda batch: F.cross_entropy(network(batch[0]), batch[1])


def first(network: nn.Module, criterion: str, batches: list, **settings: Any) -> Tensor:
    return weight_scores(network, criterion, batches, loss_of(network), ["0"], **settings)["0"].flatten()


class TestSynFlow:
    def network(self) -> nn.Sequential:
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 3)
        )

    def test_flow_is_conserved_by_layers_and_units(self) -> None:
        network = self.network()
        network[1].running_var.uniform_(0.5, 2)
        flow, weights = linear_copy(network)
        ones = torch.ones(1, 6, dtype=torch.float64)
        total = float(flow(ones).sum().detach())
        into, out, last = (saliency(flow, [weights[name]], ones).view_as(weights[name]) for name in ("0", "3", "5"))
        for part in (into, out, last):
            assert float(part.sum()) == pytest.approx(total, rel=1e-9)
        torch.testing.assert_close(into.sum(1), out.sum(0))
        torch.testing.assert_close(out.sum(1), last.sum(0))

    def test_order_is_that_of_rounds_of_products_of_matrices(self) -> None:
        network = self.network()
        weights = [network[index].weight.detach().double().abs() for index in (0, 3, 5)]
        masks = [torch.ones_like(weight) for weight in weights[:2]]
        factor = (1 / (network[1].running_var + 1e-5).sqrt()).double()[:, None]
        for index in range(1, 6):
            one, two = weights[0] * masks[0] * factor, weights[1] * masks[1]
            flow_out = weights[2].sum(0)
            scores = torch.cat(
                [
                    (one * (two.T @ flow_out)[:, None]).flatten(),
                    (two * flow_out[:, None] * one.sum(1)[None]).flatten(),
                ]
            )
            keep = scores.topk(round(0.2 ** (index / 5) * 50)).indices
            flat = torch.zeros(50, dtype=torch.float64)
            flat[keep] = 1
            masks = [flat[:30].view(5, 6), flat[30:].view(4, 5)]
        found = weight_scores(network, "synflow", [torch.randn(2, 6)], loss_of(network), density=0.2, rounds=5)
        ranked = torch.cat([found["0"].flatten(), found["3"].flatten()]).topk(10).indices
        assert set(ranked.tolist()) == set(flat.nonzero().flatten().tolist())

    def test_sees_no_data(self) -> None:
        network = self.network()
        one, other = (weight_scores(network, "synflow", [torch.randn(2, 6)], loss_of(network))["0"] for _ in range(2))
        assert torch.equal(one, other)

    def test_refuses_inputs_of_whole_numbers(self) -> None:
        network = self.network()
        with pytest.raises(ValueError, match=r"synflow needs inputs of real numbers, but got torch.int64"):
            weight_scores(network, "synflow", [torch.ones(2, 6, dtype=torch.long)], loss_of(network))


class Double(Link):
    """A quantiser's place in the chain: doubles the weight."""

    stage = "quantise"

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight

    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        return {"weight": self(weight)}


SETTINGS = {"probes": 2, "rounds": 3, "rows": 8}


@pytest.mark.parametrize("criterion", WEIGHT_CRITERIA)
class TestAnyNetwork:
    def test_leaves_the_network_as_it_was(self, criterion: str) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.ReLU(), nn.Linear(4, 2))
        network[0].weight.requires_grad_(False)
        network[1].eval()
        network[4].bias.grad = torch.ones(2)
        state, modes = copy.deepcopy(network.state_dict()), [module.training for module in network.modules()]
        random = torch.get_rng_state()
        weight_scores(network, criterion, [data()], loss_of(network), training=True, **SETTINGS)
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
        assert modes == [module.training for module in network.modules()]
        assert torch.equal(random, torch.get_rng_state())
        assert not network[0].weight.requires_grad
        assert network[4].weight.grad is None
        assert torch.equal(network[4].bias.grad, torch.ones(2))

    def test_scores_what_comes_to_the_mask(self, criterion: str) -> None:
        plain, linked = small(), small()
        mask = PlainMask(linked[0].weight)
        parametrize.register_parametrization(linked[0], "weight", mask)
        parametrize.register_parametrization(linked[0], "weight", Double())
        with torch.no_grad():
            linked[0].parametrizations.weight.original.mul_(0.5)
        halved = {"magnitude": 0.5, "grasp": 4.0}  # w is halved, and each derivative by it doubled
        one = first(plain, criterion, [data()], **SETTINGS)
        other = first(linked, criterion, [data()], **SETTINGS)
        torch.testing.assert_close(other, halved.get(criterion, 1.0) * one, rtol=1e-3, atol=1e-7)
        assert not linked[0].parametrizations.weight[0]._forward_pre_hooks

    def test_sees_the_end_of_a_foreign_chain(self, criterion: str) -> None:
        plain, foreign = small(), small()
        parametrizations.weight_norm(foreign[0])
        one, other = (first(network, criterion, [data()], **SETTINGS) for network in (plain, foreign))
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-6)

    def test_what_is_masked_has_no_saliency(self, criterion: str) -> None:
        network = small()
        mask = PlainMask(network[0].weight)
        parametrize.register_parametrization(network[0], "weight", mask)
        mask.kept[0] = False
        scores = first(network, criterion, [data()], **SETTINGS).view(4, 3)
        if criterion not in ("magnitude", "random", "obs", "blend"):
            assert torch.all(scores[0] == 0)
        assert torch.any(scores[1:] != 0)


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"criterion": "snap"}, "criterion must be one of .*, but got 'snap'. Did you mean 'snip'?"),
            ({"criterion": "snip", "batches": []}, "batches must hold at least 1 batch for snip, but got 0"),
            ({"criterion": "obd", "probes": 0}, "probes must be at least 1, but got 0"),
            ({"criterion": "blend", "density": 0.0}, "density must be above 0 and at most 1, but got 0.0"),
            ({"criterion": "snip", "names": ["9"]}, "'9' must name a linear or convolutional layer, one of"),
        ],
    )
    def test_refuses_in_one_line(self, arguments: dict[str, Any], message: str) -> None:
        network = small()
        with pytest.raises(ValueError, match=message) as caught:
            weight_scores(network, loss=loss_of(network), **{"batches": [data()], **arguments})
        assert "\n" not in str(caught.value)

    def test_leaves_the_network_as_it_was_when_the_loss_fails(self) -> None:
        network = small().train()
        parametrizations.weight_norm(network[0])

        def broken(_: Any) -> Tensor:
            raise RuntimeError("broken")

        with pytest.raises(RuntimeError, match="broken"):
            weight_scores(network, "snip", [data()], broken)
        assert network.training
        assert not network[0].parametrizations.weight._forward_hooks

    def test_rows_of_any_batch(self) -> None:
        batch = {"x": torch.arange(6).view(3, 2), "more": [torch.arange(3), "name"], "scale": torch.tensor(2.0)}
        assert rows(batch) == 3
        one = cut(batch, 1)
        assert one["x"].tolist() == [[2, 3]]
        assert one["more"][0].tolist() == [1]
        assert one["more"][1] == "name"
        assert float(one["scale"]) == 2.0
        with pytest.raises(ValueError, match="a batch must hold a tensor with rows, but got str"):
            rows("nothing")
