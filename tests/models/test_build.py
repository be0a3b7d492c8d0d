"""Building networks from configs, and what a user is told who mistypes one."""

import pytest
import torch
from torch import Tensor, nn

from kirigami.errors import ArgumentError
from kirigami.models import build_network

IMAGES = {"in_shape": (1, 8, 8), "out_features": 10}


class Foreign(nn.Module):
    """A module that knows nothing of this project."""

    def __init__(self, out_features: int, hidden: int = 4) -> None:
        super().__init__()
        self.layer = nn.Linear(64, out_features)
        self.hidden = hidden

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs.flatten(1))


class NoModule:
    """A class that is no network."""


def message(config: dict, **shapes: object) -> str:
    with pytest.raises(ArgumentError) as caught:
        build_network(config, **{**IMAGES, **shapes})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"name": "mlpp"}, "Did you mean 'mlp'?"),
        ({}, "name is not set"),
        ({"name": "mlp", "widht": 3}, "widht is no argument of mlp. Did you mean 'width'?"),
        ({"name": "mlp", "in_shape": [3]}, "in_shape is no argument of mlp"),
        ({"name": "mlp", "width": "wide"}, "width must be an integer, but got 'wide'"),
        ({"name": "mlp", "width": 0}, "width must be at least 1, but got 0"),
        ({"name": "mlp", "depth": -1}, "depth must be at least 0, but got -1"),
        ({"name": "mlp", "depth": True}, "depth must be an integer, but got True"),
        ({"name": "mlp", "dropout": 1.0}, "dropout must be at least 0 and below 1, but got 1.0"),
        ({"name": "mlp", "activation": "rleu"}, "but got 'rleu'. Did you mean 'relu'?"),
        ({"name": "mlp", "norm": "bacth"}, "but got 'bacth'. Did you mean 'batch'?"),
        ({"name": "convnet", "kernel": 4}, "kernel must be odd, but got 4. Set kernel=5."),
        ({"name": "resnet", "depth": 21}, "depth must be 6n+2, but got 21. Set depth=20."),
        ({"name": "resnet", "depth": 3}, "Set depth=8."),
        ({"name": "resnet", "blocks": 0}, "blocks must be at least 1"),
        ({"name": "wrn", "depth": 27}, "depth must be 6n+4, but got 27. Set depth=22."),
        ({"name": "vgg", "depth": 12}, "depth must be one of (11, 13, 16, 19) for vgg, but got 12"),
        ({"name": "vgg", "plan": ["pool"]}, "plan must list channels"),
        ({"name": "gru"}, "name must be one of (mlp, convnet, resnet, wrn, vgg)"),
        ({"_target_": "Foreign"}, "of the form package.module.Class"),
        ({"_target_": "no_such_package.Net"}, "cannot be imported: No module named 'no_such_package'"),
        ({"_target_": f"{__name__}.Foreing"}, "cannot be imported"),
        ({"_target_": f"{__name__}.NoModule"}, "must build a torch.nn.Module"),
        ({"_target_": f"{__name__}.IMAGES"}, "must name a class"),
        ({"_target_": f"{__name__}.Foreign", "hiden": 3}, "Did you mean 'hidden'?"),
        ({"_target_": f"{__name__}.Foreign", "out_features": 3}, "out_features is no argument"),
        ({"_target_": "torch.nn.Linear", "out_features": 3}, "out_features is no argument"),
        ({"_target_": "torch.nn.Linear"}, "in_features is required by torch.nn.Linear"),
    ],
)
def test_names_the_fault(config: dict, expected: str) -> None:
    assert expected in message(config)


def test_names_networks_that_serve_the_task() -> None:
    assert "(gru, transformer) for a task of characters" in message({"name": "mlp"}, in_shape=(9,), vocabulary=7)
    assert "(convnet, resnet, wrn, vgg) for samples" in message({"name": "mlp"}, dense=True)
    assert "must be one of (mlp) for samples of shape (20,)" in message({"name": "resnet"}, in_shape=(20,))
    width = message({"name": "transformer", "width": 10}, in_shape=(9,), vocabulary=7)
    assert width == "width must be a multiple of heads=4, but got 10."


def test_builds_a_foreign_module() -> None:
    network = build_network({"_target_": f"{__name__}.Foreign", "hidden": 9}, **IMAGES)
    assert isinstance(network, Foreign)
    assert network.hidden == 9
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_ignores_what_belongs_to_another_network() -> None:
    """One branch may hold the knobs of several networks, so that a search can switch between them."""
    config = {"width": 8, "depth": 2, "kernel": 5}
    assert build_network({"name": "mlp", **config}, **IMAGES).output.in_features == 8
    assert build_network({"name": "convnet", **config}, **IMAGES).features[0].kernel_size == (5, 5)
