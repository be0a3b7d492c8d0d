"""The last cuts before a network is written: fold, bring norms to two vectors, round what no technique has rounded.

Each is kept only where the score on validation rows stays within the tolerance and the file gets smaller. Test rows
play no part.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import nn

from kirigami import models, tasks
from kirigami.models import compact
from kirigami.models.sharing import fold, normalise
from kirigami.models.sharing.bank import banks
from kirigami.search.config.settings import TrialConfig
from kirigami.search.export.judge import Judge
from kirigami.search.training.building import build_loss, calibrate, set_calibration
from kirigami.search.training.trainer import build_trainer

ROUNDINGS: tuple[int | None, ...] = (None, 8, 7, 6, 5, 4, 3, 2)  # bits of what has no link; None leaves it as it is
TUNING = 0.2  # of the trial's epochs, after a fold
TUNING_LR = 0.1  # of the trial's rate


@dataclass
class Finished:
    """A network as it will be written.

    Attributes:
        score: on validation rows; `before` is the trial's.
        bits: of what no technique has rounded; None leaves it as it is.
        is_folded, is_reduced: which of the other cuts were kept.
        notes: what was tried, and what came of it, in words.
    """

    network: nn.Module
    score: float
    before: float
    bits: int | None = None
    is_folded: bool = False
    is_reduced: bool = False
    notes: list[str] = field(default_factory=list)


def finish(network: nn.Module, config: TrialConfig, judge: Judge) -> Finished:
    """Return the smallest form that the judge lets pass."""
    before = judge.score(network)
    finished = Finished(copy.deepcopy(network), before, before)
    _fold(finished, config, judge)
    _reduce(finished, judge)
    _round(finished, judge)
    return finished


def cut_alike(
    network: nn.Module, config: TrialConfig, task: tasks.Task, judged: Finished, chosen: Mapping[str, float]
) -> Finished:
    """Make the cuts to a network that another one of the same config has passed.

    Args:
        network: trained on all rows but the test rows, before any calibration.
        config: the trial's.
        task: with these rows to train on.
        judged: the other one, whose scores stay those of the result.
        chosen: temperature and threshold, where there are any.
    """
    network = copy.deepcopy(network)
    if judged.is_folded:
        fold(network)
        tune(network, config, task)
    set_calibration(network, task, chosen)
    if judged.is_reduced:
        network = compact.reduce(network)
        normalise(network)
    if judged.bits is not None:
        network = compact.rounded(network, judged.bits)
    return replace(judged, network=network, notes=list(judged.notes))


def _fold(finished: Finished, config: TrialConfig, judge: Judge) -> None:
    """Fold layers that soft sharing has made alike, and fine-tune."""
    if not banks(finished.network):
        return
    if judge.logging is not None:
        finished.notes.append("fold: not tried with a LightningModule, whose training is its own")
        return
    folded = copy.deepcopy(finished.network)
    done = fold(folded)
    if done.after >= done.before:
        finished.notes.append("fold: no layers are alike enough")
        return
    tune(folded, config, judge.task)
    score = judge.score(folded)
    smaller = compact.encoded_bytes(folded) < compact.encoded_bytes(finished.network)
    is_kept = smaller and judge.is_enough(score, finished.before)
    finished.notes.append(
        f"fold: {done.before:,} to {done.after:,} parameters, {judge.metric} {score:.4f} after fine-tuning"
        + ("" if is_kept else ": not kept")
    )
    if is_kept:
        finished.network, finished.score, finished.is_folded = folded, score, True


def tune(network: nn.Module, config: TrialConfig, task: tasks.Task) -> None:
    """Train on for a share of the trial's epochs at a small rate, techniques fixed."""
    steps = config.trainer.steps
    length = max(1, round(TUNING * (config.trainer.epochs if steps is None else steps)))
    change = {"epochs": length, "val_every": 1} if steps is None else {"steps": length, "val_every": length}
    optimizer = models.optimizers.slowed(config.optimizer, TUNING_LR)
    module = models.Learner(network, build_loss(config, task), task.evaluate, optimizer, config.schedule)
    module.train()
    trainer = build_trainer(config.with_changes(trainer={**change, "device": "cpu"}).trainer, [])
    trainer.fit(module, task.train_dataloader(), task.val_dataloader())
    if task.fold is not None:
        calibrate(network, config, task)
    network.eval()


def _reduce(finished: Finished, judge: Judge) -> None:
    """Bring every batch norm to one factor and one offset a channel, and a scale of each folded weight to 1."""
    reduced = compact.reduce(finished.network)
    normalise(reduced)
    score = judge.score(reduced)
    if judge.is_enough(score, finished.before):
        finished.network, finished.score, finished.is_reduced = reduced, score, True


def _round(finished: Finished, judge: Judge) -> None:
    """Round what has no link, norms, biases and the last layer, to the fewest bits that pass."""
    start, sizes = finished.network, {}
    for bits in ROUNDINGS:
        rounded = start if bits is None else compact.rounded(start, bits)
        score = judge.score(rounded)
        if judge.is_enough(score, finished.before):
            sizes[bits] = (compact.encoded_bytes(rounded), score, rounded)
    finished.bits = min(sizes, key=lambda bits: sizes[bits][0])
    size, finished.score, finished.network = sizes[finished.bits]
    finished.notes.append(
        f"what no technique had rounded has {finished.bits or 32} bits: {judge.metric} {finished.score:.4f}, "
        f"{size:,} bytes of tensors"
    )
