"""A weight that stands in several places has one link, and stays one through masks, bits, files and copies."""

from typing import Any

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kirigami.models import compact, graph
from kirigami.models.bits import SMOL, Uniform
from kirigami.models.sharing import SoftSharing
from kirigami.models.sparsity import ContinuousSparsification, MagnitudePruning
from kirigami.models.technique import Technique


class Middle(nn.Module):
    """Two layers in the middle with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right, self.last = (nn.Linear(*s) for s in ((8, 6), (6, 6), (6, 6), (6, 3)))
        self.right.weight = self.left.weight

    def forward(self, rows: Tensor) -> Tensor:
        return self.last(F.relu(self.right(F.relu(self.left(F.relu(self.first(rows)))))))

    def rows(self) -> Tensor:
        return torch.randn(32, 8)


class Early(nn.Module):
    """A softmax tied to the embedding and registered before other layers, and a head after it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.decoder = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
        self.body, self.head = nn.Linear(8, 8), nn.Linear(20, 20)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.decoder(F.relu(self.body(self.embedding(tokens)))))

    def rows(self) -> Tensor:
        return torch.randint(0, 20, (32, 5))


class TiedToTheLast(Early):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.last = nn.Linear(8, 8), nn.Linear(8, 20, bias=False)
        self.last.weight = self.decoder.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.last(F.relu(self.head(F.relu(self.body(self.embedding(tokens))))))


NETWORKS = (Middle, Early, TiedToTheLast)
TECHNIQUES: dict[str, tuple[tuple[type[Technique], Any], ...]] = {
    "mask": ((MagnitudePruning, 0.3),),
    "continuous": ((ContinuousSparsification, 0.3),),
    "bits": ((Uniform, 3),),
    "learnt bits": ((SMOL, 3.0),),
    "mask and bits": ((MagnitudePruning, 0.4), (Uniform, 3)),
}


def compressed(network: nn.Module, names: str) -> list[Technique]:
    techniques = [kind(argument) for kind, argument in TECHNIQUES[names]]
    for technique in techniques:
        technique.attach(network)
    for technique in techniques:
        technique.harden()
    return techniques


@pytest.mark.parametrize("technique", TECHNIQUES)
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_file_gives_the_network_back(kind, technique):
    network = kind().eval()
    compressed(network, technique)
    rows, decoded = network.rows(), compact.decode(compact.encode(network), kind().eval())
    with torch.no_grad():
        assert torch.equal(decoded(rows), network(rows))
        assert torch.equal(compact.plain(network)(rows), network(rows))


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_copy_without_links_and_the_file_keep_the_tie(technique):
    network = Early().eval()
    compressed(network, technique)
    copied = compact.plain(network)
    assert copied.embedding.weight is copied.decoder.weight
    untied = compact.plain(network)
    untied.decoder.weight = nn.Parameter(torch.randn(20, 8))
    assert compact.encoded_bytes(network) < compact.encoded_bytes(untied)


def test_a_shared_weight_counts_once():
    network = Middle()
    (technique,) = compressed(network, "mask")
    assert technique.report()["masked_weights"] == 8 * 6 + 6 * 6
    assert list(technique.links) == ["first", "left"]
    assert torch.equal(network.left.weight, network.right.weight)


def test_what_is_tied_to_the_last_layer_is_left_out_with_it():
    network = TiedToTheLast()
    (technique,) = compressed(network, "mask")
    assert list(technique.links) == ["body", "head"] or list(technique.links) == ["head", "body"]
    assert network.decoder.weight is network.last.weight


def test_a_trained_tie_is_restored_from_its_recipe():
    network = Early()
    techniques = compressed(network, "mask and bits")
    fresh = Early()
    for (kind, argument), trained in zip(TECHNIQUES["mask and bits"], techniques, strict=True):
        kind(argument).restore(fresh, trained.recipe())
    fresh.load_state_dict(network.state_dict())
    rows = network.rows()
    assert torch.equal(fresh.eval()(rows), network.eval()(rows))


def test_soft_sharing_leaves_ties_alone():
    network = Middle()
    with pytest.raises(ValueError, match="no two layers of one shape"):
        SoftSharing(2).attach(network)


def test_links_of_their_own_in_two_places_are_refused():
    network = Middle()
    for layer in (network.left, network.right):
        technique = Uniform(3, names=[name for name, module in network.named_modules() if module is layer])
        technique.prepare(network)
        nn.utils.parametrize.register_parametrization(layer, "weight", technique.link("x", layer))
    for layer in (network.left, network.right):
        for link in layer.parametrizations.weight:
            link.harden()
    with pytest.raises(ValueError, match=r"left\.weight and right\.weight are one Parameter"):
        compact.encode(network)


def test_onnx_stores_a_tie_once():
    network = Early().eval()
    compressed(network, "mask")
    model = onnx.load_from_string(graph.to_onnx(network, network.rows()[:2]))
    assert [20, 8] in (shapes := [list(tensor.dims) for tensor in model.graph.initializer])
    assert shapes.count([20, 8]) + shapes.count([8, 20]) == 1
