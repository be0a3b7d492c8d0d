"""The Learner under a plain Trainer."""

import csv
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import Tensor

from kirigami.models import Learner, build_network
from kirigami.models.outputs import loss

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

Batch = tuple[Tensor, Tensor]
Digits = tuple["Batches", "Batches"]
QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class Batches:
    """Hand out a list of batches: a trainer would take the bare list for a list of loaders."""

    def __init__(self, inputs: Tensor, targets: Tensor, size: int) -> None:
        self.batches = list(zip(inputs.split(size), targets.split(size), strict=True))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Return shuffled batches of 64 for training, and two for validation."""
    data = load_digits()
    order = torch.randperm(len(data.data), generator=torch.Generator().manual_seed(0))
    inputs = (torch.tensor(data.data, dtype=torch.float32) / 16).reshape(-1, 1, 8, 8)[order]
    targets = torch.tensor(data.target)[order]
    return Batches(inputs[:1216], targets[:1216], 64), Batches(inputs[1216:], targets[1216:], 300)


def metrics(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    return {"accuracy": (outputs.argmax(-1) == targets).float().mean().item(), "rows": float(len(targets))}


def learner(optimizer: Mapping[str, Any] | None = None, schedule: Mapping[str, Any] | None = None) -> Learner:
    torch.manual_seed(0)
    network = build_network({"name": "mlp", "width": 64}, in_shape=(1, 8, 8), out_features=10)
    optimizer = optimizer or {"name": "sgd", "lr": 0.1}
    return Learner(network, loss("auto", "classes", 10), metrics, optimizer, schedule or {"name": "onecycle"})


def fit(module: LightningModule, digits: Digits, **options: Any) -> Trainer:
    trainer = Trainer(**{**QUIET, "max_epochs": 4, **options})
    trainer.fit(module, *digits)
    return trainer


def test_learns_digits(digits: Digits) -> None:
    module = learner()
    values = fit(module, digits, max_epochs=8).callback_metrics
    assert set(values) == {"accuracy", "loss", "rows"}
    assert values["accuracy"] > 0.9
    assert values["rows"] == 581
    assert module.train_loss is not None
    assert not module.train_loss.requires_grad


def test_loss_is_over_all_rows(digits: Digits) -> None:
    module = learner()
    values = fit(module, digits, max_epochs=1).callback_metrics
    inputs, targets = (torch.cat(parts) for parts in zip(*digits[1], strict=True))
    with torch.no_grad():
        expected = loss("auto", "classes", 10)(module.eval()(inputs), targets)
    assert values["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_half_precision_does_not_round_the_loss(digits: Digits) -> None:
    value = fit(learner(), digits, max_epochs=1, precision="bf16-mixed").callback_metrics["loss"]
    assert value.dtype == torch.float32
    assert value != value.bfloat16().float()


def test_same_seed_same_numbers(digits: Digits) -> None:
    first, second = (fit(learner(), digits, max_epochs=2).callback_metrics for _ in range(2))
    assert first == second


def test_equals_a_bare_loop(digits: Digits) -> None:
    """What is left out for speed changes no number."""
    trained, by_hand = learner(), learner()
    config = {"name": "sgd", "lr": 0.1, "weight_decay": 5e-4}
    trained.optimizer_config = config
    fit(trained, digits, max_epochs=2, gradient_clip_val=0.5)
    decayed = [p for p in by_hand.network.parameters() if p.ndim > 1]
    rest = [
        {"params": decayed, "weight_decay": 5e-4},
        {"params": [p for p in by_hand.network.parameters() if p.ndim < 2]},
    ]
    optimizer = torch.optim.SGD(rest, lr=0.1, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=38, base_momentum=0.8, max_momentum=0.9)
    for inputs, targets in [*digits[0], *digits[0]]:
        optimizer.zero_grad()
        by_hand.loss(by_hand(inputs), targets).backward()
        torch.nn.utils.clip_grad_norm_(by_hand.parameters(), 0.5)
        optimizer.step()
        schedule.step()
    for ours, theirs in zip(trained.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_schedule_spans_the_run(digits: Digits) -> None:
    class Rates(Callback):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Any) -> None:
            self.seen.append(optimizer.param_groups[0]["lr"])

    rates = Rates()
    schedule = {"name": "step", "milestones": [0.5], "factor": 0.1}
    fit(learner(schedule=schedule), digits, max_epochs=-1, max_steps=38, callbacks=[rates])
    assert rates.seen == pytest.approx([0.1] * 19 + [0.01] * 19)


def test_schedule_knows_the_epoch(digits: Digits) -> None:
    module = learner(schedule={"name": "step", "every": 2, "factor": 0.1})
    trainer = fit(module, digits, max_epochs=3)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01)


def test_a_run_without_end_is_refused(digits: Digits) -> None:
    with pytest.raises(ValueError, match="no limit of epochs or steps"):
        fit(learner(), digits, max_epochs=-1)


def test_early_stopping_sees_the_metrics(digits: Digits) -> None:
    stopping = EarlyStopping("accuracy", mode="max", stopping_threshold=0.5)
    trainer = fit(learner(), digits, max_epochs=50, callbacks=[stopping])
    assert trainer.current_epoch < 10


def test_a_logger_gets_the_metrics(digits: Digits, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    values = fit(learner(), digits, max_epochs=2, logger=logger).callback_metrics
    rows = list(csv.DictReader((Path(logger.log_dir) / "metrics.csv").open()))
    assert len([row for row in rows if row["accuracy"] and row["loss"]]) == 2
    assert len([row for row in rows if row["train_loss"]]) == 2
    assert values == fit(learner(), digits, max_epochs=2).callback_metrics


def test_a_check_before_training_leaves_no_metrics(digits: Digits) -> None:
    module = learner()
    trainer = Trainer(**{**QUIET, "num_sanity_val_steps": 2, "max_epochs": 1, "limit_val_batches": 2})
    seen: list[dict[str, Any]] = []

    class Look(Callback):
        def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
            seen.append(dict(trainer.callback_metrics))

    trainer.callbacks.append(Look())
    trainer.fit(module, *digits)
    assert seen == [{}]
    assert trainer.callback_metrics["rows"] == 581


def test_validates_and_resumes(digits: Digits, tmp_path: Path) -> None:
    whole = fit(learner(), digits, max_epochs=4)
    half = learner()
    stopped = Trainer(**QUIET, max_epochs=4, limit_val_batches=1.0)

    class Stop(Callback):
        def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
            trainer.should_stop = trainer.current_epoch == 1

    stopped.callbacks.append(Stop())
    stopped.fit(half, *digits)
    path = tmp_path / "half.ckpt"
    stopped.save_checkpoint(path)
    module = learner()
    resumed = Trainer(**QUIET, max_epochs=4)
    resumed.fit(module, *digits, ckpt_path=path, weights_only=True)
    assert resumed.callback_metrics == whole.callback_metrics
    validated = Trainer(**QUIET).validate(module, digits[1], verbose=False)
    assert validated is not None
