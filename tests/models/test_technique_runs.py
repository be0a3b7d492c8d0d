"""Techniques harden whatever the run does: stops early, counts its steps otherwise, keeps its best by a score."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from kirigami.models import compact
from kirigami.models.sparsity import ContinuousSparsification, MagnitudePruning, StructuredPruning
from kirigami.models.technique import Technique
from tests.models.foreign import Foreign, rows
from tests.models.technique_table import TECHNIQUES


class ByHand(Foreign):
    """Steps by hand: `every` batches make a step, or each batch makes `steps` of them."""

    def __init__(self, every: int = 1, steps: int = 1) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.every, self.steps = every, steps

    def training_step(self, batch: Any, index: int) -> None:
        optimizer = self.optimizers()
        for _ in range(self.steps):
            self.manual_backward(F.cross_entropy(self(batch[0]), batch[1]))
            if (index + 1) % self.every == 0:
                optimizer.step()
                optimizer.zero_grad()


class Judged(Foreign):
    """Logs a validation score that falls by its epoch in the soft form, and by a tenth of that after it."""

    technique: Technique

    def validation_step(self, batch: Any, index: int) -> None:
        score = self.current_epoch if not self.technique.hard else self.current_epoch / 10
        self.log("score", float(score))


class Hardening(Callback):
    """Notes the batch at which a technique is hard."""

    def __init__(self, technique: Technique) -> None:
        self.technique, self.batches, self.at = technique, 0, None

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.batches += 1
        if self.at is None and self.technique.hard:
            self.at = self.batches


def fit(module: Foreign, *callbacks: Callback, epochs: int = 5, **settings: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(
        max_epochs=epochs, callbacks=list(callbacks), **{"enable_checkpointing": False, **quiet, **settings}
    )
    loader = DataLoader(TensorDataset(*rows()), batch_size=16)
    trainer.fit(module, loader, loader if isinstance(module, Judged) else None)
    return trainer


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        (Foreign(), {}),
        (ByHand(steps=2), {}),
        (ByHand(every=4), {}),
        (Foreign(), {"accumulate_grad_batches": 3}),
        (Foreign(), {"epochs": -1, "max_steps": 30}),
    ],
    ids=["automatic", "two steps a batch", "a step every four batches", "accumulated", "limited by steps"],
)
def test_the_form_is_fixed_at_its_share_of_the_batches(module, settings):
    technique = MagnitudePruning(0.3, harden_at=0.6)
    hardening = Hardening(technique)
    fit(module, technique, hardening, **settings)
    assert hardening.batches == 30
    assert hardening.at == 19
    assert technique.late is None


class StopAfter(Callback):
    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = True


@pytest.mark.parametrize("name", [name for name in TECHNIQUES if name != "random pruning"])  # hard from the first step
def test_a_run_that_stops_early_is_hard_at_its_end_and_says_so(name):
    technique, module = TECHNIQUES[name].alone(), Foreign()
    with pytest.warns(UserWarning, match=r"the run ended at 0\.1\d of its length"):
        fit(module, technique, StopAfter(), epochs=8)
    assert technique.hard
    assert 0.1 < technique.late < 0.2
    images = rows()[0]
    network = compact.plain(module.body.eval())
    assert torch.equal(network(images), compact.decode(compact.encode(module.body), network)(images))


def test_a_run_that_stops_early_meets_its_target():
    masked, cut, module = MagnitudePruning(0.25), StructuredPruning(0.6), Foreign()
    with pytest.warns(UserWarning, match="without fine-tuning"):
        fit(module, cut, StopAfter(), epochs=8)
    assert cut.report()["params_kept"] <= 0.6
    with pytest.warns(UserWarning, match="without fine-tuning"):
        fit(module, masked, StopAfter(), epochs=8)
    assert masked.report()["density"] == pytest.approx(0.25, abs=0.001)


def test_the_best_checkpoint_is_that_of_a_hard_network(tmp_path: Path):
    module, technique = Judged(), MagnitudePruning(0.3, harden_at=0.5)
    module.technique = technique
    best = ModelCheckpoint(tmp_path, monitor="score", mode="min")
    fit(module, technique, best, enable_checkpointing=True)
    state = torch.load(best.best_model_path, weights_only=True)["state_dict"]
    assert "epoch=2" in best.best_model_path  # the first hard one; epoch 0 has the lowest score of all
    assert float((state["body.first.0.parametrizations.weight.0.kept"]).float().mean()) < 0.9


def test_patience_begins_anew_with_the_hard_form():
    module, technique = Judged(), ContinuousSparsification(0.3, harden_at=0.5)
    module.technique = technique
    trainer = fit(module, technique, EarlyStopping("score", mode="min", patience=3), epochs=6)
    assert trainer.current_epoch == 6


@pytest.mark.parametrize("name", ["structured pruning", "growth and shrinking"])
def test_a_soft_form_without_links_is_not_encoded(name):
    technique, module = TECHNIQUES[name].alone(), Foreign()
    technique.attach(module.body)
    with pytest.raises(ValueError, match="is still soft"):
        compact.encode(module.body)
    technique.harden()
    compact.encode(module.body)
