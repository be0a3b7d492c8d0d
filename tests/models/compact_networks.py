"""Networks whose weights have every chain of links that a compact file has to hold, and their files."""

import functools

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kirigami.models import build_network
from kirigami.models.bits.levels import decode as decode_levels
from kirigami.models.bits.levels import encode as encode_levels
from kirigami.models.compact import encode, read
from kirigami.models.sharing import SoftSharing
from kirigami.models.technique import Link, chosen

IMAGES = {"in_shape": (1, 8, 8), "out_features": 10}
RESNET = {"name": "resnet", "depth": 14, "width": 4}


class Masked(Link):
    """Keeps a share of a weight, times a number, as a mask that was soft does."""

    stage = "mask"

    def __init__(self, weight: Tensor, density: float, factor: float) -> None:
        super().__init__()
        self.hard = True
        generator = torch.Generator().manual_seed(weight.numel())
        self.register_buffer("kept", torch.rand(weight.shape, generator=generator) < density)
        self.factor = factor

    def forward(self, weight: Tensor) -> Tensor:
        return weight * (self.kept / self.factor)

    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        return {"kept": self.kept}


class Coded(Link):
    """Codes each weight with bits of its own, or each output channel, or the whole layer."""

    stage = "quantise"

    def __init__(self, weight: Tensor, bits: Tensor) -> None:
        super().__init__()
        self.hard = True
        self.register_buffer("bits", bits)
        self.register_buffer("scale", weight.detach().std())

    def forward(self, weight: Tensor) -> Tensor:
        return decode_levels(encode_levels(weight, self.bits, self.scale), self.bits, self.scale)

    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        levels = encode_levels(weight, self.bits, self.scale).to(torch.int16)
        return {"levels": levels, "bits": self.bits, "scale": self.scale}


class Doubled(nn.Module):
    """A parametrization of somebody else."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * 2


def trained(seed: int = 0, **config: object) -> nn.Module:
    """Return a network whose norms have seen data, in evaluation mode."""
    torch.manual_seed(seed)
    network = build_network({**RESNET, **config}, **IMAGES)
    for _ in range(2):
        network(torch.randn(16, 1, 8, 8))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def masked(network: nn.Module) -> None:
    add(network, lambda weight: Masked(weight, 0.2, 1.0))


def scaled(network: nn.Module) -> None:
    add(network, lambda weight: Masked(weight, 0.2, 0.7))


def emptied(network: nn.Module) -> None:
    add(network, lambda weight: Masked(weight, 0.0, 1.0))


def coded(network: nn.Module) -> None:
    add(network, lambda weight: Coded(weight, torch.tensor(3, dtype=torch.uint8)))


def coded_by_channel(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    shape = lambda weight: (len(weight), *[1] * (weight.dim() - 1))  # noqa: E731
    add(network, lambda weight: Coded(weight, torch.randint(1, 9, shape(weight), generator=generator).byte()))


def coded_by_weight(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    add(network, lambda weight: Coded(weight, torch.randint(1, 9, weight.shape, generator=generator).byte()))


def shared(network: nn.Module) -> None:
    harden(network, SoftSharing(templates=2))


def doubled(network: nn.Module) -> None:
    add(network, lambda weight: Doubled())


def add(network: nn.Module, make: object) -> None:
    for layer in chosen(network, None).values():
        parametrize.register_parametrization(layer, "weight", make(layer.weight))  # type: ignore[operator]


def harden(network: nn.Module, *techniques: object) -> nn.Module:
    for technique in techniques:
        technique.attach(network)  # type: ignore[attr-defined]
        technique.harden()  # type: ignore[attr-defined]
    return network


CHAINS = {
    "none": [],
    "mask": [masked],
    "mask with a factor": [scaled],
    "mask that keeps nothing": [emptied],
    "bits": [coded],
    "bits by channel": [coded_by_channel],
    "bits by weight": [coded_by_weight],
    "mask, bits": [scaled, coded],
    "mask, bits by channel": [masked, coded_by_channel],
    "mask, bits by weight": [masked, coded_by_weight],
    "share": [shared],
    "share, mask": [shared, scaled],
    "share, mask, bits": [shared, masked, coded_by_weight],
    "somebody else's": [doubled],
    "somebody else's, mask": [doubled, masked],
}


def chained(chain: str, **config: object) -> nn.Module:
    network = trained(**config)
    for link in CHAINS[chain]:
        link(network)
    return network


def forms(data: bytes) -> dict[str, str]:
    """Return the form of each tensor in a file."""
    return {name: part.form for name, part in read(data).parts.items()}


@functools.cache
def encoded(chain: str) -> bytes:
    """Return the file of a network with a chain of links; each is encoded once."""
    return encode(chained(chain))
