"""The encoded file is as small as its parts, above the bound known before training; and may be halved."""

import pytest
import torch
import zstandard
from safetensors.torch import save
from torch import nn

from kirigami.models import build_network
from kirigami.models.bits import Uniform
from kirigami.models.compact import (
    change,
    compress_bytes,
    decode,
    decode_state,
    encode,
    encoded_bytes,
    expand_bytes,
    lower_bound,
)
from kirigami.models.sharing import SoftSharing
from kirigami.models.technique import chosen
from tests.models.compact_networks import IMAGES, RESNET, chained, encoded, forms, harden, shared, trained


class TestSize:
    def test_is_that_of_the_bytes(self) -> None:
        network = chained("mask, bits")
        assert encoded_bytes(network) == len(encoded("mask, bits"))

    def test_is_smaller_than_the_plain_file(self) -> None:
        network = trained()
        state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
        assert encoded_bytes(network) < len(save(state))

    def test_follows_mask_and_bits(self) -> None:
        """Each weight costs its bits, a mask its entropy, and every other number no more than its four bytes."""
        weights = sum(layer.weight.numel() for layer in chosen(trained(), None).values())
        others = sum(value.numel() for value in decode_state(encoded("none")).values()) - weights
        fixed = 4 * others + 1500
        assert len(encoded("bits")) < fixed + 3 / 8 * weights
        assert len(encoded("mask")) < fixed + (0.78 / 8 + 0.2 * 4) * weights
        assert len(encoded("mask, bits")) < fixed + (0.78 / 8 + 0.2 * 3 / 8) * weights

    def test_templates_are_stored_once(self) -> None:
        network = trained(depth=20)
        alone = encoded_bytes(network)
        shared(network)
        assert set(forms(encode(network)).values()) >= {"mixed"}
        assert encoded_bytes(network) < 0.5 * alone

    def test_templates_that_save_nothing_are_not_stored(self) -> None:
        network = trained(depth=20)
        harden(network, SoftSharing(templates=99))
        assert "mixed" not in forms(encode(network)).values()

    def test_tied_tensors_are_stored_once(self) -> None:
        network = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40))
        alone = encoded_bytes(network)
        network[1].weight = network[0].weight
        assert forms(encode(network))["1.weight"] == "same"
        assert encoded_bytes(network) < 0.6 * alone

    def test_counts_what_foreign_zeros_and_few_numbers_save(self) -> None:
        network = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 100))
        with torch.no_grad():
            network[0].weight.mul_(torch.rand(100, 100) < 0.1)
            network[1].weight.copy_(torch.randint(0, 5, (100, 100)) * 0.3)
        data = encode(network)
        assert forms(data)["0.weight"] == "sparse"
        assert forms(data)["1.weight"] == "palette"
        assert len(data) < 100 * 100 * (0.47 / 8 + 0.4) + 100 * 100 * (0.73 + 0.8 * 2) / 8 + 1800
        assert torch.equal(decode_state(data)["1.weight"], network[1].weight)

    @pytest.mark.parametrize("chain", ["none", "mask", "bits", "mask, bits", "bits by weight", "share", "share, mask"])
    def test_lies_above_the_bound_known_before(self, chain: str) -> None:
        plan: dict[str, float] = {"density": 0.2} if "mask" in chain else {}
        if "bits" in chain:
            plan["bits"] = 4.5 if "weight" in chain else 3
        with torch.device("meta"):
            network = build_network(RESNET, **IMAGES)
        if "share" in chain:
            SoftSharing(templates=2).attach(network)
        bound, size = lower_bound(network, **plan), len(encoded(chain))
        assert (0.25 if "weight" in chain else 0.5) * size < bound < size  # the map of bits is not planned

    def test_layers_that_mix_alike_lie_above_the_bound(self) -> None:
        network = build_network({"name": "resnet", "depth": 14, "width": 8}, **IMAGES)
        sharing, bits = SoftSharing(templates=1), Uniform(4)
        sharing.attach(network)
        bound = lower_bound(network, bits=4)
        sharing.harden()
        bits.attach(network)
        bits.harden()
        weights = sum(layer.weight.numel() for layer in chosen(network, None).values())
        size = encoded_bytes(network)
        assert bound < size < 0.75 * 4 / 8 * weights  # layers have the same codes

    def test_bound_refuses_what_cannot_be(self) -> None:
        with pytest.raises(ValueError, match=r"density must be above 0 and at most 1, but got 0."):
            lower_bound(trained(), density=0)
        with pytest.raises(ValueError, match=r"bits must be at least 1"):
            lower_bound(trained(), bits=0.5)


class TestHalf:
    def test_changes_outputs_a_little_and_says_so(self) -> None:
        network, inputs = chained("mask, bits"), torch.randn(20, 1, 8, 8)
        exact, halved = encoded("mask, bits"), encode(network, rest="float16")
        assert len(halved) < len(exact)
        assert change(network, exact, inputs) == 0
        difference = change(network, halved, inputs)
        restored = decode(halved, trained(seed=1))
        assert difference == (restored(inputs) - network(inputs)).abs().max() > 0
        assert difference < 0.01 * network(inputs).abs().max()

    def test_codes_stay_exact(self) -> None:
        network = chained("mask, bits")
        state = decode_state(encode(network, rest="float16"))
        for name, layer in chosen(network, None).items():
            assert torch.equal(state[f"{name}.weight"], layer.weight)

    def test_what_float16_cannot_hold_stays(self) -> None:
        network = nn.Linear(3, 3)
        with torch.no_grad():
            network.bias.copy_(torch.tensor([1e6, 1.0, 2.0]))
        assert torch.equal(decode_state(encode(network, rest="float16"))["bias"], network.bias)

    def test_other_types_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"rest must be one of \(float32, float16\), but got 'float8'"):
            encode(nn.Linear(2, 2), rest="float8")


class TestRowsOfBytes:
    @pytest.mark.parametrize("size", [0, 1, 2, 5, 6, 7, 8, 100, 1000, 40_000])
    def test_goes_round(self, size: int) -> None:
        for data in (bytes(size), torch.randint(0, 256, (size,), dtype=torch.uint8).numpy().tobytes()):
            packed = compress_bytes(data)
            assert expand_bytes(packed) == data
            assert len(packed) < 1.07 * size + 16

    def test_names_as_usual_cost_next_to_nothing(self) -> None:
        names = b"features.0.weight\nfeatures.1.weight\nfeatures.1.bias\nhead.linear.weight\nhead.linear.bias\n"
        assert len(compress_bytes(names)) < 40 < len(zstandard.compress(names, 19))

    def test_more_than_is_allowed_is_refused(self) -> None:
        for size in (101, 40_000):
            with pytest.raises(ValueError, match=f"declare {size} bytes, and at most 100 are allowed"):
                expand_bytes(compress_bytes(bytes(size)), 100)
        with pytest.raises(ValueError, match="cut short"):
            expand_bytes(b"")


def test_costs_are_those_of_the_file() -> None:
    from kirigami.models.compact import costs

    network = build_network({"name": "convnet", "width": 8}, in_shape=[1, 8, 8], out_features=10)
    spent, whole = costs(network), len(encode(network))
    assert set(spent) == {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    assert 0 < whole - sum(spent.values()) < 250  # header, plan and digests
    assert max(spent, key=lambda name: spent[name]).endswith("weight")
