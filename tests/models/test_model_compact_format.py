"""Files of layers that are alike, and of many floats, are what docs/format.md says, by the reader written from it."""

import pytest
import torch
from test_model_compact_reader import Second, assert_same
from torch import nn

from kirigami.models.bits import Uniform
from kirigami.models.compact import encode, read
from kirigami.models.sparsity import MagnitudePruning


def alike() -> bytes:
    """Return a file in which masks and codes of layers are alike, with a stream of either kind."""
    network = nn.Sequential(*[nn.Conv2d(8, 8, 3) for _ in range(5)], nn.Linear(8, 2))
    with torch.no_grad():
        for place in (1, 3):
            network[place].weight.copy_(1.25 * network[place - 1].weight)
    for technique in (MagnitudePruning(0.3, names=["0", "1"]), Uniform(3, names=list("0123")), Uniform(8, names=["4"])):
        technique.attach(network)
        technique.harden()
    return encode(network, extra={"graph": b"nodes " * 9, "zeros": bytes(1 << 16)})


def large() -> bytes:
    """Return a file of so many floats that most are not modelled, with float64, rounded numbers and repeated ones."""
    network = nn.Sequential(nn.Linear(120, 120), nn.Linear(120, 30, dtype=torch.float64))
    network.register_buffer("rounded", (torch.randn(400) * 64).round() / 64)
    network.register_buffer("again", torch.randn(300).repeat(4))
    return encode(network)


@pytest.mark.parametrize(
    ("make", "marks"), [(alike, {"echo", "echoed mask", "tops"}), (large, {"many", "planes"})], ids=["alike", "large"]
)
def test_what_is_rarer_is_what_the_page_says(make: object, marks: set[str]) -> None:
    torch.manual_seed(0)
    assert callable(make)
    data = make()
    other = Second(data)
    assert_same(read(data), other)
    assert marks <= set(other.marks)
