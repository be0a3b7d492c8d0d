"""Quantisation of a foreign network through a plain Trainer: what is promised of every method."""

import copy
import re
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import parametrize

from kirigami.models.bits import METHODS, Quantisation, Uniform, build
from kirigami.models.bits.levels import decode
from tests.models.foreign_images import Foreign, fit, inputs, masked

CASES: dict[str, dict[str, Any]] = {
    "uniform": {"method": "uniform", "bits": 3},
    "uniform-8": {"method": "uniform", "bits": 8},
    "smol": {"method": "smol", "bits": 1.4},
    "smol-channel": {"method": "smol", "bits": 2.5, "granularity": "channel"},
    "smol-inputs": {"method": "smol", "bits": 1.4, "activation_bits": 4},
    "smol-layer": {"method": "smol", "granularity": "layer", "penalty": 1.0},
}


def make(case: str) -> Quantisation:
    technique = build(CASES[case])
    assert technique is not None
    return technique


@pytest.fixture(scope="module")
def trained() -> dict[str, tuple[Quantisation, LightningModule]]:
    found = {}
    for case in CASES:
        technique = make(case)
        found[case] = (technique, fit(technique))
    return found


def test_every_method_has_a_case() -> None:
    assert {config["method"] for config in CASES.values()} == set(METHODS)


@pytest.mark.parametrize("case", CASES)
class TestQuantisation:
    def test_parts_decode_to_the_weight(self, case: str, trained: dict) -> None:
        technique, module = trained[case]
        assert technique.hard
        for name, weight in technique.incoming().items():
            parts = technique.links[name].parts(weight)
            assert not parts["levels"].is_floating_point()
            assert torch.equal(decode(**parts), module.get_submodule(name).weight)

    def test_leaves_the_last_layer(self, case: str, trained: dict) -> None:
        technique, module = trained[case]
        assert set(technique.links) == {"body.0", "body.4"}
        assert not parametrize.is_parametrized(module.head)

    def test_soft_state_goes_round(self, case: str) -> None:
        modules = [Foreign(), Foreign()]
        for module in modules:
            make(case).attach(module)
        with torch.no_grad():
            modules[0].body[4].parametrizations.weight.original.mul_(3)
        assert not torch.equal(modules[0].eval()(inputs()), modules[1].eval()(inputs()))
        modules[1].load_state_dict(modules[0].state_dict())
        assert torch.equal(modules[0](inputs()), modules[1](inputs()))

    def test_is_a_function_of_its_state(self, case: str) -> None:
        """While training too: the noise is a tensor of the link's."""
        module, technique = Foreign(), make(case)
        technique.attach(module)
        technique.advance(0.0)
        state = {
            name: value.clone()
            for name, value in {**dict(module.named_parameters()), **dict(module.named_buffers())}.items()
        }
        expected = module(inputs())
        shell = copy.deepcopy(module)
        assert torch.equal(functional_call(shell, state, (inputs(),)), expected)

    def test_copies_evaluate_in_one_call(self, case: str, trained: dict) -> None:
        body = trained[case][1].body
        other = copy.deepcopy(body)
        with torch.no_grad():
            other[4].parametrizations.weight.original.mul_(-1)
        parameters, buffers = stack_module_state([body, other])
        rows = inputs()
        stacked = vmap(lambda p, b: functional_call(body, (p, b), (rows,)))(parameters, buffers)
        torch.testing.assert_close(stacked, torch.stack([body(rows), other(rows)]))

    def test_same_seed_same_run(self, case: str, trained: dict) -> None:
        assert torch.equal(fit(make(case))(inputs()), trained[case][1](inputs()))

    def test_pruned_weights_stay_zero(self, case: str) -> None:
        module = masked(Foreign())
        technique = make(case)
        before = module.body[4].weight != 0
        fit(technique, module)
        assert technique.hard
        for name, weight in technique.incoming().items():
            final = module.get_submodule(name).weight
            parts = technique.links[name].parts(weight)
            assert torch.equal(decode(**parts), final)
            assert torch.equal(final == 0, weight == 0)
            if parts["bits"].shape == final.shape:
                assert torch.equal(parts["bits"] == 0, final == 0)
        assert torch.equal(module.body[4].weight != 0, before)
        assert technique.report()["zeros"] == pytest.approx(2 / 3, abs=0.01)

    def test_pruned_weights_stay_zero_while_soft(self, case: str) -> None:
        module = masked(Foreign())
        technique = make(case)
        technique.attach(module)
        technique.advance(0.0)
        module.train()
        assert torch.equal(
            module.body[4].weight == 0, module.body[4].parametrizations.weight[0](torch.ones(20, 96)) == 0
        )

    def test_mask_cannot_follow(self, case: str) -> None:
        module = Foreign()
        make(case).attach(module)
        assert [link.stage for link in module.body[4].parametrizations.weight] == ["quantise"]
        with pytest.raises(ValueError, match="cannot follow"):
            make(case).attach(module)


class TestBuild:
    def test_none(self) -> None:
        assert build({"method": "none"}) is None
        assert build({}) is None

    def test_leaves_out_keys_of_the_sibling(self) -> None:
        assert isinstance(build({"method": "uniform", "bits": 2, "granularity": "weight", "penalty": 0.1}), Uniform)

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            (
                {"method": "smoll"},
                "method must be one of (none, uniform, smol), but got 'smoll'. Did you mean 'smol'?",
            ),
            ({"method": "smol", "penaltyy": 1}, "penaltyy is no argument of smol. Did you mean 'penalty'?"),
            ({"method": "smol", "bits": 0.5}, "bits must be from 1 to 8, but got 0.5."),
            ({"method": "smol", "bits": 6, "initial_bits": 4}, "bits must be from 1 to 4, but got 6."),
            ({"method": "smol", "initial_bits": 1}, "initial_bits must be above 1 and at most 8, but got 1."),
            ({"method": "smol", "granularity": "chanel"}, "Did you mean 'channel'?"),
            ({"method": "smol", "penalty": -1.0}, "penalty must be at least 0, but got -1.0."),
            ({"method": "uniform", "bits": 2.5}, "bits must be an integer, but got 2.5."),
            ({"method": "uniform", "bits": 9}, "bits must be from 1 to 8, but got 9."),
            ({"method": "smol", "activation_bits": 1}, "activation_bits must be from 2 to 8, but got 1."),
            (
                {"method": "uniform", "activation_bits": 4.5},
                "activation_bits must be an integer or null, but got 4.5.",
            ),
            ({"method": "uniform", "harden_at": 2.0}, "harden_at must be above 0 and at most 1, but got 2.0."),
        ],
    )
    def test_refuses(self, config: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            build(config)
        assert "\n" not in str(caught.value)
