"""Techniques together on a foreign network: shared, then masked, then quantised; and what does not go together."""

import copy
import json
from collections.abc import Callable

import pytest
import torch
from test_foreign import Foreign, fit, rows
from torch import nn

from kirigami.models.bits import SMOL, Uniform
from kirigami.models.compact import decode, encode, plain
from kirigami.models.growth import GrowAndShrink
from kirigami.models.sharing import SoftSharing, TiedLayers
from kirigami.models.sparsity import ContinuousSparsification, GradualPruning, MagnitudePruning, RandomPruning
from kirigami.models.sparsity.structured import StructuredPruning
from kirigami.models.technique import ORDER, Linked, Technique, chain

AT = 0.5  # all harden at the same step
SHARE: dict[str, Callable[[], Technique]] = {
    "soft": lambda: SoftSharing(templates=2, harden_at=AT),
    "folded": lambda: SoftSharing(templates=4, pressure=3.0, fold=True, tau=0.2, harden_at=AT),
    "tied": lambda: TiedLayers(harden_at=AT),
}
MASK: dict[str, Callable[[], Technique]] = {
    "continuous": lambda: ContinuousSparsification(density=0.4, harden_at=AT),
    "magnitude": lambda: MagnitudePruning(density=0.4, harden_at=AT),
    "gradual": lambda: GradualPruning(density=0.4, updates=4, harden_at=AT),
    "random": lambda: RandomPruning(density=0.4),
}
QUANTISE: dict[str, Callable[[], Technique]] = {
    "uniform": lambda: Uniform(3, harden_at=AT),
    "uniform, inputs": lambda: Uniform(3, activation_bits=4, harden_at=AT),
    "learnt": lambda: SMOL(2.5, initial_bits=4, travel=4.0, harden_at=AT),
}
SHAPE: dict[str, Callable[[], Technique]] = {
    "structured": lambda: StructuredPruning(keep=0.7, updates=3, harden_at=AT),
    "grown": lambda: GrowAndShrink(params=3000, every=2, batches=1, harden_at=AT),
}
AFTER_SHAPE = (["continuous"], ["gradual"], ["uniform"], ["continuous", "uniform"])


def composed() -> dict[str, list[Callable[[], Technique]]]:
    """Return every pair of stages, and every triple, in the order of the chain; and shapes that change before them."""
    nothing, known = {"": None}, MASK | QUANTISE
    shaped = {
        " + ".join([shape, *others]): [make, *(known[other] for other in others)]
        for shape, make in SHAPE.items()
        for others in AFTER_SHAPE
    }
    return shaped | {
        " + ".join(name for name in (share, mask, quantise) if name): [make for make in (one, two, three) if make]
        for share, one in (nothing | SHARE).items()
        for mask, two in (nothing | MASK).items()
        for quantise, three in (nothing | QUANTISE).items()
        if (one is not None) + (two is not None) + (three is not None) > 1
    }


@pytest.mark.parametrize("together", composed())
def test_hardens_saves_and_loads_to_the_bit(together: str) -> None:
    made = [make() for make in composed()[together]]
    module = Foreign()
    fit(module, *made, epochs=1)
    outputs = module.eval()(rows()[0])

    assert all(technique.hard for technique in made)
    assert outputs.isfinite().all()
    for layer in module.modules():
        if chain(layer):
            stages = [link.stage for link in chain(layer)]
            assert stages == sorted(stages, key=ORDER.index)
            assert all(link.hard for link in chain(layer))
    assert len(chain(module.body.first[0])) == len([technique for technique in made if isinstance(technique, Linked)])
    for technique in made:
        report = technique.report()
        if "density" in report:
            assert report["density"] == pytest.approx(0.4, abs=0.005)
            assert float((module.body.first[0].weight == 0).float().mean()) > 0.1
        if "bits" in report:
            assert report["bits"] == pytest.approx(technique.bits, abs=0.05)

    fresh = Foreign(seed=1)
    for technique, make in zip(made, composed()[together], strict=True):
        make().restore(fresh, json.loads(json.dumps(technique.recipe())))
    target = plain(fresh).eval()
    fresh.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(fresh.eval()(rows()[0]), outputs)
    assert torch.equal(copy.deepcopy(fresh)(rows()[0]), outputs)
    assert torch.equal(decode(encode(module, level=1), target)(rows()[0]), outputs)


SENSELESS: dict[str, tuple[list[Callable[[], Technique]], str]] = {
    "mask after quantiser": (
        [QUANTISE["uniform"], MASK["magnitude"]],
        r"already has the link 'quantise', and 'mask' cannot follow it: .* share -> mask -> quantise, each once",
    ),
    "sharing after mask": (
        [MASK["continuous"], SHARE["soft"]],
        r"already has the link 'mask', and 'share' cannot follow it",
    ),
    "sharing after quantiser": (
        [QUANTISE["learnt"], SHARE["tied"]],
        r"already has the link 'quantise', and 'share' cannot follow it",
    ),
    "two masks": ([MASK["continuous"], MASK["random"]], r"already has the link 'mask', and 'mask' cannot .* each once"),
    "two quantisers": (
        [QUANTISE["uniform, inputs"], QUANTISE["learnt"]],
        r"already has the link 'quantise', and 'quantise' cannot follow it: .* each once",
    ),
    "shape of layers that share": (
        [SHAPE["structured"], SHARE["soft"]],
        r"shares its weight: structured removal changes shapes; layers that share must keep theirs",
    ),
    "shape of layers that share, grown": (
        [SHARE["tied"], SHAPE["grown"]],
        r"shares its weight: structured removal changes shapes; layers that share must keep theirs",
    ),
    "shape while bits are learnt": (
        [SHAPE["structured"], QUANTISE["learnt"]],
        r"still learns its bits: structured removal changes shapes, and smol cannot follow",
    ),
    "two sharings": ([SHARE["soft"], SHARE["tied"]], r"already has the link 'share', and 'share' cannot follow it"),
}


@pytest.mark.parametrize("case", SENSELESS)
def test_senseless_pair_is_refused_in_one_line(case: str) -> None:
    made, message = SENSELESS[case]
    with pytest.raises(ValueError, match=message) as caught:
        fit(Foreign(), *(make() for make in made), epochs=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", [case for case in SENSELESS if "shape" not in case])
def test_senseless_order_leaves_the_network(case: str) -> None:
    (first, second), message = SENSELESS[case]
    module, late = Foreign(), second()
    first().attach(module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        late.attach(module)
    assert set(module.state_dict()) == set(before)  # nothing was half attached
    assert not late.links


def test_same_stage_on_different_layers_goes_together() -> None:
    module = Foreign()
    few, many = Uniform(2, names=["body.first.0"], harden_at=AT), Uniform(4, names=["body.first.1"], harden_at=AT)
    fit(module, few, many, epochs=1)
    assert module.body.first[0].weight.unique().numel() == 4
    assert 4 < module.body.first[1].weight.unique().numel() <= 16


def test_one_technique_has_one_network() -> None:
    technique = MASK["magnitude"]()
    technique.attach(Foreign())
    with pytest.raises(ValueError, match=r"MagnitudePruning is attached to another network. Make a new one"):
        technique.attach(Foreign())


@pytest.mark.parametrize(
    ("make", "network", "message"),
    [
        (SHARE["soft"], nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)), r"has no two layers of one shape"),
        (MASK["random"], nn.Sequential(nn.Linear(2, 3)), r"has no linear or convolutional layer besides its last one"),
        (QUANTISE["uniform"], nn.GRU(2, 3), r"has no linear or convolutional layer besides its last one"),
        (lambda: Uniform(2, names=["memory"]), nn.Sequential(nn.Linear(2, 3)), r"'memory' must name a linear or"),
    ],
)
def test_network_without_layers_for_it_is_refused(
    make: Callable[[], Technique], network: nn.Module, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make().attach(network)
