"""Soft sharing: templates mixed by the layers of any network, found, counted, stored and configured."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from kirigami.models import build_network, cost, sharing
from kirigami.models.sharing import SoftSharing, TiedLayers, find
from kirigami.models.sharing.bank import bank_of, banks, draw_coefficients, row_of
from kirigami.models.technique import Link
from tests.models.sharing_networks import features, foreign, resnet


class TestGroups:
    def test_finds_same_shapes_but_the_last_layer(self) -> None:
        ups, downs = find(foreign())
        assert ups == [f"chain.{i}.up" for i in range(4)]
        assert downs == [f"chain.{i}.down" for i in range(4)]

    def test_kinds_of_layers_stay_apart(self) -> None:
        network = nn.Sequential(
            nn.Linear(4, 4), nn.Linear(4, 4), nn.Conv1d(4, 4, 1), nn.Conv1d(4, 4, 1), nn.Linear(4, 4)
        )
        assert find(network) == [["0", "1"], ["2", "3"]]

    def test_patterns_and_names_by_hand(self) -> None:
        assert find(foreign(), ["chain.[!0].up"]) == [["chain.1.up", "chain.2.up", "chain.3.up"]]
        assert find(foreign(), [["chain.2.up", "chain.0.up"]]) == [["chain.0.up", "chain.2.up"]]

    def test_weights_that_are_tied_already_are_left_alone(self) -> None:
        network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(5)))
        network[1].weight = network[0].weight
        assert find(network) == [["2", "3"]]
        with pytest.raises(ValueError, match="'0' has a weight that is tied"):
            find(network, [["0", "2"]])

    @pytest.mark.parametrize(
        ("groups", "message"),
        [
            (["chain.0.upp"], "Did you mean 'chain.0.up'"),
            (["chain.0.up"], "is alone"),
            (["chain.0.*"], "'chain.0.down' differs from 'chain.0.up'"),
            (["chain.*.up", "chain.[01].up"], "is in two groups"),
            ("chain.*.up", "must be a list"),
        ],
    )
    def test_wrong_groups(self, groups: list[str], message: str) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            SoftSharing(2, groups=groups).attach(foreign())
        assert "\n" not in str(caught.value)

    def test_nothing_to_share(self) -> None:
        with pytest.raises(ValueError, match="no two layers of one shape"):
            SoftSharing(2).attach(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 5)))


class TestWeights:
    def test_as_many_templates_as_layers_can_be_the_unshared_network(self) -> None:
        """Identity coefficients over the layers' own weights give its outputs, bit by bit."""
        plain, shared = foreign(), foreign()
        SoftSharing(4).attach(shared)
        with torch.no_grad():
            for layers in banks(shared).values():
                own = torch.stack([plain.get_submodule(name).weight for name in layers])
                bank_of(next(iter(layers.values()))).templates.copy_(own)
                for layer, row in zip(layers.values(), torch.eye(4), strict=True):
                    row_of(layer).copy_(row)
        assert torch.equal(shared(features()), plain(features()))

    @pytest.mark.parametrize(("templates", "millions"), [(1, 12.29), (2, 17.13), (4, 26.80), (6, 36.48), (9, 36.48)])
    def test_counts_of_the_paper(self, templates: int, millions: float) -> None:
        """SWRN-28-10-k: the first block of a stage is unshared; more templates than layers are not made."""
        with torch.device("meta"):
            network = build_network({"name": "wrn", "depth": 28, "widen": 10}, in_shape=(3, 32, 32), out_features=10)
        SoftSharing(templates, groups=[f"stages.{stage}.[!0].conv*" for stage in range(3)]).attach(network)
        assert cost.parameters(network) / 1e6 == pytest.approx(millions, abs=0.005)

    def test_coefficients_are_directions_of_an_orthogonal_draw(self) -> None:
        rows = draw_coefficients(6, 6, torch.Generator().manual_seed(0))
        torch.testing.assert_close(rows.T @ rows, torch.eye(6), atol=1e-5, rtol=0)
        rows = draw_coefficients(12, 4, torch.Generator().manual_seed(0))
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(12))
        lengths = torch.linalg.qr(torch.randn(12, 4, generator=torch.Generator().manual_seed(0)).double()).Q.norm(dim=1)
        assert lengths.max() > 1.5 * lengths.min()  # what the rescaling is for

    def test_every_layer_starts_as_a_kaiming_weight(self) -> None:
        network = nn.Sequential(*(nn.Linear(200, 200) for _ in range(9)))
        SoftSharing(3).attach(network)
        scales = [float(layer.weight.detach().square().mean()) for layer in network[:-1]]
        assert scales == pytest.approx([2 / 200] * 8, rel=0.1)

    def test_a_weight_that_is_set_becomes_the_nearest_mix(self) -> None:
        network = foreign()
        SoftSharing(2).attach(network)
        layer = network.chain[1].up
        wanted = 2 * bank_of(layer).templates[0].detach() - bank_of(layer).templates[1].detach()
        layer.weight = wanted
        torch.testing.assert_close(layer.weight, wanted, atol=1e-5, rtol=1e-5)

    def test_parts_give_the_weight_again(self) -> None:
        network = foreign()
        technique = SoftSharing(2)
        technique.attach(network)
        layer = network.chain[1].up
        parts = technique.links["chain.1.up"].parts(row_of(layer))
        torch.testing.assert_close(torch.einsum("k,k...->...", parts["coefficients"], parts["templates"]), layer.weight)
        assert parts["templates"] is technique.links["chain.0.up"].parts(row_of(layer))["templates"]

    def test_same_seed_same_bank(self) -> None:
        networks = [foreign(seed=3) for _ in range(3)]
        for network, seed in zip(networks, (0, 0, 1), strict=True):
            SoftSharing(2, seed=seed).attach(network)
        one, same, other = (network(features()) for network in networks)
        assert torch.equal(one, same)
        assert not torch.equal(one, other)

    def test_comes_before_the_other_links(self) -> None:
        class Mask(Link):
            stage = "mask"

            def forward(self, weight: Tensor) -> Tensor:
                return weight * (weight > 0)

            def parts(self, weight: Tensor) -> dict[str, Tensor]:
                return {"weight": self(weight)}

        network = foreign()
        SoftSharing(2).attach(network)
        nn.utils.parametrize.register_parametrization(network.chain[0].up, "weight", Mask())
        assert (network.chain[0].up.weight >= 0).all()
        assert (network.chain[1].up.weight < 0).any()
        late = foreign()
        nn.utils.parametrize.register_parametrization(late.chain[0].up, "weight", Mask())
        with pytest.raises(ValueError, match="'share' cannot follow it"):
            SoftSharing(2).attach(late)


class TestState:
    def test_goes_round(self) -> None:
        one, other = resnet(0), resnet(1)
        SoftSharing(3, seed=0).attach(one)
        SoftSharing(3, seed=1).attach(other)
        inputs = features(4, 1, 8, 8)
        other.load_state_dict(one.state_dict())
        assert torch.equal(one.eval()(inputs), other.eval()(inputs))

    def test_a_file_holds_every_template_once(self, tmp_path: Path) -> None:
        one, other = resnet(0), resnet(1)
        SoftSharing(3, seed=0).attach(one)
        SoftSharing(3, seed=1).attach(other)
        save_model(one, str(tmp_path / "weights.safetensors"))
        load_model(other, tmp_path / "weights.safetensors")
        inputs = features(4, 1, 8, 8)
        assert torch.equal(one.eval()(inputs), other.eval()(inputs))
        with safe_open(tmp_path / "weights.safetensors", "pt") as file:
            stored = [name for name in list(file.keys()) if name.endswith("templates")]
        assert len(stored) == 1

    def test_copies_share_among_themselves(self) -> None:
        network = resnet()
        SoftSharing(2).attach(network)
        twin = copy.deepcopy(network)
        assert cost.parameters(twin) == cost.parameters(network)
        with torch.no_grad():
            bank_of(twin.stages[0][0].conv1).templates.zero_()
        assert not twin.stages[0][3].conv2.weight.any()
        assert network.stages[0][3].conv2.weight.any()

    def test_is_a_function_of_its_state(self) -> None:
        network = resnet().eval()
        SoftSharing(2).attach(network)
        state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        assert sum(name.endswith("templates") for name in state) == 1
        inputs = features(4, 1, 8, 8)
        shell = copy.deepcopy(network).to("meta")
        assert torch.equal(functional_call(shell, state, (inputs,)), network(inputs))

    def test_copies_train_in_one_call(self) -> None:
        networks = [foreign(seed) for seed in range(3)]
        for seed, network in enumerate(networks):
            SoftSharing(2, seed=seed).attach(network)
        parameters, buffers = stack_module_state(networks)
        shell = copy.deepcopy(networks[0]).to("meta")
        inputs = features()
        stacked = vmap(grad(lambda p, b: functional_call(shell, (p, b), (inputs,)).square().mean()))
        gradients = stacked({name: value.detach() for name, value in parameters.items()}, buffers)
        for index, network in enumerate(networks):
            network(features()).square().mean().backward()
            for name, parameter in network.named_parameters():
                torch.testing.assert_close(gradients[name][index], parameter.grad, atol=1e-5, rtol=1e-4)


class TestTied:
    def test_layers_differ_by_a_scale_from_the_start(self) -> None:
        network = foreign()
        TiedLayers(distinct=2).attach(network)
        one, other = network.chain[0].up.weight, network.chain[2].up.weight
        torch.testing.assert_close(one.abs(), other.abs())
        assert not torch.allclose(one.abs(), network.chain[1].up.weight.abs())

    def test_count(self) -> None:
        network = foreign()
        technique = TiedLayers(distinct=2)
        technique.attach(network)
        assert technique.report()["weights"] == 4
        assert cost.parameters(network) == cost.parameters(foreign()) - 4 * 72 + 8

    def test_takes_the_clusters_of_a_fold(self) -> None:
        network = foreign()
        TiedLayers(pattern=[["chain.0.up", "chain.3.up"], ["chain.1.up"]]).attach(network)
        assert {name: list(layers) for name, layers in banks(network).items()} == {
            "chain.0.up": ["chain.0.up", "chain.3.up"]
        }

    def test_as_many_weights_as_layers_is_no_tying(self) -> None:
        with pytest.raises(ValueError, match=r"distinct must be below 4, the layers of a group, but got 4"):
            TiedLayers(distinct=4).attach(foreign())


class TestConfig:
    def test_builds(self) -> None:
        assert sharing.build({"method": "none", "templates": 3}) is None
        assert sharing.build({}) is None
        technique = sharing.build({"method": "soft", "templates": 3, "pressure": 1, "harden_at": 0.5})
        assert isinstance(technique, SoftSharing)
        assert (technique.templates, technique.pressure, technique.harden_at) == (3, 1, 0.5)
        tied = sharing.build({"method": "tied", "distinct": 3, "templates": 3})  # a sibling's key
        assert isinstance(tied, TiedLayers)
        assert tied.distinct == 3

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"method": "sofd"}, "method must be one of .* Did you mean 'soft'"),
            ({"method": "soft", "template": 2}, "template .* Did you mean 'templates'"),
            ({"method": "none", "template": 2}, "template .* Did you mean 'templates'"),
            ({"method": "soft", "templates": 0}, "templates must be at least 1, but got 0"),
            ({"method": "soft", "templates": 2.5}, "templates must be an integer"),
            ({"method": "soft", "pressure": -1.0}, "pressure must be at least 0"),
            ({"method": "soft", "distinct": 0}, "distinct must be at least 1"),
            ({"method": "soft", "pattern": "circle"}, "pattern .* Did you mean 'cycle'"),
            ({"method": "soft", "tau": 1.5}, "tau must be above 0 and at most 1, but got 1.5"),
            ({"method": "soft", "harden_at": 0.0}, "harden_at must be above 0"),
            ({"method": "tied", "pattern": "found"}, "pattern must be cycle, sequence"),
        ],
    )
    def test_errors(self, config: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            sharing.build(config)
        assert "\n" not in str(caught.value)

    def test_pattern_over_two_groups(self) -> None:
        with pytest.raises(ValueError, match="are no layers of one group"):
            SoftSharing(2, pattern=[["chain.0.up", "chain.0.down"]]).attach(foreign())
