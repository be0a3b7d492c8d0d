"""LipschitzLR sets the rate its rule asks for, on any module, and leaves groups and schedules their part."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from kirigami.models import Learner
from kirigami.models.schedules import LipschitzLR, build_schedule, schedule_callbacks

BATCHES, ROWS, WIDTH = 3, 8, 5


class Module(LightningModule):
    """Somebody's module: a frozen body, so that its last layer's inputs stay what they are."""

    def __init__(self, outputs: int = 3, bias: bool = True, scheduled: bool = False, **settings: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(4, WIDTH).requires_grad_(False)
        self.head = nn.Linear(WIDTH, outputs, bias=bias)
        self.settings, self.scheduled = {"lr": 0.5, **settings}, scheduled
        self.used: list[list[float]] = []

    def features(self, inputs: Tensor) -> Tensor:
        return torch.relu(self.body(inputs))

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return self.head(self.features(batch[0])).square().mean()

    def configure_optimizers(self) -> Any:
        groups = [{"params": [self.head.weight]}]
        if self.head.bias is not None:
            groups.append({"params": [self.head.bias], "lr": self.settings["lr"] / 5})
        optimizer = torch.optim.SGD(groups, **self.settings)
        if not self.scheduled:
            return optimizer
        schedule = LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, epoch: int, index: int, optimizer: Any, closure: Any = None) -> None:
        super().optimizer_step(epoch, index, optimizer, closure)
        self.used.append([float(group["lr"]) for group in self.optimizers(False).param_groups])


def data() -> list[Tensor]:
    return list((torch.randn(BATCHES * ROWS, 4, generator=torch.Generator().manual_seed(1)) * 2).split(ROWS))


def fit(module: LightningModule, callback: LipschitzLR | None, epochs: int = 2, **settings: Any) -> Trainer:
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[callback] if callback else None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, DataLoader(TensorDataset(torch.cat(data())), batch_size=ROWS), **settings)
    return trainer


def ones(inputs: Tensor) -> Tensor:
    return torch.cat([inputs, torch.ones(len(inputs), 1)], 1)


class TestRules:
    @pytest.mark.parametrize(("outputs", "bias", "share"), [(1, True, 1 / 4), (2, False, 1 / 2), (3, True, 1 / 2)])
    def test_smooth(self, outputs: int, bias: bool, share: float) -> None:
        module, callback = Module(outputs, bias), LipschitzLR("smooth", cap=None)
        fit(module, callback)
        inputs = module.features(torch.cat(data()))
        inputs = ones(inputs) if bias else inputs
        wanted = 1 / share / float(torch.linalg.eigvalsh(inputs.T @ inputs / len(inputs))[-1])
        assert callback.rates == pytest.approx([wanted] * 2, rel=1e-4)

    def test_row(self) -> None:
        module, callback = Module(), LipschitzLR("row", cap=None)
        fit(module, callback)
        wanted = 2 / float(ones(module.features(torch.cat(data()))).norm(dim=1).max())
        assert callback.rates == pytest.approx([wanted] * 2)

    @pytest.mark.parametrize(("outputs", "share"), [(1, 1 / 2), (2, 1 / 2), (4, 3 / 4)])
    def test_paper(self, outputs: int, share: float) -> None:
        module, callback = Module(outputs), LipschitzLR("paper", cap=None)
        fit(module, callback)
        largest = max(float(module.features(batch).norm()) for batch in data())
        assert callback.rates == pytest.approx([ROWS / share / largest] * 2)

    def test_paper_counts_the_decay(self) -> None:
        module, callback = Module(weight_decay=0.3), LipschitzLR("paper", cap=None)
        fit(module, callback, epochs=1)
        largest = max(float(module.features(batch).norm()) for batch in data())
        bound = 2 / 3 / ROWS * largest + 0.3 * float(module.head.weight.detach().norm())
        assert callback.rates == pytest.approx([1 / bound])

    def test_a_curved_layer_is_stable_at_the_smooth_rate(self) -> None:
        """Logistic regression on one output: full steps of the rule never raise the loss; ten times as long ones do."""
        draw = torch.Generator().manual_seed(0)
        inputs = 5 * torch.randn(64, 3, generator=draw) + 5
        targets = (inputs.sum(1) + 3 * torch.randn(64, generator=draw) > 15).float()
        smooth = 4 / float(torch.linalg.eigvalsh(inputs.T @ inputs / 64)[-1])

        def rises(lr: float) -> int:
            layer = nn.Linear(3, 1, bias=False)
            nn.init.zeros_(layer.weight)
            optimizer, losses = torch.optim.SGD(layer.parameters(), lr=lr), []
            for _ in range(50):
                optimizer.zero_grad()
                loss = nn.functional.binary_cross_entropy_with_logits(layer(inputs).flatten(), targets)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            return sum(after > before + 1e-6 for before, after in pairwise(losses))

        assert rises(smooth) == 0
        assert rises(10 * smooth) > 0


class TestRates:
    def test_groups_keep_their_proportions_from_the_first_step_on(self) -> None:
        module, callback = Module(), LipschitzLR("row", cap=None)
        fit(module, callback)
        assert [one / other for one, other in module.used] == pytest.approx([5] * 6)
        first = 2 / float(ones(module.features(data()[0])).norm(dim=1).max())
        assert module.used[0][0] == pytest.approx(first)
        assert [rates[0] for rates in module.used[3:]] == pytest.approx([callback.rates[0]] * 3)

    def test_a_schedule_goes_on_shaping(self) -> None:
        module, callback = Module(scheduled=True), LipschitzLR("row", cap=None)
        fit(module, callback)
        assert [rates[0] for rates in module.used[3:]] == pytest.approx([callback.rates[0] / n for n in (4, 5, 6)])

    def test_momentum_counts(self) -> None:
        module, callback = Module(momentum=0.9), LipschitzLR("row", cap=None)
        fit(module, callback)
        assert [rates[0] for rates in module.used[3:]] == pytest.approx([0.1 * callback.rates[0]] * 3)
        averaged = Module(momentum=0.9, dampening=0.9)
        fit(averaged, callback := LipschitzLR("row", cap=None))
        assert averaged.used[-1][0] == pytest.approx(callback.rates[0])

    def test_is_capped(self) -> None:
        module, callback = Module(), LipschitzLR("paper", cap=0.01)
        fit(module, callback)
        assert callback.rates == [0.01] * 2
        assert module.used[-1] == pytest.approx([0.01, 0.002])

    def test_a_dead_layer_changes_nothing(self) -> None:
        module, callback = Module(), LipschitzLR("paper", cap=None)
        nn.init.constant_(module.body.bias, -100.0)
        fit(module, callback)
        assert callback.rates == [math.inf] * 2
        assert module.used[-1] == pytest.approx([0.5, 0.1])

    def test_resumes(self, tmp_path: Any) -> None:
        whole = Module()
        fit(whole, LipschitzLR("row", cap=None), 4)
        trainer = fit(Module(), LipschitzLR("row", cap=None), 2)
        trainer.save_checkpoint(f"{tmp_path}/half.ckpt")
        resumed, callback = Module(), LipschitzLR("row", cap=None)
        fit(resumed, callback, 4, ckpt_path=f"{tmp_path}/half.ckpt")
        assert len(callback.rates) == 4
        assert torch.equal(whole.head.weight, resumed.head.weight)

    def test_leaves_no_hook(self) -> None:
        module = Module()
        fit(module, LipschitzLR())
        assert not module.head._forward_pre_hooks

    def test_looks_at_training_alone(self) -> None:
        module, callback = Module(), LipschitzLR("row", cap=None)
        callback._head = module.head
        module.eval()
        callback._look(module.head, (torch.ones(2, WIDTH),))
        assert callback._seen is None

    def test_names_a_layer(self) -> None:
        module, callback = Module(), LipschitzLR("row", cap=None, layer="body")
        fit(module, callback)
        assert callback.rates[0] == pytest.approx(2 / float(ones(torch.cat(data())).norm(dim=1).max()))


class TestConfig:
    def test_reaches_a_learner(self) -> None:
        """The schedule of the config is steady; its callback gives it the rate."""
        torch.manual_seed(0)
        config = {"name": "lipschitz", "rule": "row", "cap": 0.2, "warmup": 0.1}
        loss = nn.functional.cross_entropy
        module = Learner(nn.Linear(4, 3), loss, lambda outputs, targets: {}, {"name": "sgd", "lr": 9.0}, config)
        loader = DataLoader(TensorDataset(torch.ones(16, 4), torch.zeros(16).long()), batch_size=8)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(
            max_epochs=2,
            accelerator="cpu",
            enable_checkpointing=False,
            limit_val_batches=0,
            **quiet,
        )
        trainer.fit(module, loader)
        assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.02)

    @pytest.mark.parametrize("name", ["constant", "onecycle"])
    def test_others_need_no_callback(self, name: str) -> None:
        assert schedule_callbacks({"name": name, "rule": "row"}) == []

    @pytest.mark.parametrize(
        ("config", "expected"),
        [
            ({"rule": "smoth"}, r"rule must be one of \(smooth, row, paper\), but got 'smoth'"),
            ({"cap": 0}, r"cap must be null or a number above 0, but got 0"),
            ({"cap": "high"}, r"cap must be a number or null"),
        ],
    )
    def test_names_the_fault(self, config: dict, expected: str) -> None:
        optimizer = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
        with pytest.raises(ValueError, match=expected):
            build_schedule(optimizer, {"name": "lipschitz", **config}, 10, 5)

    def test_needs_a_linear_layer(self) -> None:
        with pytest.raises(ValueError, match=r"layer must be one of \(body, head\), but got 'neck'"):
            fit(Module(), LipschitzLR(layer="neck"))
