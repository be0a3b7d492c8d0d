"""Parameter counts of wide residual networks, in millions, for 10 classes of 32x32 colour images."""

import pytest
import torch
from torch import nn

from kirigami.models import build_network
from kirigami.models.networks import ResNet


def on_meta(config: dict) -> nn.Module:
    with torch.device("meta"):
        return build_network(config, in_shape=(3, 32, 32), out_features=10)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def count_shared(network: ResNet, templates: int) -> int:
    """Count what is left when the 3x3 convolutions of a stage, but those of its first block, mix shared templates."""
    total = count(network)
    for stage in network.stages:
        weights = [m.weight for block in stage[1:] for m in block.modules() if isinstance(m, nn.Conv2d)]
        assert len({weight.shape for weight in weights}) == 1
        total += (templates - len(weights)) * weights[0].numel() + templates * len(weights)
    return total


@pytest.mark.parametrize(("depth", "widen", "millions"), [(28, 10, 36.48), (28, 4, 5.85), (16, 4, 2.75), (40, 4, 8.95)])
def test_wide_network(depth: int, widen: int, millions: float) -> None:
    network = on_meta({"name": "wrn", "depth": depth, "widen": widen})
    assert count(network) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(
    ("widen", "templates", "millions"),
    [(10, 1, 12.29), (10, 2, 17.13), (10, 4, 26.80), (10, 6, 36.48), (4, 1, 1.98), (4, 2, 2.75)],
)
def test_shared_wide_network(widen: int, templates: int, millions: float) -> None:
    network = on_meta({"name": "wrn", "depth": 28, "widen": widen})
    assert count_shared(network, templates) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (56, 0.85)])
def test_residual_network(depth: int, millions: float) -> None:
    """The table of He et al. (CVPR 2016), whose shortcuts have no weights, to two digits."""
    network = on_meta({"name": "resnet", "depth": depth})
    assert count(network) / 1e6 == pytest.approx(millions, abs=0.01)


def test_depth_counts_layers() -> None:
    for config in ({"name": "wrn", "depth": 28, "widen": 1}, {"name": "resnet", "depth": 20}):
        layers = [
            m for m in on_meta(config).modules() if isinstance(m, nn.Linear) or getattr(m, "padding", 0) == (1, 1)
        ]
        assert len(layers) == config["depth"] - (2 if config["name"] == "wrn" else 0)
