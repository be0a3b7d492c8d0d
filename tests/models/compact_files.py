"""Compact files that hold every form of a tensor, and their parts, to be damaged and closed again."""

import copy
import functools

import pytest
import torch
from torch import nn

from kirigami.models.bits.uniform import Uniform
from kirigami.models.compact import coder, container, encode, read
from kirigami.models.compact import plan as plans
from kirigami.models.compact.plan import Cursor, Extra, Record
from kirigami.models.compact.streams import Reader, Writer, packed
from kirigami.models.compact.text import put_bytes, take_bytes
from kirigami.models.sharing.soft import SoftSharing
from kirigami.models.sparsity.magnitude import MagnitudePruning


@functools.cache
def sample() -> bytes:
    """Return a file with most of the forms there are."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *[nn.Linear(12, 12) for _ in range(4)], nn.Linear(12, 9), nn.BatchNorm1d(9), nn.Linear(9, 2)
    )
    network.register_buffer("steps", torch.arange(5))
    network.register_buffer("again", torch.arange(5))
    network.register_buffer("open", torch.rand(4, 4) < 0.5)
    with torch.no_grad():
        network[6].bias.copy_(network[6].bias.mean())
        network[4].bias.copy_(torch.tensor([0.3, 1.7, 0.3]).repeat(3))
    for technique in (
        SoftSharing(templates=2, groups=[["0", "1", "2"]]),
        MagnitudePruning(0.5, names=["0", "3", "4"]),
        Uniform(3, names=["4"]),
    ):
        technique.attach(network)
        technique.harden()
    return encode(network, extra={"graph": b"\x08\x0a graph of nodes " * 3, "none": b""})


def opened(data: bytes) -> tuple[list[Record], list[Extra], list[int], list[int], bytes]:
    """Return the plan of a file, all modelled bits after it with their chances, and what is not modelled."""
    return copy.deepcopy(_opened(data))


@functools.cache
def _opened(data: bytes) -> tuple[list[Record], list[Extra], list[int], list[int], bytes]:
    body, _ = container.unseal(data)
    sizes = Cursor(body)
    plan_size, code_size = sizes.number(), sizes.number()
    code, rest = body[sizes.at : sizes.at + code_size], body[sizes.at + code_size :]
    reader = Reader(code, rest)
    records, extras = plans.read(take_bytes(plan_size, reader))
    bits: list[int] = []
    odds: list[int] = []
    seen = coder.Decoder.bit

    def bit(decoder: coder.Decoder, chance: int) -> int:
        odds.append(chance)
        bits.append(seen(decoder, chance))
        return bits[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coder.Decoder, "bit", bit)
        read(data)
    return records, extras, bits[8 * plan_size :], odds[8 * plan_size :], rest


def closed(records: list[Record], extras: list[Extra], bits: list[int], odds: list[int], rest: bytes) -> bytes:
    """Return a file of such parts, which is damaged only where they are."""
    plan = plans.write(records, extras)
    head = Writer()
    put_bytes(plan, head)
    code = coder.encode(head.bits + bits, head.chances + odds)
    return container.seal(packed([len(plan), len(code)]) + code + rest, [])


@functools.cache
def alike() -> bytes:
    """Return a file in which masks and codes of layers are alike, with a stream of either kind."""
    torch.manual_seed(0)
    network = nn.Sequential(*[nn.Conv2d(8, 8, 3) for _ in range(5)], nn.Linear(8, 2))
    with torch.no_grad():
        for place in (1, 3):
            network[place].weight.copy_(1.25 * network[place - 1].weight)
    for technique in (MagnitudePruning(0.3, names=["0", "1"]), Uniform(3, names=list("0123")), Uniform(8, names=["4"])):
        technique.attach(network)
        technique.harden()
    return encode(network, extra={"graph": b"nodes " * 9, "zeros": bytes(1 << 16)})


@functools.cache
def large() -> bytes:
    """Return a file of so many floats that most are not modelled, with float64, rounded numbers and repeated ones."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(120, 120), nn.Linear(120, 30, dtype=torch.float64))
    network.register_buffer("rounded", (torch.randn(400) * 64).round() / 64)
    network.register_buffer("again", torch.randn(300).repeat(4))
    return encode(network)
