"""Every activation maps element by element, has a gradient, and runs under vmap."""

import pytest
import torch
from torch.func import grad, vmap

from models.activations import ACTIVATIONS, activation

NON_MONOTONIC = ("gelu", "silu", "swish", "mish", "square", "sin", "gaussian")
POINTS = torch.linspace(-3, 3, 101)


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


def test_swish_is_silu() -> None:
    assert torch.equal(activation("swish")(POINTS), activation("silu")(POINTS))


@pytest.mark.parametrize("name", ["Relu", "", None, 3])
def test_unknown_name(name: object) -> None:
    with pytest.raises(ValueError, match=r"^network.activation must be one of \(relu, .*\), but got"):
        activation(name)  # type: ignore[arg-type]
