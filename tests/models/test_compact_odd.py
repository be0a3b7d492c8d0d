"""What cannot be encoded, or is not of the network, is refused; odd parts of a link cost bytes but nothing else."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kirigami.models import build_network
from kirigami.models.compact import decode, decode_state, encode
from kirigami.models.sparsity import MagnitudePruning
from tests.models.compact_networks import IMAGES, Coded, forms, trained


class TestRefusals:
    def test_soft_links(self) -> None:
        network = trained()
        MagnitudePruning(0.1).attach(network)
        with pytest.raises(ValueError, match=r"stem.*weight is still soft. Harden its \w*Mask before it is encoded."):
            encode(network)

    def test_networks_without_values(self) -> None:
        with pytest.raises(ValueError, match=r"weight has no values, being on the meta device"):
            encode(nn.Linear(2, 2, device="meta"))

    def test_types_that_are_unknown(self) -> None:
        with pytest.raises(ValueError, match=r"weight is of type complex64 .* and cannot be encoded."):
            encode(nn.Linear(2, 2, dtype=torch.complex64))

    def test_states_that_are_no_tensors(self) -> None:
        class Keeper(nn.Module):
            def get_extra_state(self) -> dict[str, int]:
                return {"seen": 3}

        with pytest.raises(ValueError, match=r"Keeper keeps a state that is no tensor"):
            encode(Keeper())

    def test_other_networks(self) -> None:
        network = build_network({"name": "mlp", "width": 8}, **IMAGES)
        untouched = copy.deepcopy(network.state_dict())
        with pytest.raises(ValueError, match=r"^the file is of another network: [^\n]*$"):
            decode(encode(trained()), network)
        with pytest.raises(ValueError, match=r"has shape \[16, 64\] in the file and \[8, 64\] in the network"):
            decode(encode(build_network({"name": "mlp", "width": 16}, **IMAGES)), network)
        with pytest.raises(
            ValueError, match=r"weight as float32, but the network as float64. Convert the network first"
        ):
            decode(encode(network), copy.deepcopy(network).double())
        assert all(torch.equal(value, untouched[name]) for name, value in network.state_dict().items())


class Odd(Coded):
    """Says of itself what is not so, or nothing that is known."""

    def __init__(self, weight: Tensor, change: object) -> None:
        super().__init__(weight, torch.tensor(3, dtype=torch.uint8))
        self.change = change

    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        return self.change(**super().parts(weight))  # type: ignore[operator]


class TestOddParts:
    CHANGES = {
        "nothing": lambda levels, bits, scale: {},
        "other levels": lambda levels, bits, scale: {"levels": -levels, "bits": bits, "scale": scale},
        "even levels": lambda levels, bits, scale: {"levels": levels * 2, "bits": bits, "scale": scale / 2},
        "fewer bits": lambda levels, bits, scale: {"levels": levels, "bits": bits - 1, "scale": scale / 2},
        "many bits": lambda levels, bits, scale: {"levels": levels, "bits": bits + 6, "scale": scale * 64},
        "levels with a point": lambda levels, bits, scale: {"levels": levels / 1, "bits": bits, "scale": scale},
    }

    @pytest.mark.parametrize("change", CHANGES)
    def test_cost_bytes_but_nothing_else(self, change: str) -> None:
        network = nn.Sequential(nn.Linear(9, 30), nn.Linear(30, 3))
        parametrize.register_parametrization(network[0], "weight", Odd(network[0].weight, self.CHANGES[change]))
        data = encode(network)
        assert forms(data)["0.weight"] == "palette"
        assert torch.equal(decode_state(data)["0.weight"], network[0].weight)
