"""A network goes to bytes and comes back to the bit, whatever links its weights have."""

import pytest
import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kirigami.models.bits import SMOL, Uniform
from kirigami.models.compact import decode, decode_state, encode, plain
from kirigami.models.sharing import SoftSharing
from kirigami.models.sparsity import ContinuousSparsification, RandomPruning
from kirigami.models.technique import chosen
from tests.models.compact_networks import CHAINS, chained, encoded, forms, trained
from tests.models.network_cases import CASES, batch, build


@pytest.mark.parametrize("chain", CHAINS)
class TestChain:
    def test_outputs_come_back_to_the_bit(self, chain: str) -> None:
        network, other, inputs = chained(chain), trained(seed=1), torch.randn(20, 1, 8, 8)
        outputs = network(inputs)
        assert not torch.equal(other(inputs), outputs)
        assert torch.equal(decode(encoded(chain), other)(inputs), outputs)

    def test_every_tensor_comes_back_to_the_bit(self, chain: str) -> None:
        state = decode_state(encoded(chain))
        wanted = {k: v for k, v in plain(chained(chain)).state_dict().items() if not k.endswith("num_batches_tracked")}
        assert set(state) == set(wanted)
        for name, value in wanted.items():
            assert state[name].dtype == value.dtype
            assert torch.equal(state[name], value), name

    def test_same_network_same_bytes_and_encoding_leaves_it_as_it_was(self, chain: str) -> None:
        network, inputs = chained(chain), torch.randn(20, 1, 8, 8)
        outputs = network(inputs)
        assert encode(network) == encoded(chain)
        assert torch.equal(network(inputs), outputs)


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
    data = encode(network)
    stored = forms(data)
    for name, layer in chosen(network, None).items():
        if parametrize.is_parametrized(layer):
            shares = len(layer.parametrizations.weight) == len(TOGETHER[together])
            assert stored[f"{name}.weight"] == (wanted if shares or wanted == "levels" else "sparse")
    assert torch.equal(decode(data, trained(seed=1))(inputs), network(inputs))


def test_any_reader_of_safetensors_opens_it() -> None:
    data = encode(nn.Linear(3, 3))
    tensors = load(data)
    assert list(tensors) == ["kgm"]
    assert tensors["kgm"].dtype == torch.uint8
    assert tensors["kgm"].numel() < len(data) < tensors["kgm"].numel() + 70
