"""Inserted layers: the function stays, the optimiser knows them, and they can be taken out and inserted again."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kirigami import models
from kirigami.models.growth import activations, deepen, insert
from kirigami.models.growth.deeper import take_out

IMAGES: dict[str, dict[str, Any]] = {
    "mlp": {"name": "mlp", "depth": 2, "width": 12},
    "mlp, batch norm": {"name": "mlp", "depth": 2, "width": 12, "norm": "batch"},
    "convnet": {"name": "convnet", "width": 6},
    "convnet, no norm": {"name": "convnet", "width": 6, "norm": "none"},
    "convnet, group norm": {"name": "convnet", "width": 16, "depth": 2, "norm": "group"},
    "resnet": {"name": "resnet", "width": 4, "depth": 8},
    "resnet, preactivation": {"name": "resnet", "width": 4, "depth": 8, "preactivation": True},
    "wrn": {"name": "wrn", "widen": 1, "depth": 10},
    "vgg": {"name": "vgg", "width": 2},
}


def build(name: str, **changes: Any) -> tuple[nn.Module, Tensor]:
    """Return a network whose statistics, scales and biases are away from where they begin, and inputs for it."""
    torch.manual_seed(0)
    network = models.build_network({**IMAGES[name], **changes}, in_shape=(1, 8, 8), out_features=3)
    with torch.no_grad():
        for key, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.dim() == 1:
                tensor.add_(0.3 * torch.randn_like(tensor))
    return network.eval(), torch.randn(8, 1, 8, 8)


def step(network: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor) -> None:
    optimizer.zero_grad()
    network(inputs).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("name", IMAGES)
def test_deeper_keeps_the_function(name: str) -> None:
    network, inputs = build(name)
    before, depth = network(inputs).detach(), len(activations(network))
    for behind in activations(network):
        deepen(network, behind, inputs)
    assert len(activations(network)) == 2 * depth > 0
    with torch.no_grad():
        after = network.eval()(inputs)
    assert float((after - before).abs().max() / before.abs().max()) < 1e-5


class TestDeeper:
    def test_undoes_and_inserts_again(self) -> None:
        network, inputs = build("convnet")
        fresh = copy.deepcopy(network)
        names = list(network.state_dict())
        made = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
        step(network, made, inputs)
        layer = deepen(network, activations(network)[0], inputs, optimizer=made)
        step(network, made, inputs)
        insert(fresh, layer)
        fresh.load_state_dict(network.state_dict())
        assert torch.equal(fresh.eval()(inputs), network.eval()(inputs))
        take_out(network, layer, made)
        assert list(network.state_dict()) == names
        assert sum(len(group["params"]) for group in made.param_groups) == len(list(network.parameters()))
        step(network, made, inputs)

    @pytest.mark.parametrize("fused", [False, True])
    @pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
    def test_new_layers_learn(self, kind: Any, fused: bool) -> None:
        network, inputs = build("mlp")
        options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        made = kind(network.parameters(), lr=0.1, fused=fused, **options)
        step(network, made, inputs)
        layer = deepen(network, activations(network)[0], inputs, optimizer=made)
        before = network.get_submodule(layer["behind"])[1].weight.detach().clone()
        step(network, made, inputs)
        assert not torch.equal(network.get_submodule(layer["behind"])[1].weight, before)

    @pytest.mark.parametrize("activation", ["tanh", "leaky_relu", "gelu", "square"])
    def test_refuses_what_is_not_idempotent(self, activation: str) -> None:
        network, inputs = build("mlp", activation=activation)
        with pytest.raises(ValueError, match=r"'hidden\.1' must be an activation f with f\(f\(x\)\) = f\(x\)"):
            deepen(network, "hidden.1", inputs)
        assert not activations(network)

    def test_refuses_wrong_names_and_kernels(self) -> None:
        network, inputs = build("convnet")
        with pytest.raises(ValueError, match="Did you mean"):
            deepen(network, activations(network)[0] + "0", inputs)
        with pytest.raises(ValueError, match="kernel must be odd"):
            deepen(network, activations(network)[0], inputs, kernel=2)

    def test_refuses_an_activation_used_twice(self) -> None:
        class Twice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second, self.activation = nn.Linear(3, 4), nn.Linear(4, 5), nn.ReLU()

            def forward(self, inputs: Tensor) -> Tensor:
                return self.activation(self.second(self.activation(self.first(inputs))))

        with pytest.raises(ValueError, match="must be called once a pass"):
            deepen(Twice(), "activation", torch.randn(2, 3))
