"""One trial, one path: config -> task -> network -> fit under the pruner -> metrics of the validation rows."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger

from kirigami import models
from kirigami.search.config.settings import TrialConfig
from kirigami.search.training import costs
from kirigami.search.training.building import (
    Assembly,
    Calibrated,
    assemble,
    build_loss,
    calibrate,
    figures,
    prepare,
    set_calibration,
)
from kirigami.search.training.callbacks import build_callbacks
from kirigami.search.training.checkpoints.callback import CheckpointCallback, Start
from kirigami.search.training.checkpoints.state import Refused, entry
from kirigami.search.training.checks import check_untrained
from kirigami.search.training.folds import KEY, Folds
from kirigami.search.training.job import Job, Outcome, log_line
from kirigami.search.training.judging import row_figures
from kirigami.search.training.loggers import logging
from kirigami.search.training.ranks.lead import lead
from kirigami.search.training.reports import Memory, Reports
from kirigami.search.training.trainer import build_trainer
from kirigami.spaces.costs import COSTS, known_before


def train(
    job: Job,
    threads: int | None = None,
    split: int | None = None,
    test_split: int | None = None,
    *,
    runs: Path | None = None,
) -> Outcome:
    """Train the job's config and return the metrics of its last validation.

    Where a worker died that had trained the same before, training goes on from its last checkpoint; where that cannot
    be used, it begins anew.

    Args:
        threads: the worker's share of the cores, of which small networks use one; None leaves torch's setting alone.
        split: seed of the split, where it is not that of the weights and batches.
        test_split: seed of the test rows, where it is not that of the split.
        runs: folder for what `trainer.logger` writes; None leaves the logger out.
    """
    config, how = TrialConfig.from_resolved(job.config), How(threads, split, test_split, runs)
    for checkpoint in () if job.checkpoints is None else job.checkpoints.read():
        start = Start(*checkpoint)
        try:
            return _train(job, config, how, start)
        except Refused as reason:
            log_line(f"trial {job.number} cannot go on from the checkpoint of trial {start.attempt}: {reason}")
            job.details.clear()
    return _train(job, config, how, None)


def train_draw(
    job: Job, fold: int | None, split: int | None = None, chosen: Mapping[str, float] | None = None
) -> Assembly:
    """Train one network of the job's config, whatever its budget.

    Args:
        fold: which of the task's draws of validation rows judges it; None trains on all rows but the test rows, and
            then what watches the validation rows, such as a callback that stops early, sees rows that are trained on.
        split: seed of the split, where it is not that of the weights and batches.
        chosen: `temperature` and `threshold` to fold in; None chooses them on the validation rows, where asked for.
    """
    config, how = TrialConfig.from_resolved(job.config), How(None, split, None, None)
    check_untrained(config)
    assembly = assemble(config, split, fold=fold)
    _fit(job, assembly, Folds(), how, None, None, chosen)
    job.details |= figures(assembly.techniques)
    return assembly


class How(NamedTuple):
    """What is not of the config: threads, seeds of the splits, and the folder for what a logger writes."""

    threads: int | None
    split: int | None
    test_split: int | None
    runs: Path | None


def _train(job: Job, config: TrialConfig, how: How, start: Start | None) -> Outcome:
    """Train from a checkpoint, or from the beginning where there is none.

    Raises:
        Refused: where the checkpoint cannot be taken up.
    """
    check_untrained(config)
    folds = Folds([] if start is None else list(entry(start.data, KEY) or ()))
    assembly = _assembled(job, config, how, folds)
    if any(technique.shrinks for technique in assembly.techniques):
        job.details["shrinks"] = True  # what is too large now may get below the limits
    elif start is None:  # one that has begun was within the limits
        over = costs.over_budget(config.budget, job.details)
        if over is not None:
            bounds = {name: float(value) for name, value in known_before(job.details).items()}
            return Outcome("infeasible", bounds, over)
    try:
        with logging(config, how.runs, job.number) as logger:
            if assembly.task.draws == 1:
                return _one(job, assembly, folds, how, start, logger)
            return _all(job, assembly, folds, how, start, logger)
    finally:
        folds.close(job, assembly.task)


def _assembled(job: Job, config: TrialConfig, how: How, folds: Folds) -> Assembly:
    assembly = assemble(config, how.split, how.test_split, threads=how.threads, fold=folds.current)
    job.details |= assembly.costs
    return assembly


def _one(job: Job, assembly: Assembly, folds: Folds, how: How, start: Start | None, logger: Logger | None) -> Outcome:
    """Train the network of a draw; return its metrics and costs."""
    config = assembly.config
    metrics = _fit(job, assembly, folds, how, start, logger)
    job.details |= figures(assembly.techniques)  # among them costs as a technique counts them
    job.details |= costs.after(config, assembly.network, assembly.techniques, assembly.task)
    return Outcome("complete", {**metrics, **costs.of_trained(job.details)}, trained=assembly)


def _all(job: Job, assembly: Assembly, folds: Folds, how: How, start: Start | None, logger: Logger | None) -> Outcome:
    """Train a network for each draw that is left; the outcome is that of all, and holds none of the networks."""
    config, length, draws = assembly.config, assembly.config.trainer.fidelities, assembly.task.draws
    while True:
        outcome = _one(job, assembly, folds, how, start, logger)
        folds.add(job, {name: value for name, value in outcome.metrics.items() if name not in COSTS})
        if folds.current == draws:
            metrics = folds.finish(job, length, assembly.task)
            return Outcome("complete", {**metrics, **costs.of_trained(job.details)})
        folds.report(job, length)
        start, assembly = None, _assembled(job, config, how, folds)


def _fit(
    job: Job,
    assembly: Assembly,
    folds: Folds,
    how: How,
    start: Start | None,
    logger: Logger | None,
    chosen: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Train and calibrate an assembly under the pruner; return the metrics of its last validation.

    Args:
        chosen: temperature and threshold, where no rows are left to choose them on.
    """
    config, task = assembly.config, assembly.task
    checkpoint_callback = CheckpointCallback(job, start, folds.since)
    ranks = lead(job, config, how.split, how.test_split, task.fold)
    reports = Reports(job, config.trainer.unit, checkpoint_callback, is_streaming=folds.current == 0)
    added = build_callbacks(config.trainer)
    callbacks = [checkpoint_callback, *assembly.techniques, *watchers(config, job), *added, reports]
    trainer = build_trainer(config.trainer, callbacks, ranks, plugins=[checkpoint_callback.bytes], logger=logger)
    job.details |= {"device": str(trainer.strategy.root_device), "devices": config.trainer.ranks}
    folds.began = time.perf_counter() if folds.began is None else folds.began
    try:
        if start is None:
            job.check_interrupt()
            job.details |= prepare(assembly)
        with nullcontext() if ranks is None else ranks.training():
            _run(trainer, assembly, checkpoint_callback)
        if chosen is not None:
            set_calibration(assembly.network, task, chosen)
            return {}
        calibrated = calibrate(assembly.network, config, task)
    finally:
        folds.since = checkpoint_callback.began
        job.details["fit_s"] = round(job.spent_s + time.perf_counter() - folds.began, 4)
    if checkpoint_callback.pausing is not None and folds.current + 1 < task.draws:
        raise checkpoint_callback.pausing
    _note_rows(job, assembly, calibrated)
    return reports.metrics if calibrated is None else {**reports.metrics, **calibrated.metrics}


def _note_rows(job: Job, assembly: Assembly, calibrated: Calibrated | None) -> None:
    """Note what was calibrated, and what each validation row adds to the objective."""
    config, task, module = assembly.config, assembly.task, assembly.module
    judged = module.judged if isinstance(module, models.Learner) else None
    if calibrated is not None:
        job.details |= calibrated.figures
        judged = calibrated.judged
    if judged is not None:
        job.details |= row_figures(task, tuple(config.objective), partial(build_loss, config, task), *judged)


def watchers(config: TrialConfig, job: Job) -> list[Callback]:
    """Return the callbacks that only look on."""
    return [Memory(job), *([models.entropy.WeightEntropy()] if config.weight_entropy else [])]


def _run(trainer: Trainer, assembly: Assembly, checkpoint_callback: CheckpointCallback) -> None:
    """Train, from a checkpoint where there is one; with no epochs to train for, only look at the validation rows.

    Raises:
        Refused: where the checkpoint cannot be taken up.
    """
    module, task = assembly.module, assembly.task
    if trainer.max_epochs == 0:
        trainer.validate(module, task.val_dataloader(), verbose=False)
        return
    checkpoint: dict[str, Any] = (
        {} if checkpoint_callback.start is None else {"ckpt_path": "bytes", "weights_only": True}
    )
    try:
        trainer.fit(module, task.train_dataloader(), task.val_dataloader(), **checkpoint)
        if any(technique.late is not None for technique in assembly.techniques):  # what was scored was the soft form
            trainer.validate(module, task.val_dataloader(), verbose=False)
    except Refused:
        raise
    except Exception as error:
        if checkpoint_callback.start is None or checkpoint_callback.restored:
            raise
        raise Refused(" ".join(str(error).split())[:300]) from error
