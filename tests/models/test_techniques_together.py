"""The contract of techniques together: shape, share, mask, quantise, in this order; and what does not go together."""

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, cycle

import pytest
import torch
from torch import nn

from kirigami.models.bits import Uniform
from kirigami.models.compact import decode, encode, plain
from kirigami.models.technique import ORDER, Linked, Technique, chain
from tests.models.foreign import Foreign, fit, rows
from tests.models.technique_table import STAGES, TECHNIQUES, of_stage

LEARNS_BITS = ("learnt bits",)  # and so cannot follow a change of shape


def side_by_side(*names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield one row of each stage until every row has been there."""
    wheels = [cycle(stage) for stage in names]
    for _ in range(max(map(len, names))):
        yield tuple(next(wheel) for wheel in wheels)


def each_with_each(*names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield rows of three stages such that each row meets each of the other stages once at least."""
    order = sorted(range(3), key=lambda stage: len(names[stage]))
    few, more, most = (names[stage] for stage in order)
    for i, first in enumerate(most):
        for j, second in enumerate(more):
            chosen = dict(zip(order, (few[(i + j) % len(few)], second, first), strict=True))
            yield tuple(chosen[stage] for stage in range(3))


def composed() -> list[tuple[str, ...]]:
    """Return triples of links in which every pair occurs, pairs without a third, and what follows a change of shape."""
    shape, *links = (of_stage(stage) for stage in STAGES)
    masks, codes = links[1], [name for name in links[2] if name not in LEARNS_BITS]
    pairs = [pair for one, other in combinations(links, 2) for pair in side_by_side(one, other)]
    after = [rows for name in shape for rows in (*side_by_side([name], masks[:2]), *side_by_side([name], masks, codes))]
    return [*each_with_each(*links), *pairs, *after]


@pytest.mark.parametrize("together", composed(), ids=" + ".join)
def test_hardens_saves_and_loads_to_the_bit(together: tuple[str, ...]) -> None:
    techniques = [TECHNIQUES[name].among_others() for name in together]
    module = Foreign()
    fit(module, *techniques, epochs=1)
    outputs = module.eval()(rows()[0])

    assert all(technique.hard for technique in techniques)
    assert outputs.isfinite().all()
    for layer in module.modules():
        stages = [link.stage for link in chain(layer)]
        assert stages == sorted(stages, key=ORDER.index)
        assert all(link.hard for link in chain(layer))
    assert len(chain(module.body.first[0])) == sum(isinstance(technique, Linked) for technique in techniques)
    for technique in techniques:
        figures, least = technique.figures(), technique.least()
        if "density" in figures:
            assert figures["density"] == pytest.approx(least.density, abs=0.005)
            assert float((module.body.first[0].weight == 0).float().mean()) > 0.1
        if least.bits is not None:
            assert figures["bits"] == pytest.approx(least.bits, abs=0.05)

    fresh = Foreign(seed=1)
    for name, technique in zip(together, techniques, strict=True):
        TECHNIQUES[name].among_others().restore(fresh, json.loads(json.dumps(technique.recipe())))
    target = plain(fresh).eval()
    fresh.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(fresh.eval()(rows()[0]), outputs)
    assert torch.equal(copy.deepcopy(fresh)(rows()[0]), outputs)
    assert torch.equal(decode(encode(module, level=1), target)(rows()[0]), outputs)


def make(*names: str) -> list[Technique]:
    """Make techniques of the table."""
    return [TECHNIQUES[name].among_others() for name in names]


# What cannot go together: the rows, and what is said.
SENSELESS: dict[str, tuple[tuple[str, str], str]] = {
    "mask after quantiser": (
        ("uniform bits", "magnitude pruning"),
        r"already has the link 'quantise', and 'mask' cannot follow it: .* share -> mask -> quantise, each once",
    ),
    "sharing after mask": (
        ("continuous sparsification", "soft sharing"),
        r"already has the link 'mask', and 'share' cannot follow it",
    ),
    "sharing after quantiser": (
        ("learnt bits", "tied layers"),
        r"already has the link 'quantise', and 'share' cannot follow it",
    ),
    "two masks": (
        ("continuous sparsification", "random pruning"),
        r"already has the link 'mask', and 'mask' cannot .* each once",
    ),
    "two quantisers": (
        ("uniform bits, inputs too", "learnt bits"),
        r"already has the link 'quantise', and 'quantise' cannot follow it: .* each once",
    ),
    "shape of layers that share": (
        ("structured pruning", "soft sharing"),
        r"shares its weight: structured removal changes shapes; layers that share must keep theirs",
    ),
    "shape of layers that share, grown": (
        ("tied layers", "growth and shrinking"),
        r"shares its weight: structured removal changes shapes; layers that share must keep theirs",
    ),
    "shape while bits are learnt": (
        ("structured pruning", "learnt bits"),
        r"still learns its bits: structured removal changes shapes, and smol cannot follow",
    ),
    "two sharings": (("soft sharing", "tied layers"), r"already has the link 'share', and 'share' cannot follow it"),
}


@pytest.mark.parametrize("case", SENSELESS)
def test_senseless_pair_is_refused_in_one_line(case: str) -> None:
    names, message = SENSELESS[case]
    with pytest.raises(ValueError, match=message) as caught:
        fit(Foreign(), *make(*names), epochs=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", [case for case in SENSELESS if "shape" not in case])
def test_senseless_order_leaves_the_network(case: str) -> None:
    names, message = SENSELESS[case]
    early, late = make(*names)
    module = Foreign()
    early.attach(module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        late.attach(module)
    assert set(module.state_dict()) == set(before)  # nothing was half attached
    assert not late.links


def test_same_stage_on_different_layers_goes_together() -> None:
    module = Foreign()
    few, many = Uniform(2, names=["body.first.0"], harden_at=0.5), Uniform(4, names=["body.first.1"], harden_at=0.5)
    fit(module, few, many, epochs=1)
    assert module.body.first[0].weight.unique().numel() == 4
    assert 4 < module.body.first[1].weight.unique().numel() <= 16


@pytest.mark.parametrize("name", TECHNIQUES)
def test_one_technique_has_one_network(name: str) -> None:
    technique, module = TECHNIQUES[name].alone(), Foreign()
    technique.attach(module)
    before = set(module.state_dict())
    technique.attach(module)
    assert set(module.state_dict()) == before
    kind = type(technique).__name__
    with pytest.raises(ValueError, match=rf"^{kind} is attached to another network. Make a new one for this network."):
        technique.attach(Foreign())


@pytest.mark.parametrize(
    ("technique", "network", "message"),
    [
        (
            TECHNIQUES["soft sharing"].alone,
            nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)),
            r"has no two layers of one shape",
        ),
        (
            TECHNIQUES["random pruning"].alone,
            nn.Sequential(nn.Linear(2, 3)),
            r"has no linear or convolutional layer besides its last one",
        ),
        (TECHNIQUES["uniform bits"].alone, nn.GRU(2, 3), r"has no linear or convolutional layer besides its last one"),
        (lambda: Uniform(2, names=["memory"]), nn.Sequential(nn.Linear(2, 3)), r"'memory' must name a linear or"),
    ],
)
def test_network_without_layers_for_it_is_refused(
    technique: Callable[[], Technique], network: nn.Module, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        technique().attach(network)
