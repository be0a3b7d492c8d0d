"""Every activation maps element by element, has a gradient, and runs under vmap; layers may have their own."""

from itertools import islice

import pytest
import torch
from torch import nn
from torch.func import grad, vmap

from kirigami.models.activations import ACTIVATIONS, LEARNED, LearnedSine, LearnedSwish, activation, activations
from kirigami.models.bits import Uniform
from kirigami.models.compact import encode, read
from kirigami.models.graph import cut, fill, to_onnx
from kirigami.models.networks import build_network
from kirigami.models.optimizers import build_optimizer
from kirigami.models.sparsity import RandomPruning
from kirigami.models.structure import remove, units
from kirigami.spaces.dimension import Dimension

NON_MONOTONIC = ("gelu", "silu", "swish", "mish", "square", "sin", "gaussian", "swish_learned", "sin_learned")
POINTS = torch.linspace(-3, 3, 101)
IMAGES = {"in_shape": (1, 8, 8), "out_features": 10}


@pytest.mark.parametrize("name", ACTIVATIONS)
class TestActivation:
    def test_maps_element_by_element(self, name: str) -> None:
        function = activation(name)
        outputs = function(POINTS)
        assert outputs.shape == POINTS.shape
        torch.testing.assert_close(outputs[7], function(POINTS[7]))

    def test_gradient_is_the_slope(self, name: str) -> None:
        function = activation(name).double()
        points = torch.linspace(-2.95, 2.95, 60, dtype=torch.double)
        slopes = (function(points + 1e-6) - function(points - 1e-6)) / 2e-6
        torch.testing.assert_close(vmap(grad(function))(points), slopes, atol=1e-6, rtol=1e-5)

    def test_monotonic_or_not(self, name: str) -> None:
        steps = activation(name)(POINTS).diff()
        assert bool((steps < -1e-6).any() and (steps > 1e-6).any()) == (name in NON_MONOTONIC)

    def test_is_a_choice_of_every_layer(self, name: str) -> None:
        network = build_network({"name": "mlp", "depth": 2, "width": 4, "activation": [name, "relu"]}, **IMAGES)
        kinds = [type(module) for module in network.hidden if not isinstance(module, nn.Linear)]  # type: ignore[union-attr]
        assert kinds == [type(activation(name)), nn.ReLU]


def test_swish_is_silu() -> None:
    assert torch.equal(activation("swish")(POINTS), activation("silu")(POINTS))


@pytest.mark.parametrize("name", ["Relu", "", None, 3, ["relu", "Relu"], ["relu", 3]])
def test_unknown_name(name: object) -> None:
    with pytest.raises(ValueError, match=r"^activation must be one of \(relu, .*\), but got"):
        activations(name)  # type: ignore[arg-type]


def test_empty_list() -> None:
    with pytest.raises(ValueError, match=r"^activation must be a name or a list of names, but got an empty"):
        activations([])


def test_learned_ones_begin_as_the_fixed_ones() -> None:
    torch.testing.assert_close(activation("swish_learned")(POINTS), activation("silu")(POINTS))
    torch.testing.assert_close(activation("sin_learned")(POINTS), activation("sin")(POINTS))


def test_learned_numbers_follow_their_gradient() -> None:
    swish, sine = LearnedSwish(1.75).double(), LearnedSine(0.5).double()
    points = POINTS.double()
    swish(points).sum().backward()
    sine(points.abs()).sum().backward()
    level = torch.sigmoid(1.75 * points)
    torch.testing.assert_close(swish.slope.grad, (points.square() * level * (1 - level)).sum())
    torch.testing.assert_close(sine.frequency.grad, (points.abs() * torch.cos(0.5 * points.abs())).sum())


def test_each_layer_learns_its_own_and_no_decay_pulls_on_it() -> None:
    network = build_network({"name": "convnet", "depth": 2, "activation": "sin_learned"}, **IMAGES)
    own = [module.frequency for module in network.modules() if isinstance(module, LearnedSine)]
    assert len({id(one) for one in own}) == 2
    optimizer = build_optimizer(network, {"name": "sgd", "lr": 0.1, "weight_decay": 0.5})
    spared = next(group for group in optimizer.param_groups if group["weight_decay"] == 0)["params"]
    assert {id(one) for one in own} <= {id(parameter) for parameter in spared}


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"name": "mlp", "depth": 3, "norm": "batch"}, 3),
        ({"name": "convnet", "depth": 3}, 3),
        ({"name": "resnet", "blocks": 1, "stages": 2}, 5),
        ({"name": "resnet", "blocks": 1, "stages": 2, "preactivation": True}, 5),
        ({"name": "wrn", "depth": 10, "widen": 1}, 7),
        ({"name": "vgg", "width": 2}, 8),
        ({"name": "transformer", "width": 8, "depth": 3}, 3),
    ],
)
def test_layers_take_a_list_in_turn_as_they_are_called(config: dict[str, object], count: int) -> None:
    text = config["name"] == "transformer"
    shapes = {"in_shape": (6,), "out_features": 7, "vocabulary": 7} if text else IMAGES
    network = build_network({**config, "activation": ["sin", "gaussian", "square"]}, **shapes).eval()  # type: ignore[arg-type]
    called: list[str] = []
    for module in network.modules():
        if type(module).__module__ == "kirigami.models.activations":
            module.register_forward_hook(lambda module, *_: called.append(type(module).__name__))
    network(torch.zeros(2, 6, dtype=torch.long) if text else torch.zeros(2, 1, 8, 8))
    assert called == (["Sine", "Gaussian", "Square"] * 3)[:count]


def test_a_list_begins_again_at_its_end() -> None:
    kinds = [type(module).__name__ for module in islice(activations(["relu", "sin"]), 5)]
    assert kinds == ["ReLU", "Sine", "ReLU", "Sine", "ReLU"]


def test_a_space_may_hold_lists() -> None:
    dimension = Dimension("activation", choices=("relu", ["relu", "sin"]))
    assert dimension.decode(dimension.distribution.to_external_repr(1)) == ["relu", "sin"]  # type: ignore[attr-defined]


def test_learned_numbers_are_stored_and_exported() -> None:
    network = trained(
        build_network({"name": "convnet", "depth": 2, "activation": ["sin_learned", "swish_learned"]}, **IMAGES)
    )
    for technique in (RandomPruning(density=0.5), Uniform(bits=3)):
        technique.attach(network)
        technique.harden()
    found = read(encode(network)).arrays()
    assert float(found["features.2.frequency"]) == pytest.approx(1.25)
    assert float(found["features.6.slope"]) == pytest.approx(1.25)
    inputs = torch.randn(4, 1, 8, 8)
    data = to_onnx(network, inputs)
    assert fill(cut(data, network), read(encode(network))) == data
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    got = torch.from_numpy(session.run(None, {"input": inputs.numpy()})[0])
    torch.testing.assert_close(got, network(inputs).detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["swish_learned", "sin_learned"])
def test_units_can_be_removed_through_learned_ones(name: str) -> None:
    network = trained(
        build_network({"name": "resnet", "blocks": 1, "stages": 2, "width": 4, "activation": name}, **IMAGES)
    )
    inputs = torch.randn(3, 1, 8, 8)
    found = units(network, inputs)
    plain = build_network({"name": "resnet", "blocks": 1, "stages": 2, "width": 4}, **IMAGES).eval()
    assert [(one.name, one.count) for one in found] == [(one.name, one.count) for one in units(plain, inputs)]
    for axis in found[0].of("in"):
        network.get_submodule(axis.module).weight.data.index_fill_(1, axis.entries([1]), 0)  # type: ignore[union-attr, operator]
    before = network(inputs)
    remove(network, found[0], [1])
    torch.testing.assert_close(network(inputs), before)


def trained(network: nn.Module) -> nn.Module:
    """Return the network in evaluation, with learned numbers that are no longer the first ones."""
    for module in network.modules():
        if isinstance(module, LEARNED):
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.add_(0.25)
    return network.eval()
