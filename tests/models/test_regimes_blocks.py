"""Where blocks begin in networks of ours and of others, what their heads are, and which configs are refused."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kirigami.models import build_network, cost
from kirigami.models.regimes import Greedy, Local, build, find, predictor, similarity
from kirigami.models.regimes.heads import described, mismatch
from kirigami.models.regimes.phases import Phase, lengths

IMAGES = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
OURS: list[tuple[dict[str, Any], list[str]]] = [
    ({"name": "mlp", "depth": 3}, ["hidden.0", "hidden.2", "hidden.4"]),
    ({"name": "mlp", "depth": 2, "norm": "batch", "dropout": 0.2}, ["hidden.0", "hidden.4"]),
    ({"name": "convnet", "width": 4}, ["features.0", "features.4", "features.8"]),
    ({"name": "vgg", "plan": [4, 0, 8, 8]}, ["features.0", "features.4", "features.7"]),
    ({"name": "resnet", "depth": 8, "width": 4}, ["stem.0", "stages.0.0", "stages.1.0", "stages.2.0"]),
    ({"name": "wrn", "depth": 10, "widen": 1}, ["stem.0", "stages.0.0", "stages.1.0", "stages.2.0"]),
]


class Functional(nn.Module):
    """Call its features one after the other, and the rest by code of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3), nn.ReLU())
        self.last, self.drop, self.out = nn.Linear(96, 8), nn.Dropout(), nn.Linear(8, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.features(inputs * 2).flatten(1)
        return self.out(self.drop(F.relu(self.last(hidden))))


class Skipping(nn.Module):
    """Add the inputs at the end: what comes after the blocks wants more than they give."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs) + inputs


@pytest.mark.parametrize(("config", "begins"), OURS)
def test_blocks_of_ours(config: dict[str, Any], begins: list[str]) -> None:
    network = build_network(config, in_shape=(1, 8, 8), out_features=5)
    modes = [part.training for part in network.modules()]
    chain = find(network, IMAGES)
    assert [chain.names[start] for start in chain.starts] == begins
    assert [part.training for part in network.modules()] == modes
    hidden = IMAGES
    network.eval()
    for block in range(len(chain)):
        hidden = chain.run(hidden, block, block)
    assert torch.equal(hidden, network(IMAGES))
    if len(begins) > 2:
        assert len(find(network, IMAGES, layers=2)) == 2


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_sequences_have_blocks_and_heads(name: str) -> None:
    shapes = {"in_shape": (6,), "out_features": 7, "vocabulary": 7}
    network = build_network({"name": name, "width": 8, "depth": 2} | ({"heads": 2} if name != "gru" else {}), **shapes)
    characters = torch.randint(7, (4, 6), generator=torch.Generator().manual_seed(0))
    regime = Local(beta=0.0)
    regime.prepare(network, (characters, characters))
    loss = regime.step(network, lambda out, aims: F.cross_entropy(out.flatten(0, 1), aims.flatten()), [characters] * 2)
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())  # what is before the blocks, too
    with pytest.raises(ValueError, match=r"beta must be 0 unless targets are one class number a sample"):
        Local().prepare(network, (characters, characters))


def test_code_after_the_blocks_belongs_to_the_last() -> None:
    network = Functional()
    chain = find(network, IMAGES)
    assert [chain.names[start] for start in chain.starts] == ["features.0", "features.2"]
    network.eval()
    expected = network(IMAGES)
    assert torch.equal(chain.run(chain.run(IMAGES, 0, 0), 1, 1), expected)
    assert network.features[0].out_channels == 4  # the stand-ins are gone
    chain.train(1, 1)
    assert [network.features[0].training, network.features[2].training, network.drop.training] == [False, True, True]
    regime = Greedy()
    regime.prepare(network, (IMAGES, torch.zeros(4).long()))
    assert [tuple(head(chain.run(IMAGES, 0, 0)).shape) for head in regime.heads] == [(4, 5)]


def test_a_foreign_sequence() -> None:
    network = nn.Sequential(nn.Flatten(), *[nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(3)])
    assert find(network, IMAGES).starts == [0, 3]  # the last of three layers is the output
    named = find(network, IMAGES, ["0", "2", "3"])
    assert [named.names[start] for start in named.starts] == ["0", "2.0", "3.0"]


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        (["layers.0", "layer.2"], r"'layer\.2' must be a module of Skipping.*Did you mean 'layers\.2'"),
        (["layers.2", "layers.0"], r"blocks=\['layers\.2', 'layers\.0'\] is no chain in Skipping"),
        (["layers.0", "layers.2"], "is no chain in Skipping"),
        ("auto", r"^blocks=auto finds 2 of the 2 or more blocks .* in Skipping"),
        ("all", "must be auto or a list of names, but got 'all'"),
    ],
)
def test_what_is_no_chain_is_refused(blocks: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        find(Skipping(), torch.randn(4, 6), blocks)
    assert "\n" not in str(error.value)


def test_a_single_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"finds 1 of the 2 or more blocks it takes in Sequential"):
        find(nn.Sequential(nn.Linear(6, 6)), torch.randn(4, 6))


@pytest.mark.parametrize(
    ("hidden", "given", "features"),
    [
        ((9,), (3,), 9),
        ((300, 8, 8), (3,), 300 * 4),
        ((5, 8, 8), (3,), 320),
        ((4, 7), (4, 3), 7),
        ((60, 40), (3,), 2048),
    ],
)
def test_heads_have_the_outputs_shape(hidden: tuple[int, ...], given: tuple[int, ...], features: int) -> None:
    head = predictor(torch.randn(2, *hidden), torch.randn(2, *given))
    assert head(torch.randn(6, *hidden)).shape == (6, *given)
    assert next(iter(head.parameters())).shape[1] == features


def test_pixel_heads_want_the_size_of_the_outputs() -> None:
    assert predictor(torch.randn(2, 5, 4, 4), torch.randn(2, 4, 4))(torch.randn(3, 5, 4, 4)).shape == (3, 4, 4)
    with pytest.raises(ValueError, match=r"gives \(5, 2, 2\) a sample, from which no linear head makes"):
        predictor(torch.randn(2, 5, 2, 2), torch.randn(2, 4, 4))


def test_mismatch_is_its_formula_with_its_gradient() -> None:
    torch.manual_seed(0)
    features = torch.randn(6, 5, dtype=torch.double, requires_grad=True)
    wanted = similarity(torch.randn(6, 3, dtype=torch.double))
    torch.testing.assert_close(mismatch(features, wanted), (similarity(features) - wanted).square().mean())
    assert torch.autograd.gradcheck(lambda one: mismatch(one, wanted), features)
    flat = torch.ones(6, 5, requires_grad=True)
    mismatch(flat, wanted.float()).backward()
    assert torch.equal(flat.grad, torch.zeros(6, 5))
    maps = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(described(maps), maps.flatten(2).var(2).sqrt())


def test_phases_are_whole_epochs_where_they_can_be() -> None:
    phases = [Phase(0, 0), Phase(1, 1), Phase(2, 2)]
    joint = Phase(0, 2, joint=True)
    assert lengths(phases, 0.0, 70, 10) == [20, 30, 20]
    assert lengths([*phases, joint], 0.5, 100, 10) == [20, 10, 20, 50]
    assert lengths([*phases, joint], 0.01, 75, 10) == [20, 20, 20, 15]
    assert lengths([*phases, joint], 0.99, 40, 10) == [10, 10, 10, 10]
    assert lengths(phases, 0.0, 8, 10) == [3, 2, 3]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, r"name is not set"),
        ({"name": "gready"}, r"name must be one of \(backprop, greedy, local, partition\).*'greedy'"),
        ({"name": "local", "beta": 1.0}, r"beta must be at least 0 and below 1, but got 1"),
        ({"name": "greedy", "joint": 1}, r"joint must be at least 0 and below 1"),
        ({"name": "greedy", "window": 0}, r"window must be at least 1"),
        ({"name": "partition", "partition": 0}, r"partition must be at least 1"),
        ({"name": "local", "betta": 0.1}, r"betta is no argument of local"),
    ],
)
def test_configs_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(config)


def test_configs_built() -> None:
    assert build({"name": "backprop", "beta": 0.5}) is None
    assert isinstance(build({"name": "greedy", "beta": 0.5}), Greedy)  # another regime's argument
    at_once = build({"name": "partition", "partition": 3, "at_once": True})
    assert isinstance(at_once, Local)
    assert (at_once.layers, at_once.beta) == (3, 0.0)


def test_saved_bytes_are_a_peak_and_not_a_sum() -> None:
    layers = [nn.Linear(8, 8) for _ in range(3)]
    inputs, parameters = torch.randn(16, 8), [one for layer in layers for one in layer.parameters()]
    row = 16 * 8 * 4

    def all_at_once() -> None:
        layers[2](layers[1](layers[0](inputs))).sum().backward()

    def one_by_one() -> None:
        hidden = inputs
        for layer in layers:
            hidden = layer(hidden.detach())
            hidden.sum().backward()

    assert cost.saved_bytes(all_at_once, parameters) == 3 * row
    assert cost.saved_bytes(all_at_once) == 3 * row + 2 * 8 * 8 * 4  # the weights that a gradient passes
    assert cost.saved_bytes(one_by_one, parameters) == row
    assert cost.saved_bytes(lambda: layers[0](inputs).square().sum(), parameters) == 2 * row
