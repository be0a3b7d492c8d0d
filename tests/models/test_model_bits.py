"""Quantisation of a foreign network through a plain Trainer: what is promised of every method, and of each alone."""

import copy
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader, TensorDataset

from models.bits import METHODS, SMOL, Quantisation, Uniform, build
from models.bits.control import Price, bits_of, rounded_bits, s_of, shift_to
from models.bits.levels import decode
from models.technique import Link

CASES: dict[str, dict[str, Any]] = {
    "uniform": {"method": "uniform", "bits": 3},
    "uniform-8": {"method": "uniform", "bits": 8},
    "smol": {"method": "smol", "bits": 1.4},
    "smol-channel": {"method": "smol", "bits": 2.5, "granularity": "channel"},
    "smol-layer": {"method": "smol", "granularity": "layer", "penalty": 1.0},
}


class Foreign(LightningModule):
    """Somebody's module that knows nothing of this project."""

    def __init__(self, optimizer: str = "sgd") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.optimizer = optimizer
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 20), nn.ReLU()
        )
        self.head = nn.Linear(20, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs))

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> dict[str, Any]:
        if self.optimizer == "adam":
            optimizer: torch.optim.Optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        else:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100, eta_min=1e-3)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class FixedMask(Link):
    """A hard mask that keeps every third weight."""

    stage = "mask"

    def forward(self, weight: Tensor) -> Tensor:
        return weight * (torch.arange(weight.numel()).reshape(weight.shape) % 3 == 0)


def batches() -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(96, 1, 6, 6, generator=generator)
    targets = (inputs.mean((1, 2, 3)) * 6).floor().clamp(-1, 1).long() + 1
    return DataLoader(TensorDataset(inputs, targets), batch_size=16)


def inputs() -> Tensor:
    return torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(2))


def make(case: str) -> Quantisation:
    technique = build(CASES[case])
    assert technique is not None
    return technique


def fit(technique: Quantisation, module: LightningModule | None = None, epochs: int = 10) -> LightningModule:
    module = module or Foreign()
    Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[technique],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, batches())
    return module.eval()


def masked(module: Foreign) -> Foreign:
    for layer in (module.body[0], module.body[4]):
        link = FixedMask()
        link.harden()
        parametrize.register_parametrization(layer, "weight", link)
    return module


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

    def test_state_goes_round(self, case: str, trained: dict) -> None:
        _, module = trained[case]
        fresh = Foreign()
        other = make(case)
        other.attach(fresh)
        fresh.load_state_dict(module.state_dict())
        assert other.hard
        assert torch.equal(fresh.eval()(inputs()), module(inputs()))
        assert other.report() == trained[case][0].report()

    def test_soft_state_goes_round(self, case: str) -> None:
        modules = [Foreign(), Foreign()]
        for module in modules:
            make(case).attach(module)
        with torch.no_grad():
            modules[0].body[4].parametrizations.weight.original.mul_(3)
        assert not torch.equal(modules[0].eval()(inputs()), modules[1].eval()(inputs()))
        modules[1].load_state_dict(modules[0].state_dict())
        assert torch.equal(modules[0](inputs()), modules[1](inputs()))

    def test_copies(self, case: str, trained: dict) -> None:
        _, module = trained[case]
        assert torch.equal(copy.deepcopy(module.body)(inputs()), module.body(inputs()))

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

    def test_weights_still_learn_when_hard(self, case: str, trained: dict) -> None:
        module = copy.deepcopy(trained[case][1])
        module(inputs()).square().sum().backward()
        assert module.body[4].parametrizations.weight.original.grad.abs().sum() > 0

    def test_mask_cannot_follow(self, case: str) -> None:
        module = Foreign()
        make(case).attach(module)
        assert [link.stage for link in module.body[4].parametrizations.weight] == ["quantise"]
        with pytest.raises(ValueError, match="cannot follow"):
            make(case).attach(module)


class TestUniform:
    def test_all_weights_have_the_bits(self, trained: dict) -> None:
        report = trained["uniform"][0].report()
        assert report["bits"] == 3
        assert report["map_bits"] == 0
        assert report["level_bits"] <= 3
        assert 2 < report["stored_bits"] < 3.1

    def test_trains_in_full_precision_first(self) -> None:
        technique, module = Uniform(2), Foreign()
        before = module(inputs())
        technique.attach(module)
        assert torch.equal(module(inputs()), before)
        with torch.no_grad():
            module.body[4].parametrizations.weight.original.mul_(3)
        old = technique.links["body.4"].scale.clone()
        technique.harden()
        assert technique.links["body.4"].scale == pytest.approx(3 * old)
        assert module.body[4].weight.unique().numel() == 4

    def test_scale_suits_gaussian_weights(self) -> None:
        """No scale of a grid does better than the table's, within a percent of the error."""
        weight = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
        for bits in range(1, 9):
            p = torch.tensor(bits)
            technique = Uniform(bits)
            link = technique.link("", nn.Linear(2, 2))
            errors = {}
            for factor in (0.8, 0.9, 1.0, 1.1, 1.25):
                link.scale = factor * technique.scale(weight)
                errors[factor] = float((link.coded(weight, p) - weight).square().mean())
            assert errors[1.0] <= 1.01 * min(errors.values())


class TestSmol:
    @pytest.mark.parametrize("target", [1.0, 1.15, 2.0, 5.0])
    def test_hits_its_target(self, target: float) -> None:
        technique = SMOL(target)
        fit(technique)
        assert technique.report()["bits"] == pytest.approx(target, abs=0.01)

    def test_price_alone_comes_near_its_target(self) -> None:
        technique = SMOL(2.0, harden_at=1.0)
        fit(technique, epochs=30)
        assert technique.mean_bits().item() == pytest.approx(2.0, abs=0.3)

    def test_target_counts_unpruned_weights(self) -> None:
        technique = SMOL(2.0)
        fit(technique, masked(Foreign()))
        assert technique.report()["bits"] == pytest.approx(2.0, abs=0.01)

    def test_higher_price_fewer_bits(self) -> None:
        found = []
        for penalty in (0.0, 0.1, 10.0):
            technique = SMOL(penalty=penalty)
            fit(technique)
            found.append(technique.report()["bits"])
        assert found[0] > found[1] > found[2]

    @pytest.mark.parametrize("optimizer", ["sgd", "adam"])
    def test_no_optimiser_holds_s(self, optimizer: str) -> None:
        technique, module = SMOL(2.0), Foreign(optimizer)
        trainer = Trainer(
            max_epochs=1, accelerator="cpu", callbacks=[technique], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, batches())
        held = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
        assert not held & {id(link.s) for link in technique.links.values()}
        assert held == {id(p) for name, p in module.named_parameters() if not name.endswith(".s")}

    def test_noise_is_fresh_uniform_and_off_in_evaluation(self) -> None:
        technique, module = SMOL(initial_bits=2), Foreign()
        technique.attach(module)
        layer, link = module.body[4], technique.links["body.4"]
        seen = []
        for _ in range(3):
            technique.advance(0.0)
            seen.append(layer.weight.detach())
        assert not torch.equal(seen[0], seen[1])
        quiet = layer.eval().weight.detach()
        noise = (seen[2] - quiet) / link.scale
        assert noise.abs().max() <= 0.5 + 1e-5  # sigmoid(s) = 2^(1-2)
        assert noise.abs().max() > 0.48
        assert noise.var() == pytest.approx(0.25 / 3, rel=0.1)

    def test_s_starts_at_its_bits(self) -> None:
        assert s_of(8) == pytest.approx(-4.844, abs=1e-3)
        assert bits_of(torch.tensor(s_of(3.7))).item() == pytest.approx(3.7)

    def test_penalty_is_mean_bits_less_one(self) -> None:
        technique = SMOL(penalty=0.5)
        technique.attach(Foreign())
        assert technique.penalty().item() == pytest.approx(0.5 * 7)

    def test_gradients_of_a_scaled_loss_are_scaled_back(self) -> None:
        technique = SMOL(penalty=0.0)
        technique.attach(Foreign())
        link = technique.links["body.4"]
        link.s.grad = torch.ones_like(link.s)
        scaler = SimpleNamespace(get_scale=lambda: 4.0)
        trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
        technique.on_before_optimizer_step(trainer, None, None)
        assert torch.equal(link.s.grad, torch.full_like(link.s, 0.25))

    def test_overflown_gradients_leave_s_finite(self) -> None:
        technique = SMOL()
        technique.attach(Foreign())
        link = technique.links["body.4"]
        technique.advance(0.0)
        link.s.grad = torch.full_like(link.s, float("inf"))
        technique.advance(0.1)
        assert link.s.isfinite().all()

    def test_state_of_the_run_goes_round(self) -> None:
        one, other = SMOL(2.0), SMOL(2.0)
        for technique in (one, other):
            technique.attach(Foreign())
        for progress in (0.0, 0.1):
            one.advance(progress)
            for index, link in enumerate(one.links.values()):
                link.s.grad = torch.full_like(link.s, 0.1 * (index + 1))
        other.network.load_state_dict(one.network.state_dict())
        other.load_state_dict(one.state_dict())
        for mine, its in zip(one.links.values(), other.links.values(), strict=True):
            its.s.grad = mine.s.grad.clone()
        one.advance(0.2)
        other.advance(0.2)
        for mine, its in zip(one.links.values(), other.links.values(), strict=True):
            assert torch.equal(mine.s, its.s)
            assert torch.equal(mine.noise, its.noise)
        assert one.price.now == other.price.now != one.price.first


class TestControl:
    def test_price_rises_above_the_path_and_falls_below(self) -> None:
        price = Price(0.1, 8, 2.0)
        price.follow(7.9, 0.5, 0.01)
        assert price.now > 0.1
        price.follow(1.2, 0.5, 0.01)
        assert price.now < 0.1

    def test_without_target_it_stays(self) -> None:
        price = Price(0.1, 8, None)
        price.follow(7.9, 0.5, 0.01)
        assert price.now == 0.1

    def test_shift_weighs_entries_by_their_weights(self) -> None:
        entries = [torch.linspace(-3, 3, 50), torch.linspace(-2, 5, 40)]
        counts = [torch.ones(50), torch.full((40,), 5.0)]
        shift = shift_to(2.5, entries, counts, 8)
        total = sum((rounded_bits(s + shift, 8) * n).sum() for s, n in zip(entries, counts, strict=True))
        assert total / 250 == pytest.approx(2.5, abs=0.025)


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
                "bits.method must be one of (none, uniform, smol), but got 'smoll'. Did you mean 'smol'?",
            ),
            ({"method": "smol", "penaltyy": 1}, "bits.penaltyy is no argument of smol. Did you mean 'penalty'?"),
            ({"method": "smol", "bits": 0.5}, "bits.bits must be from 1 to 8, but got 0.5."),
            ({"method": "smol", "bits": 6, "initial_bits": 4}, "bits.bits must be from 1 to 4, but got 6."),
            ({"method": "smol", "initial_bits": 1}, "bits.initial_bits must be above 1 and at most 8, but got 1."),
            ({"method": "smol", "granularity": "chanel"}, "Did you mean 'channel'?"),
            ({"method": "smol", "penalty": -1.0}, "bits.penalty must be at least 0, but got -1.0."),
            ({"method": "uniform", "bits": 2.5}, "bits.bits must be an integer, but got 2.5."),
            ({"method": "uniform", "bits": 9}, "bits.bits must be from 1 to 8, but got 9."),
            ({"method": "uniform", "harden_at": 2.0}, "harden_at must be above 0 and at most 1, but got 2.0."),
        ],
    )
    def test_refuses(self, config: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            build(config)
        assert "\n" not in str(caught.value)
