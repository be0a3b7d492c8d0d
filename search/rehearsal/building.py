"""Before any trial: build everything once with every choice and both ends of every range, training nothing."""

from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningModule

from kirigami import models, tasks
from kirigami.errors import at
from kirigami.search.config.settings import TrialConfig
from kirigami.search.config.study import StudySettings
from kirigami.search.errors import InputError
from kirigami.search.rehearsal.keeping import check_learns
from kirigami.search.rehearsal.places import part_of
from kirigami.search.rehearsal.running import has_own_parts, has_own_preprocessing, parts_of, run_once, structure
from kirigami.search.training.building import assemble, check_regime, open_task
from kirigami.search.training.callbacks import build_callbacks, check_monitors
from kirigami.search.training.checks import check_devices, check_untrained
from kirigami.search.training.loggers import check_logger


def rehearse(settings: StudySettings) -> tasks.Task:
    """Open the data, build the study's config and each probe of its space; return the task.

    What is the user's own is run on a few rows, in each size that it may have, and exported in each structure.

    Raises:
        InputError: naming the path and the value that something refuses.
    """
    config, task = settings.config, rehearse_trial(settings.config)
    own = OwnParts(exports=config.export, ran=[parts_of(config)])
    own.rehearse(config, task)
    for values in settings.space.probes():
        try:
            probe = TrialConfig.from_resolved(settings.resolved(values))
            with at("task"):
                tasks.build(probe.task, seed=probe.seed)
            its_task = task if probe.imbalance == config.imbalance else open_task(probe)
            build(probe, its_task)
            own.rehearse(probe, its_task)
        except (ValueError, TypeError, ImportError) as error:
            named = ", ".join(f"space.{path}={value!r}" for path, value in values.items())
            raise InputError(f"{named} is refused: {_line(error)}") from error
    return task


@dataclass
class OwnParts:
    """Rehearses what is the user's own, each size of it and each structure once.

    Attributes:
        exports: whether networks are exported.
        ran: parts of configs that have been run.
        exported: structures of networks that have been.
    """

    exports: bool
    ran: list[dict[str, Any]] = field(default_factory=list)
    exported: set[str] = field(default_factory=set)

    def rehearse(self, config: TrialConfig, task: tasks.Task) -> None:
        """Run the parts of a config and export its network, unless that was done.

        Raises:
            InputError: for what no trial, or no export, could do.
        """
        if has_own_parts(config) and parts_of(config) not in self.ran:
            run_once(config, task)
            self.ran.append(parts_of(config))
        is_own = "_target_" in config.network or has_own_preprocessing(task)
        if self.exports and is_own and structure(config.network) not in self.exported:
            from kirigami.search.rehearsal.exporting import export_once  # ONNX comes with it

            export_once(config, task)
            self.exported.add(structure(config.network))


def rehearse_trial(config: TrialConfig) -> tasks.Task:
    """Open the data, look at the names of the test part, build a config and run what is the user's own on a few rows.

    Returns:
        The task.

    Raises:
        InputError: naming the path and the value that something refuses.
    """
    try:
        task = open_task(config)
        with at("task"):
            task.check_test_part()
        build(config, task)
        if has_own_parts(config):
            run_once(config, task)
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise InputError(_line(error)) from error
    return task


def build(config: TrialConfig, task: tasks.Task) -> LightningModule:
    """Build without memory, on the meta device, and for real where a network, or its regime, needs that."""
    check_untrained(config)
    check_devices(config)
    with at("init"):
        models.initial.build(config.init)
    check_logger(config)
    try:
        with torch.device("meta"):
            module = _assemble(config, task)
    except (RuntimeError, NotImplementedError, ValueError):
        module = _assemble(config, task)
    if isinstance(module, models.Learner):
        if not any(parameter.requires_grad for parameter in module.network.parameters()):
            check_learns(module.network, part_of("network", config.network))
            raise InputError(f"{part_of('network', config.network)} has no parameter to train.")
        with at("optimizer"):
            optimizer = models.optimizers.build_optimizer(module.network, config.optimizer)
        with at("schedule"):
            models.schedules.build_schedule(optimizer, config.schedule, total_steps=100, steps_per_epoch=10)
            models.schedules.stepping(config.schedule)
        check_monitors(config, (*task.metrics, "loss"))
    else:
        build_callbacks(config.trainer)
    return module


def _assemble(config: TrialConfig, task: tasks.Task) -> LightningModule:
    """Assemble a trial, and let a regime find its blocks."""
    assembly = assemble(config, task=task, is_measured=False)
    module = assembly.module
    if isinstance(module, models.Learner) and module.regime is not None:
        check_regime(module.regime, module.network, assembly.techniques)
        with at("regime", otherwise=("name", "backprop")):
            module.regime.prepare(module.network.to(task.device), next(iter(task.train_dataloader())))
    return module


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
