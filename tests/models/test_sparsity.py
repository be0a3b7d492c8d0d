"""The contract of every method of sparsity; a new one joins by a row in METHODS."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import parametrize

from kirigami.models import sparsity
from kirigami.models.sparsity import Masking, PlainMask
from kirigami.models.technique import Link, chain
from tests.models.foreign_vectors import Foreign, fit, rows

METHODS: dict[str, dict[str, Any]] = {
    "continuous": {"density": 0.2},
    "magnitude": {"density": 0.2},
    "gradual": {"density": 0.2, "updates": 20},
    "random": {"density": 0.2},
    "influence": {"density": 0.2, "criterion": "fisher"},
}


def make(method: str) -> Masking:
    technique = sparsity.build({"method": method, **METHODS[method]})
    assert technique is not None
    return technique


def test_every_method_has_a_case() -> None:
    assert set(METHODS) == {name for name, kind in sparsity.METHODS.items() if issubclass(kind, Masking)}


@pytest.fixture(scope="module")
def trained() -> Mapping[str, tuple[Foreign, Masking]]:
    """Train each method once."""
    found = {}
    for method in METHODS:
        module, technique = Foreign(), make(method)
        fit(module, technique)
        found[method] = (module.eval(), technique)
    return found


@pytest.mark.parametrize("method", METHODS)
class TestMethod:
    def test_reaches_its_density_on_a_foreign_module(self, method: str, trained: Mapping) -> None:
        module, technique = trained[method]
        masked = [module.layers[0], module.layers[2]]
        nonzero = sum(int((layer.weight != 0).sum()) for layer in masked)
        assert technique.hard
        assert technique.report()["masked_weights"] == 20 * 16 + 16 * 8
        assert technique.report()["density"] == pytest.approx(0.2, abs=0.002)
        assert nonzero == technique.report()["kept"]
        assert not chain(module.layers[4])

    def test_soft_state_goes_round(self, method: str) -> None:
        one, other = Foreign(seed=0), Foreign(seed=1)
        first, second = make(method), make(method)
        first.attach(one)
        first.advance(0.5)
        second.attach(other)
        other.load_state_dict(one.state_dict())
        assert torch.equal(one(rows()[0]), other(rows()[0]))
        assert second.hard == first.hard

    def test_is_a_function_of_its_state(self, method: str, trained: Mapping) -> None:
        module, _ = trained[method]
        state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        shell = copy.deepcopy(module)
        with torch.no_grad():
            for parameter in shell.parameters():
                parameter.zero_()
        assert torch.equal(functional_call(shell, state, (rows()[0],)), module(rows()[0]))

    def test_copies_run_in_one_call(self, method: str) -> None:
        networks, inputs = [], rows()[0]
        for seed in range(2):
            networks.append(Foreign(seed).layers)
            technique = make(method)
            technique.attach(networks[-1])
            technique.advance(0.7)
        parameters, buffers = stack_module_state(networks)
        stacked = vmap(lambda p, b: functional_call(networks[0], (p, b), (inputs,)))(parameters, buffers)
        torch.testing.assert_close(stacked, torch.stack([network(inputs) for network in networks]))

    def test_parts_make_the_weight_again(self, method: str, trained: Mapping) -> None:
        module, _ = trained[method]
        layer = module.layers[0]
        parts = chain(layer)[0].parts(layer.parametrizations.weight.original)
        again = torch.zeros(parts["kept"].shape)
        again[parts["kept"]] = parts["values"].detach()
        assert torch.equal(again, layer.weight)

    def test_stands_before_the_quantiser_and_after_sharing(self, method: str) -> None:
        late, early = Foreign(), Foreign()
        parametrize.register_parametrization(late.layers[0], "weight", Other("quantise"))
        parametrize.register_parametrization(early.layers[0], "weight", Other("share"))
        with pytest.raises(ValueError, match="'mask' cannot follow it"):
            make(method).attach(late)
        technique = make(method)
        technique.attach(early)
        technique.harden()
        assert torch.allclose(chain(early.layers[0])[1].kept, early.layers[0].weight != 0)

    def test_hard_mask_stays_in_further_training(self, method: str, trained: Mapping) -> None:
        module, technique = copy.deepcopy(trained[method])
        masks = [mask.kept.clone() for mask in technique.masks]
        weight = module.layers[0].weight.detach().clone()
        fit(module, technique, epochs=1)
        assert all(torch.equal(mask.kept, old) for mask, old in zip(technique.masks, masks, strict=True))
        assert not torch.equal(module.layers[0].weight, weight)

    def test_same_run_same_result(self, method: str, trained: Mapping) -> None:
        module, technique = Foreign(), make(method)
        fit(module, technique)
        assert torch.equal(module.eval()(rows()[0]), trained[method][0](rows()[0]))


class Other(Link):
    """A link of another stage, which doubles the weight."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight

    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        return {"weight": self(weight)}


class TestBuild:
    def test_none_is_no_technique(self) -> None:
        assert sparsity.build({"method": "none", "density": 0.1}) is None

    def test_leaves_out_the_keys_of_other_methods(self) -> None:
        technique = sparsity.build({"method": "magnitude", "density": 0.3, "beta_final": 100, "start": 0.5})
        assert isinstance(technique, sparsity.MagnitudePruning)
        assert technique.density == 0.3

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({}, r"method is not set. Choose one of \(none, continuous, "),
            ({"method": "continous"}, "method must be one of .* Did you mean 'continuous'?"),
            (
                {"method": "gradual", "densty": 0.1},
                "densty is no argument of gradual. Did you mean 'density'?",
            ),
            ({"method": "magnitude", "density": 2}, "density must be above 0 and at most 1, but got 2."),
            ({"method": "random", "density": 0.0}, "density must be above 0 and at most 1, but got 0.0."),
            ({"method": "random", "density": "few"}, "density must be above 0 and at most 1, but got 'few'."),
            ({"method": "continuous", "density": True}, "density must be a number or null, but got True."),
            ({"method": "continuous", "beta_final": 0.5}, "beta_final must be at least 1"),
            ({"method": "continuous", "penalty": -1}, "penalty must be at least 0"),
            ({"method": "continuous", "settle": 0}, "settle must be above 0 and at most 1, but got 0."),
            ({"method": "continuous", "sharpness": -1.0}, "sharpness must be at least 0"),
            ({"method": "gradual", "start": 1.0}, "start must be at least 0 and below 1"),
            ({"method": "gradual", "updates": 0}, "updates must be at least 1"),
        ],
    )
    def test_refuses_in_one_line(self, config: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            sparsity.build(config)
        assert "\n" not in str(caught.value)


def test_mask_keeps_the_type_of_the_weight() -> None:
    for dtype in (torch.bfloat16, torch.float64):
        weight = torch.randn(3, 4, dtype=dtype)
        assert PlainMask(weight)(weight).dtype == dtype
