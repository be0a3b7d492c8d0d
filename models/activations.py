"""Element-wise activations by name, the non-monotonic ones among them; two of them learn their shape."""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

import torch
from torch import Tensor, nn

from kirigami.errors import ArgumentError, choose


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


class LearnedSwish(nn.Module):
    """Return x·σ(βx) with one β that is learned (Ramachandran et al., "Searching for Activation Functions", 2017).

    It begins as SiLU. β = 0 gives x/2, large β nears ReLU. β has no axis, so that no weight decay pulls on it.

    Args:
        slope: β at the beginning.
    """

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(float(slope)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map a tensor of any shape element by element."""
        return inputs * torch.sigmoid(self.slope * inputs)


class LearnedSine(nn.Module):
    """Return sin(ωx) with one ω that is learned.

    Periodic units may have many local minima (Parascandolo et al., "Taming the Waves", 2017), and their range of
    frequencies decides what they can learn (Sitzmann et al., SIREN, NeurIPS 2020, equation 3, where ω is fixed at 30
    for coordinates). ω has no axis, so that no weight decay pulls on it.

    Args:
        frequency: ω at the beginning, in radians per unit of the input.
    """

    def __init__(self, frequency: float = 1.0) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.tensor(float(frequency)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map a tensor of any shape element by element."""
        return torch.sin(self.frequency * inputs)


LEARNED = (LearnedSwish, LearnedSine)
"""Those with a number of their own, one for all units of a layer."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "swish_learned": LearnedSwish,
    "mish": nn.Mish,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "square": Square,
    "sin": Sine,
    "sin_learned": LearnedSine,
    "gaussian": Gaussian,
    "identity": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """Build the activation called `name`.

    Raises:
        ValueError: The name is unknown; the message lists the known ones.
    """
    return ACTIVATIONS[choose("activation", name, ACTIVATIONS)]()


def activations(names: str | Sequence[str]) -> Iterator[nn.Module]:
    """Yield the activations of a network's layers, from its input to its output, without end.

    Args:
        names: One name for all layers, or a list with one a layer; behind its end it starts again, so that
            [relu, sin] alternates in a network of any depth.

    Raises:
        ValueError: A name is unknown, or the list is empty.
    """
    listed = [names] if isinstance(names, str) or not isinstance(names, Sequence) else list(names)
    if not listed:
        raise ArgumentError("activation", "must be a name or a list of names, but got an empty list.")
    for name in listed:
        choose("activation", name, ACTIVATIONS)
    return map(activation, cycle(listed))
