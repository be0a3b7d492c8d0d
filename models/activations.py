"""Element-wise activations by name, the non-monotonic ones among them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.arguments import choose


class Square(nn.Module):
    """Return x²."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Map a tensor of any shape element by element."""
        return inputs.square()


class Sine(nn.Module):
    """Return sin(ωx).

    Args:
        frequency: ω, in radians per unit of the input.
    """

    def __init__(self, frequency: float = 1.0) -> None:
        super().__init__()
        self.frequency = frequency

    def forward(self, inputs: Tensor) -> Tensor:
        """Map a tensor of any shape element by element."""
        return torch.sin(self.frequency * inputs)


class Gaussian(nn.Module):
    """Return exp(−x²)."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Map a tensor of any shape element by element."""
        return torch.exp(-inputs.square())


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "square": Square,
    "sin": Sine,
    "gaussian": Gaussian,
    "identity": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """Build the activation called `name`.

    Raises:
        ValueError: The name is unknown; the message lists the known ones.
    """
    return ACTIVATIONS[choose("network.activation", name, ACTIVATIONS)]()
