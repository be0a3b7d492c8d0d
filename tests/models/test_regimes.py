"""Regimes under a plain Trainer: whose gradient goes where, what stays frozen, what a validation sees."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from kirigami.errors import ArgumentError
from kirigami.models import Learner, build_network, cost, outputs
from kirigami.models.bits import Uniform
from kirigami.models.growth import GrowAndShrink
from kirigami.models.regimes import Greedy, Local, Regime, build
from kirigami.models.sparsity import ContinuousSparsification
from kirigami.models.technique import stored_parameters
from kirigami.tasks.batches import Batches

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
SGD = {"name": "sgd", "lr": 0.05, "weight_decay": 1e-3}
ADAM = {"name": "adam", "lr": 1e-2}
MLP = {"name": "mlp", "width": 16, "depth": 3}


def rows(count: int = 192) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(192, 1, 8, 8, generator=generator)
    return inputs[:count], (inputs.flatten(1) @ torch.randn(64, 4, generator=generator)).argmax(1)[:count]


def batches(**options: Any) -> Batches:
    return Batches(*rows(), **{"batch_size": 32, "generator_seed": 0, **options})


def accuracy(found: Tensor, targets: Tensor) -> dict[str, float]:
    return {"accuracy": (found.argmax(-1) == targets).float().mean().item()}


def learner(regime: Regime | None, config: dict[str, Any] | nn.Module = MLP, optimizer: Any = SGD) -> Learner:
    torch.manual_seed(0)
    network = config if isinstance(config, nn.Module) else build_network(config, in_shape=(1, 8, 8), out_features=4)
    loss = outputs.loss("auto", "classes", 4)
    return Learner(network, loss, accuracy, optimizer, {"name": "onecycle"}, regime=regime)


def fit(module: LightningModule, *callbacks: Callback, loader: Any = None, **options: Any) -> Trainer:
    torch.manual_seed(1)  # of the heads
    trainer = Trainer(**{**QUIET, "max_epochs": 6, "callbacks": list(callbacks), **options})
    trainer.fit(module, batches() if loader is None else loader, Batches(*rows(64), batch_size=64))
    return trainer


class Watch(Callback):
    """Keep the network's weights before each step, and what each epoch's validation saw."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.states.append({name: one.detach().clone() for name, one in pl_module.network.state_dict().items()})

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.seen.append(float(trainer.callback_metrics["accuracy"]))

    def changed(self, name: str) -> set[int]:
        pairs = zip(self.states, self.states[1:], strict=False)
        return {step for step, (one, other) in enumerate(pairs) if not torch.equal(one[name], other[name])}


def test_local_gradients_equal_an_independent_computation() -> None:
    """(1 - beta) CE(P h) + beta mean((S(W h) - S(Y))²), with S written out, and no gradient beyond the block."""
    regime = Local(beta=0.7)
    module = learner(regime)
    inputs, targets = rows(24)
    regime.prepare(module.network, (inputs, targets))
    last = regime.step(module.network, module.loss, (inputs, targets))
    found = {name: one.grad.clone() for name, one in module.named_parameters() if one.grad is not None}
    assert {name for name in found if "network" in name} == {f"network.hidden.{n}.{p}" for n in (0, 2) for p in TENSORS}

    def cosines(x: Tensor) -> Tensor:
        x = x - x.mean(1, keepdim=True)
        return torch.stack([torch.stack([a @ b / (a @ a).sqrt() / (b @ b).sqrt() for b in x]) for a in x])

    layers, hidden = module.network.hidden, inputs.flatten(1)
    for block, head in enumerate(regime.heads):
        hidden = layers[2 * block + 1](layers[2 * block](hidden.detach()))
        off = cosines(head.project(hidden)) - cosines(F.one_hot(targets, 4).float())
        loss = 0.3 * F.cross_entropy(head.predict(hidden), targets) + 0.7 * off.square().mean()
        own = [*layers[2 * block].parameters(), *head.parameters()]
        names = [f"network.hidden.{2 * block}.{p}" for p in TENSORS]
        names += [f"regime.heads.{block}.{name}" for name, _ in head.named_parameters()]
        for name, gradient in zip(names, torch.autograd.grad(loss, own), strict=True):
            torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)
    last.backward()
    expected = F.cross_entropy(module.network.output(layers[5](layers[4](hidden.detach()))), targets)
    torch.testing.assert_close(last, expected)
    assert torch.equal(found["network.hidden.2.weight"], module.network.hidden[2].weight.grad)


TENSORS = ("weight", "bias")


@pytest.mark.parametrize(("accumulate", "precision"), [(1, "32-true"), (2, "32-true"), (1, "bf16-mixed")])
def test_local_trains_every_block_at_every_step(accumulate: int, precision: str) -> None:
    watch, module = Watch(), learner(Local(), optimizer=ADAM)
    fit(module, watch, accumulate_grad_batches=accumulate, precision=precision, max_epochs=2)
    steps = set(range(accumulate - 1, 11, accumulate))
    for name, _ in module.network.named_parameters():
        assert watch.changed(name) == steps, name


def test_accumulated_local_gradients_are_means() -> None:
    """Two half batches give what the whole one gives, where no similarities link the rows."""
    found = []
    for size, accumulate in ((32, 1), (16, 2)):
        module = learner(Local(beta=0.0))
        loader = Batches(*rows(), batch_size=size)
        fit(module, loader=loader, accumulate_grad_batches=accumulate, max_epochs=1)
        found.append(module.network.state_dict())
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cache_mb", [0, 100])
def test_greedy_freezes_exactly(cache_mb: float) -> None:
    """Six epochs of six steps are three phases of two epochs; norms and weight decay stand still, too."""
    watch, loader = Watch(), batches()
    own = loader.inputs
    module = learner(Greedy(cache_mb=cache_mb), {**MLP, "norm": "batch"})
    fit(module, watch, loader=loader)
    for block, first in enumerate((0, 12, 24)):
        for part in (f"{3 * block}.weight", f"{3 * block + 1}.bias", f"{3 * block + 1}.running_var"):
            assert watch.changed(f"hidden.{part}") == set(range(first, min(first + 12, 35))), part
    assert watch.changed("output.weight") == set(range(24, 35))
    assert loader.inputs is own
    assert all(part.training for part in module.network.modules())


def test_kept_rows_change_nothing_but_the_work() -> None:
    calls: list[int] = []
    found = []
    for cache_mb in (100, 0):
        module = learner(Greedy(cache_mb=cache_mb))
        module.network.hidden[0].register_forward_hook(lambda *_: calls.append(1))
        found.append((fit(module).callback_metrics, module.network.state_dict()))
        found[-1][0]["calls"] = torch.tensor(len(calls))
        calls.clear()
    kept, anew = found
    assert anew[0]["calls"] - kept[0]["calls"] == 24 - 1  # two phases of 12 batches, against one pass over the rows
    assert kept[0]["accuracy"] == anew[0]["accuracy"]
    for name, value in kept[1].items():
        torch.testing.assert_close(value, anew[1][name], atol=1e-5, rtol=1e-4)


def test_rows_are_not_kept_where_they_change() -> None:
    def noisy(inputs: Tensor, generator: torch.Generator | None) -> Tensor:
        return inputs if generator is None else inputs + torch.randn(inputs.shape, generator=generator)

    class Shapes(Callback):
        seen: set[tuple[int, ...]] = set()

        def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
            self.seen.add(tuple(batch[0].shape[1:]))

    for transform, expected in ((noisy, {(1, 8, 8)}), (lambda x, _: x * 2, {(1, 8, 8), (16,)})):
        Shapes.seen = set()
        fit(learner(Greedy()), Shapes(), loader=batches(transform=transform))
        assert Shapes.seen == expected


def test_a_validation_sees_the_present_head() -> None:
    """After two epochs of six, the first block and its head are what there is; at the end, the network."""
    watch, module = Watch(), learner(Greedy(), optimizer=ADAM)
    fit(module, watch)
    inputs, targets = rows(64)
    after, regime = watch.states[12], module.regime
    assert regime is not None
    hidden = F.relu(F.linear(inputs.flatten(1), after["hidden.0.weight"], after["hidden.0.bias"]))
    assert watch.seen[1] == accuracy(regime.heads[0](hidden), targets)["accuracy"]  # the head is frozen since
    assert watch.seen[5] == accuracy(module(inputs), targets)["accuracy"]
    assert len(watch.seen) == 6


def test_schedule_begins_anew_and_ends_low_together() -> None:
    rates: list[float] = []

    class Rates(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
            rates.append(optimizer.param_groups[0]["lr"])

    watch, module = Watch(), learner(Greedy(joint=0.4, joint_rate=0.2))
    module.schedule_config = {"name": "step", "milestones": [0.5], "factor": 0.1}
    fit(module, Rates(), watch, max_epochs=10)
    assert rates[:12] == pytest.approx([0.05] * 6 + [0.005] * 6)
    assert rates[:36] == pytest.approx(rates[:12] * 3)
    assert rates[36:] == pytest.approx([0.01] * 12 + [0.001] * 12)
    assert {36, 58} <= watch.changed("hidden.0.weight") & watch.changed("output.weight")
    assert 35 not in watch.changed("hidden.0.weight")


def test_steps_instead_of_epochs() -> None:
    watch = Watch()
    fit(learner(Greedy()), watch, max_epochs=-1, max_steps=9)
    assert watch.changed("hidden.0.weight") == {0, 1, 2}
    assert watch.changed("hidden.2.weight") == {3, 4, 5}
    with pytest.raises(ValueError, match=r"must have at least 3 steps, the phases of its regime, but has 2"):
        fit(learner(Greedy()), max_epochs=-1, max_steps=2)


@pytest.mark.parametrize("regime", [Greedy(window=2), Local(beta=0.0), build({"name": "partition", "at_once": True})])
def test_saved_bytes_are_those_of_one_block(regime: Regime) -> None:
    """A block saves its input and output, 64 rows of 32 numbers each; backpropagation, those of all nine layers."""
    network = {**MLP, "depth": 8, "width": 32}
    found = []
    for one in (None, regime):
        module, loader = learner(one, network), batches(batch_size=64)
        fit(module, loader=loader, max_epochs=8)
        own = list(module.parameters())
        found.append(cost.saved_bytes(lambda m=module, r=loader: fit(m, loader=r, max_epochs=8), own))
    assert found[0] >= 64 * 4 * (64 + 8 * 32)
    wide = 2 if isinstance(regime, Greedy) or regime.name == "partition" else 1  # blocks in a piece
    assert found[1] <= 64 * 4 * (64 + wide * 32 + 8) + 2000


@pytest.mark.parametrize(
    "make", [lambda: Greedy(joint=0.3), Local, lambda: build({"name": "partition", "at_once": True, "joint": 0.2})]
)
def test_seeds_reproduce_and_the_network_has_no_heads(make: Callable[[], Regime]) -> None:
    first, second = learner(make(), optimizer=ADAM), learner(make(), optimizer=ADAM)
    plain = learner(None)
    metrics = [fit(module, max_epochs=25).callback_metrics for module in (first, second)]
    assert metrics[0] == metrics[1]
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert first.network.state_dict().keys() == plain.network.state_dict().keys()
    assert stored_parameters(first.network) == stored_parameters(plain.network)
    assert any("heads" in name for name in first.state_dict())
    assert metrics[0]["accuracy"] > 0.5


@pytest.mark.parametrize("make", [lambda: Greedy(joint=0.4), Local, lambda: Local(beta=0.0, joint=0.5)])
def test_masks_and_bits_compose(make: Callable[[], Regime]) -> None:
    """The penalty of a mask reaches the optimiser, and after the run the network has the density and levels asked."""
    mask = ContinuousSparsification(density=0.5, harden_at=0.6)
    module = learner(make(), {**MLP, "width": 24}, ADAM)
    fit(module, mask, Uniform(bits=3, harden_at=0.7), max_epochs=10)
    assert mask.report()["density"] == pytest.approx(0.5, abs=0.01)
    weight = module.network.hidden[2].weight
    assert len(weight.unique()) <= 8 + 1  # the levels, and 0


def test_a_penalty_moves_no_frozen_block() -> None:
    watch = Watch()
    module = learner(Greedy(), optimizer=ADAM)
    fit(module, ContinuousSparsification(penalty=1.0, harden_at=1.0), watch)
    name = "hidden.0.parametrizations.weight."
    assert watch.changed(name + "0.logits") == watch.changed(name + "original") == set(range(12))


def test_what_does_not_go_together_is_refused() -> None:
    growth = GrowAndShrink(params=500)
    with pytest.raises(ValueError, match="the regime 'local' cannot train with GrowAndShrink"):
        fit(learner(Local()), growth)
    with pytest.raises(ValueError, match=r"the regime 'greedy' cannot train a LightningModule: .* is its own"):
        Greedy().check(learner(None))
    early = Uniform(bits=3, activation_bits=8, harden_at=0.6)
    with pytest.raises(
        ValueError, match=r"joint must be above 0\.4, 1 - harden_at of Uniform .* but got 0\.3: not every"
    ):
        fit(learner(Greedy(joint=0.3)), early)
    Greedy(joint=0.5).check(nn.Identity(), [early])
    measured = learner(Greedy())
    measured.schedule_config = {"name": "lipschitz"}
    with pytest.raises(ArgumentError, match=r"^schedule\.name must be one of .* 'lipschitz'"):
        fit(measured)
    tied = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 4))
    tied[2].weight = tied[1].weight
    with pytest.raises(ValueError, match=r"'greedy' freezes blocks, but '.*weight' is a parameter of several"):
        fit(learner(Greedy(), tied))
    fit(learner(Local(beta=0.0), tied), max_epochs=1)


def test_a_checkpoint_goes_on_in_its_phase(tmp_path: Any) -> None:
    class Stop(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
            trainer.should_stop = trainer.current_epoch == 2

    whole, half, resumed = (learner(Greedy(), optimizer=ADAM) for _ in range(3))
    expected = fit(whole).callback_metrics
    fit(half, Stop()).save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(1)
    trainer = Trainer(**QUIET, max_epochs=6)
    loaders = batches(), Batches(*rows(64), batch_size=64)
    trainer.fit(resumed, *loaders, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert trainer.callback_metrics == expected
