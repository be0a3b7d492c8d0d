"""One trial, one path: config -> task -> network -> fit under the pruner -> metrics of the validation rows."""

import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger

from kirigami import models
from kirigami.search.config.settings import TrialConfig
from kirigami.search.training import costs
from kirigami.search.training.building import Assembly, assemble, build_loss, calibrate, figures, prepare
from kirigami.search.training.callbacks import build_callbacks
from kirigami.search.training.checkpoints.callback import CheckpointCallback, Start
from kirigami.search.training.checkpoints.state import Refused
from kirigami.search.training.checks import check_untrained
from kirigami.search.training.job import Job, Outcome, log_line
from kirigami.search.training.judging import row_figures
from kirigami.search.training.loggers import logging
from kirigami.search.training.ranks.lead import lead
from kirigami.search.training.reports import Memory, Reports
from kirigami.search.training.trainer import build_trainer
from kirigami.spaces.costs import known_before


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
    config = TrialConfig.from_resolved(job.config)
    for checkpoint in () if job.checkpoints is None else job.checkpoints.read():
        start = Start(*checkpoint)
        try:
            return _train(job, config, threads, split, test_split, start, runs)
        except Refused as reason:
            log_line(f"trial {job.number} cannot go on from the checkpoint of trial {start.attempt}: {reason}")
            job.details.clear()
    return _train(job, config, threads, split, test_split, None, runs)


def _train(
    job: Job,
    config: TrialConfig,
    threads: int | None,
    split: int | None,
    test_split: int | None,
    start: Start | None,
    runs: Path | None,
) -> Outcome:
    """Train from a checkpoint, or from the beginning where there is none.

    Raises:
        Refused: where the checkpoint cannot be taken up.
    """
    check_untrained(config)
    assembly = assemble(config, split, test_split, threads=threads)
    job.details |= assembly.costs
    if any(technique.shrinks for technique in assembly.techniques):
        job.details["shrinks"] = True  # what is too large now may get below the limits
    elif start is None:  # one that has begun was within the limits
        over = costs.over_budget(config.budget, job.details)
        if over is not None:
            bounds = {name: float(value) for name, value in known_before(job.details).items()}
            return Outcome("infeasible", bounds, over)
    with logging(config, runs, job.number) as logger:
        metrics = _fit(job, assembly, start, split, test_split, logger)
    job.details |= figures(assembly.techniques)  # among them costs as a technique counts them
    job.details |= costs.after(config, assembly.network, assembly.techniques, assembly.task)
    return Outcome("complete", {**metrics, **costs.of_trained(job.details)}, trained=assembly)


def _fit(
    job: Job,
    assembly: Assembly,
    start: Start | None,
    split: int | None,
    test_split: int | None,
    logger: Logger | None,
) -> dict[str, float]:
    """Train and calibrate an assembly under the pruner; return the metrics of its last validation."""
    config = assembly.config
    checkpoint_callback, ranks = CheckpointCallback(job, start), lead(job, config, split, test_split)
    reports = Reports(job, config.trainer.unit, checkpoint_callback)
    added = build_callbacks(config.trainer)
    callbacks = [checkpoint_callback, *assembly.techniques, *watchers(config, job), *added, reports]
    trainer = build_trainer(config.trainer, callbacks, ranks, plugins=[checkpoint_callback.bytes], logger=logger)
    job.details |= {"device": str(trainer.strategy.root_device), "devices": config.trainer.ranks}
    began = time.perf_counter()
    try:
        if start is None:
            job.check_interrupt()
            job.details |= prepare(assembly)
        with nullcontext() if ranks is None else ranks.training():
            _run(trainer, assembly, checkpoint_callback)
        calibrated = calibrate(assembly.network, config, assembly.task)
    finally:
        job.details["fit_s"] = round(job.spent_s + time.perf_counter() - began, 4)
    judged = assembly.module.judged if isinstance(assembly.module, models.Learner) else None
    if calibrated is not None:
        job.details |= calibrated.figures
        reports.metrics |= calibrated.metrics
        judged = calibrated.judged
    if judged is not None:
        loss = partial(build_loss, config, assembly.task)
        job.details |= row_figures(assembly.task, tuple(config.objective), loss, *judged)
    return reports.metrics


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
    except Refused:
        raise
    except Exception as error:
        if checkpoint_callback.start is None or checkpoint_callback.restored:
            raise
        raise Refused(" ".join(str(error).split())[:300]) from error
