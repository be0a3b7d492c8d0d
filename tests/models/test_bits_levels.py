"""The p-bit code and what it costs to store."""

import math

import pytest
import torch
from torch.func import grad, vmap

from kirigami.models.bits.levels import decode, encode, integers, quantise, step
from kirigami.models.bits.stored import code_length, entropy, layer_sizes

ONE = torch.tensor(1.0)


@pytest.mark.parametrize("bits", range(1, 9))
class TestCode:
    def test_has_all_odd_multiples_and_no_others(self, bits: int) -> None:
        weight = torch.linspace(-2.2, 2.2, 20_001)
        p = torch.tensor(bits)
        codes = decode(encode(weight, p, ONE), p, ONE).unique()
        codes = codes[codes != 0]  # the grid's middle is exactly 0
        expected = [k * 2.0 ** (1 - bits) for k in range(1 - 2**bits, 2**bits, 2)]
        assert codes.tolist() == expected

    def test_largest_error_is_a_step(self, bits: int) -> None:
        weight = torch.linspace(-2, 2, 10_000)  # without 0
        p = torch.tensor(bits)
        error = (weight - decode(encode(weight, p, ONE), p, ONE)).abs().max()
        assert error <= 2.0 ** (1 - bits) + 1e-6
        assert error > 0.99 * 2.0 ** (1 - bits)

    def test_integers_decode_to_the_same_bits(self, bits: int) -> None:
        generator = torch.Generator().manual_seed(bits)
        weight, scale = torch.randn(64, 33, generator=generator), torch.tensor(0.0371)
        p = torch.tensor(bits, dtype=torch.uint8)
        levels = integers(encode(weight, p, scale), p)
        assert levels.dtype == (torch.int16 if bits == 8 else torch.int8)
        assert torch.equal(decode(levels, p, scale), quantise(weight, p, scale, 2 * scale))

    def test_decodes_with_one_rounding(self, bits: int) -> None:
        """Double precision, rounded once at the end, finds the same numbers."""
        levels = torch.arange(1 - 2**bits, 2**bits, 2)
        scale = torch.tensor(0.1234567)
        exact = (levels.double() * 2.0 ** (1 - bits) * scale.double()).float()
        assert torch.equal(decode(levels.short(), torch.tensor(bits), scale), exact)


class TestMixedBits:
    def test_each_weight_has_its_own(self) -> None:
        weight = torch.tensor([0.3, 0.3, 0.3, -1.9])
        bits = torch.tensor([1, 2, 3, 2], dtype=torch.uint8)
        assert decode(encode(weight, bits, ONE), bits, ONE).tolist() == [1.0, 0.5, 0.25, -1.5]

    def test_zero_stays_zero_whatever_the_bits(self) -> None:
        bits = torch.tensor([0, 1, 8], dtype=torch.uint8)
        levels = encode(torch.zeros(3), bits, ONE)
        assert decode(levels, bits, ONE).tolist() == [0.0, 0.0, 0.0]

    def test_steps_are_exact(self) -> None:
        assert step(torch.arange(9, dtype=torch.uint8)).tolist() == [2.0 ** (1 - p) for p in range(9)]


class TestGradient:
    def test_passes_as_if_nothing_were_rounded(self) -> None:
        weight = torch.tensor([0.3, -0.8, 1.4], requires_grad=True)
        (quantise(weight, torch.tensor(2), ONE, torch.tensor(1.5)) * torch.tensor([1.0, 2.0, -3.0])).sum().backward()
        assert weight.grad.tolist() == [1.0, 2.0, -3.0]

    def test_outside_only_the_way_back_is_open(self) -> None:
        weight = torch.tensor([1.7, 1.7, -1.7, -1.7], requires_grad=True)
        (
            quantise(weight, torch.tensor(2), ONE, torch.tensor(1.5)) * torch.tensor([1.0, -1.0, 1.0, -1.0])
        ).sum().backward()
        assert weight.grad.tolist() == [1.0, 0.0, 0.0, -1.0]

    def test_under_vmap(self) -> None:
        weights = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
        slope = torch.arange(5.0)

        def loss(weight: torch.Tensor) -> torch.Tensor:
            return (quantise(weight, torch.tensor(2), ONE, torch.tensor(9.0)) * slope).sum()

        assert torch.equal(vmap(grad(loss))(weights), slope.expand(3, 5))


class TestStored:
    def test_entropy(self) -> None:
        assert entropy(torch.tensor([1, 1, 2, 2])) == pytest.approx(1.0)
        assert entropy(torch.tensor([3, 3, 3])) == pytest.approx(0.0)

    def test_code_length_of_a_known_sequence(self) -> None:
        """The mixture gives 0, 0, 1 the chances 1/2, 3/4, 1/6."""
        assert code_length(torch.tensor([0, 0, 1]), 2) == pytest.approx(-math.log2(1 / 2 * 3 / 4 * 1 / 6))

    def test_code_length_pays_for_learning(self) -> None:
        symbols = torch.randint(3, (500,), generator=torch.Generator().manual_seed(0))
        bound = 500 * entropy(symbols)
        assert bound < code_length(symbols, 3) < bound + 20

    def test_uniform_layer(self) -> None:
        levels = torch.tensor([-1, 1] * 50, dtype=torch.int8)
        sizes = layer_sizes({"levels": levels, "bits": torch.tensor(1, dtype=torch.uint8), "scale": ONE})
        assert sizes == {"map": 8.0, "levels": 100.0, "scale": 32.0}

    def test_zeros_are_paid_for_once(self) -> None:
        levels = torch.tensor([-1, 0] * 50, dtype=torch.int8)
        scalar = layer_sizes({"levels": levels, "bits": torch.tensor(1, dtype=torch.uint8), "scale": ONE})
        mapped = layer_sizes({"levels": levels, "bits": (levels != 0).to(torch.uint8), "scale": ONE})
        assert scalar["map"] == pytest.approx(8 + code_length(levels == 0, 2))
        assert 100 < mapped["map"] < 130
        assert mapped["levels"] == scalar["levels"] <= 50
