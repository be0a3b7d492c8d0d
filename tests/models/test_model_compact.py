"""A network goes to bytes and comes back to the bit, whatever links its weights have."""

import copy

import pytest
import torch
from safetensors.torch import load
from test_model_networks import CASES, batch, build
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kirigami.models import build_network
from kirigami.models.bits import SMOL, Uniform
from kirigami.models.bits.levels import decode as decode_levels
from kirigami.models.bits.levels import encode as encode_levels
from kirigami.models.compact import decode, decode_state, encode, plain, read
from kirigami.models.sharing import SoftSharing
from kirigami.models.sparsity import ContinuousSparsification, RandomPruning
from kirigami.models.technique import Link, chosen

IMAGES = {"in_shape": (1, 8, 8), "out_features": 10}


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
    network = build_network({"name": "resnet", "depth": 14, "width": 8, **config}, **IMAGES)
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


def chained(chain: str) -> nn.Module:
    network = trained()
    for link in CHAINS[chain]:
        link(network)
    return network


def forms(data: bytes) -> dict[str, str]:
    """Return the form of each tensor in a file."""
    return {name: part.form for name, part in read(data).parts.items()}


@pytest.mark.parametrize("chain", CHAINS)
class TestChain:
    def test_outputs_come_back_to_the_bit(self, chain: str) -> None:
        network, inputs = chained(chain), torch.randn(20, 1, 8, 8)
        other = trained(seed=1)
        before = copy.deepcopy(network)(inputs)
        assert not torch.equal(other(inputs), before)
        decode(encode(network), other)
        assert torch.equal(other(inputs), before)
        assert torch.equal(network(inputs), before)  # encoding leaves the network as it was

    def test_every_tensor_comes_back_to_the_bit(self, chain: str) -> None:
        network = chained(chain)
        state = decode_state(encode(network))
        wanted = {k: v for k, v in plain(network).state_dict().items() if not k.endswith("num_batches_tracked")}
        assert set(state) == set(wanted)
        for name, value in wanted.items():
            assert state[name].dtype == value.dtype
            assert torch.equal(state[name], value), name

    def test_same_network_same_bytes(self, chain: str) -> None:
        assert encode(chained(chain)) == encode(chained(chain))


@pytest.mark.parametrize("case", CASES)
def test_every_network_comes_back(case: str) -> None:
    network = build(case)
    network(batch(case))
    restored = decode(encode(network.eval()), lambda: build(case, seed=1)).eval()
    assert torch.equal(restored(batch(case)), network(batch(case)))


class TestTensors:
    @pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"])
    @pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4, 2)])
    def test_types_and_shapes(self, dtype: str, shape: tuple[int, ...]) -> None:
        value = (100 * torch.randn(shape)).to(getattr(torch, dtype))
        assert_comes_back(value)

    def test_numbers_that_are_none(self) -> None:
        value = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-42, 3.0])
        assert_comes_back(value)
        assert_comes_back(value.repeat(200))

    def test_truths(self) -> None:
        assert_comes_back(torch.rand(7, 3) < 0.5)

    def test_views(self) -> None:
        assert_comes_back(torch.randn(6, 8)[::2].T)

    def test_what_does_not_last_is_left_out(self) -> None:
        network = nn.Module()
        network.register_buffer("passing", torch.ones(3), persistent=False)
        network.register_buffer("lasting", torch.ones(3))
        assert list(decode_state(encode(network))) == ["lasting"]


def assert_comes_back(value: Tensor) -> None:
    network = nn.Module()
    network.register_buffer("value", value)
    found = decode_state(encode(network))["value"]
    assert found.dtype == value.dtype
    assert found.shape == value.shape
    wanted = (
        value.contiguous() if value.dtype == torch.bool else torch.where(value == 0, torch.zeros_like(value), value)
    )
    got = found if found.dtype == torch.bool else torch.where(found == 0, torch.zeros_like(found), found)
    assert got.reshape(-1).view(torch.uint8).equal(wanted.reshape(-1).view(torch.uint8))


def test_plain_copy_leaves_the_original_whole() -> None:
    network, inputs = chained("share, mask, bits"), torch.randn(5, 1, 8, 8)
    before = network(inputs)
    copied = plain(network)
    assert not any(parametrize.is_parametrized(module) for module in copied.modules())
    assert torch.equal(copied(inputs), before)
    assert torch.equal(network(inputs), before)


TOGETHER = {
    "random, uniform": ([RandomPruning, {"density": 0.3}], [Uniform, {"bits": 2}]),
    "learnt, learnt": ([ContinuousSparsification, {"density": 0.3}], [SMOL, {}]),
    "shared, learnt": ([SoftSharing, {"templates": 2}], [ContinuousSparsification, {"density": 0.8}]),
    "shared, random, learnt": ([SoftSharing, {"templates": 2}], [RandomPruning, {"density": 0.3}], [SMOL, {}]),
}


@pytest.mark.parametrize("together", TOGETHER)
def test_techniques_are_stored_by_their_parts(together: str) -> None:
    network, inputs = trained(), torch.randn(20, 1, 8, 8)
    techniques = [technique(**arguments) for technique, arguments in TOGETHER[together]]
    for technique in techniques:
        technique.attach(network)
    with torch.no_grad():  # masks and bits that were learnt differ
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    for technique in techniques:
        technique.harden()
    wanted = "mixed" if together == "shared, learnt" else "levels"
    found = forms(encode(network))
    for name, layer in chosen(network, None).items():
        if parametrize.is_parametrized(layer):
            shares = len(layer.parametrizations.weight) == len(TOGETHER[together])
            assert found[f"{name}.weight"] == (wanted if shares or wanted == "levels" else "sparse")
    assert torch.equal(decode(encode(network), trained(seed=1))(inputs), network(inputs))


def test_any_reader_of_safetensors_opens_it() -> None:
    data = encode(nn.Linear(3, 3))
    tensors = load(data)
    assert list(tensors) == ["kgm"]
    assert tensors["kgm"].dtype == torch.uint8
    assert tensors["kgm"].numel() < len(data) < tensors["kgm"].numel() + 70
