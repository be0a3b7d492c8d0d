"""The contract of every registered network; a new one joins by a row in CASES."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from kirigami.models import build_network
from kirigami.models.networks import NETWORKS
from tests.models.network_cases import CASES, batch, build


def scalar(outputs: Tensor) -> Tensor:
    """Return a loss that every output matters to."""
    weights = torch.linspace(-1, 1, outputs[0].numel()).reshape(outputs[0].shape)
    return (outputs.sin() * weights).sum(-1).mean()


def test_every_network_has_a_case() -> None:
    assert {config["name"] for config, _ in CASES.values()} == set(NETWORKS)


@pytest.mark.parametrize("case", CASES)
class TestNetwork:
    def test_output_shape(self, case: str) -> None:
        shapes = CASES[case][1]
        outputs = build(case)(batch(case))
        if shapes.get("dense"):
            classes = shapes["out_features"]
            assert outputs.shape == ((6, 8, 8) if classes == 1 else (6, classes, 8, 8))
        elif "vocabulary" in shapes:
            assert outputs.shape == (6, 9, 7)
        else:
            assert outputs.shape == (6, shapes["out_features"])

    def test_gradient_reaches_every_parameter(self, case: str) -> None:
        network = build(case)
        scalar(network(batch(case))).backward()
        idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert idle == []

    def test_state_goes_round(self, case: str) -> None:
        one, other = build(case, seed=0), build(case, seed=1)
        one(batch(case))
        assert not torch.equal(one.eval()(batch(case)), other.eval()(batch(case)))
        other.load_state_dict(one.state_dict())
        assert torch.equal(one(batch(case)), other(batch(case)))

    def test_same_seed_same_network(self, case: str) -> None:
        assert torch.equal(build(case)(batch(case)), build(case)(batch(case)))

    def test_builds_on_meta(self, case: str) -> None:
        with torch.device("meta"):
            network = build(case)
        assert {p.device.type for p in network.parameters()} == {"meta"}
        assert network(batch(case).to("meta")).shape == build(case)(batch(case)).shape

    def test_is_a_function_of_its_state(self, case: str) -> None:
        network = build(case).eval()
        state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        expected = network(batch(case))
        shell = copy.deepcopy(network).to("meta")
        assert torch.equal(functional_call(shell, state, (batch(case),)), expected)

    def test_copies_evaluate_in_one_call(self, case: str) -> None:
        networks = [build(case, seed).eval() for seed in range(3)]
        inputs = batch(case)
        parameters, buffers = stack_module_state(networks)
        shell = copy.deepcopy(networks[0]).to("meta")
        stacked = vmap(lambda p, b: functional_call(shell, (p, b), (inputs,)))(parameters, buffers)
        torch.testing.assert_close(stacked, torch.stack([n(inputs) for n in networks]), atol=1e-5, rtol=1e-5)

    def test_copies_train_in_one_call(self, case: str) -> None:
        """Gradients of stacked copies equal those of the loop, and so do the running statistics."""
        networks = [build(case, seed) for seed in range(3)]
        inputs = batch(case)
        parameters, buffers = stack_module_state(networks)
        buffers = {name: value.clone() for name, value in buffers.items()}
        shell = copy.deepcopy(networks[0]).to("meta")
        stacked = vmap(grad(lambda p, b: scalar(functional_call(shell, (p, b), (inputs,)))))
        gradients = stacked({name: value.detach() for name, value in parameters.items()}, buffers)
        for index, network in enumerate(networks):
            scalar(network(inputs)).backward()
            for name, parameter in network.named_parameters():
                torch.testing.assert_close(gradients[name][index], parameter.grad, atol=1e-5, rtol=1e-5)
            for name, buffer in network.named_buffers():
                torch.testing.assert_close(buffers[name][index], buffer, atol=1e-5, rtol=1e-5)


class TestCharacterNetworks:
    @pytest.mark.parametrize("case", ["gru", "transformer"])
    def test_sees_no_future(self, case: str) -> None:
        network, inputs = build(case), batch(case)
        changed = inputs.clone()
        changed[:, 5:] = (changed[:, 5:] + 1) % 7
        before, after = network(inputs), network(changed)
        torch.testing.assert_close(before[:, :5], after[:, :5])
        assert not torch.allclose(before[:, 5:], after[:, 5:])

    def test_gru_equals_the_library(self) -> None:
        layer = build("gru").layers[1]
        library = nn.GRU(8, 8, batch_first=True)
        theirs = [library.weight_ih_l0, library.weight_hh_l0, library.bias_ih_l0, library.bias_hh_l0]
        ours = [layer.inward.weight, layer.recurrent.weight, layer.inward.bias, layer.recurrent.bias]
        with torch.no_grad():
            for mine, other in zip(ours, theirs, strict=True):
                other.copy_(mine)
        inputs = torch.randn(4, 9, 8)
        torch.testing.assert_close(layer(inputs), library(inputs)[0])


class TestDropout:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_acts_in_training_only(self, name: str) -> None:
        config, shapes = CASES[name]
        network = build_network({**config, "dropout": 0.5}, **shapes)
        first, second = network(batch(name)), network(batch(name))
        assert not torch.equal(first, second)
        network.eval()
        assert torch.equal(network(batch(name)), network(batch(name)))


def test_dense_network_keeps_what_lies_far_apart_apart() -> None:
    """A pixel's logit depends on its surroundings, not on the whole image: there is no pooling."""
    network = build("convnet-dense").eval()
    inputs = batch("convnet-dense")
    changed = inputs.clone()
    changed[:, :, 7, 7] += 1
    difference = (network(inputs) - network(changed)).abs().sum(0)
    assert difference[0, 0] == 0
    assert difference[7, 7] > 0


def test_vgg_pools_no_further_than_the_image_goes() -> None:
    network = build_network({"name": "vgg", "width": 4}, in_shape=(1, 8, 8), out_features=3)
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in network.features) == 3
    assert F.softmax(network(torch.randn(2, 1, 8, 8)), -1).shape == (2, 3)
