"""From a config to a trial that is ready to be trained: its task on its device, its network and its module."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, seed_everything
from safetensors.torch import load_model
from torch import Tensor, nn

from kirigami import models, tasks
from kirigami.errors import at
from kirigami.models.regimes import Regime
from kirigami.models.technique import Technique, network_of
from kirigami.search.config import groups
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.training import checks, costs, devices, networks
from kirigami.search.training.job import Metrics


@dataclass(frozen=True)
class Assembly:
    """A trial that is ready to be trained, and the same one trained.

    Attributes:
        config: the trial's.
        task: on the trial's device, with its training and validation rows read.
        module: what Lightning trains.
        network: what is written to a file in the end: a user's own LightningModule, or what a `Learner` trains.
        techniques: attached to the network, in the order grow, share, mask, quantise.
        costs: what is known of its costs before training, as details of a trial; nothing where none were measured.
    """

    config: TrialConfig
    task: tasks.Task
    module: LightningModule
    network: nn.Module
    techniques: Sequence[Technique]
    costs: Mapping[str, float]

    def save(self, path: Path) -> None:
        """Write the network to a file from which `load` builds it again.

        Raises:
            OSError: where it cannot be written.
        """
        recipes = [technique.recipe() for technique in self.techniques]
        networks.save(path, self.network, self.config.plain, shapes_of(self.task), recipes)


def assemble(
    config: TrialConfig,
    split: int | None = None,
    test_split: int | None = None,
    *,
    threads: int | None = None,
    fold: int | None = 0,
    task: tasks.Task | None = None,
    is_measured: bool = True,
) -> Assembly:
    """Open the task, seed, build the module, build the techniques, measure, and attach: every trial in this order.

    Args:
        config: the trial's.
        split: seed of the split, where it is not that of the weights and batches.
        test_split: seed of the test rows, where it is not that of the split.
        threads: the process's share of the cores, of which small networks use one; None leaves torch's setting alone.
        fold: which of the task's draws of validation rows; None trains on all rows but the test rows.
        task: one that is open already.
        is_measured: whether the costs are measured, for which the network has to work, on the trial's device.

    Raises:
        ValueError: for data, a network or techniques that cannot be had, or do not go together.
    """
    task = open_task(config, split, test_split, fold) if task is None else task
    seed_everything(config.seed, verbose=False)
    module = build_module(config, task)
    network = network_of(module)
    techniques = build_techniques(config.techniques)
    measured: dict[str, float] = {}
    if is_measured:
        measured |= costs.macs(network, task)
        if threads is not None:
            work, shares = int(measured.get("macs", 0)) * task.batch_size, config.trainer.ranks
            torch.set_num_threads(devices.threads_for(work, threads, shares))
        measured |= costs.working(config, network, task)
    attach(techniques, network)
    if is_measured:
        measured |= costs.sizes(config, network, techniques)
    return Assembly(config, task, module, network, techniques, measured)


def load(path: Path) -> tuple[nn.Module, TrialConfig]:
    """Build a trial's network from its file, in its final form and with its weights; return it with the trial's config.

    Raises:
        InputError: where the file is no network that a trial wrote, or its own code has changed since.
    """
    about = networks.about_file(path)
    try:
        config = TrialConfig.from_resolved(about["config"])
        with at("network"):
            network = network_of(models.build_network(config.network, **about["shapes"]))
        for technique, recipe in zip(build_techniques(config.techniques), about["recipes"], strict=True):
            technique.restore(network, recipe)
        load_model(network, str(path))
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        raise InputError(f"{path}: its network cannot be built again: {' '.join(str(error).split())[:300]}") from error
    return network.eval(), config


def open_task(
    config: TrialConfig, split: int | None = None, test_split: int | None = None, fold: int | None = 0
) -> tasks.Task:
    """Build the task on the trial's device and read its training and validation rows.

    Args:
        config: the trial's.
        split: seed of the split, where it is not that of the weights and batches.
        test_split: seed of the test rows, where it is not that of the split.
        fold: which of its draws of validation rows; None trains on all rows but the test rows.
    """
    with at("task"):
        task = tasks.build(config.task, seed=config.seed if split is None else split, test_seed=test_split)
    task.shuffle_seed, task.fold = config.seed, fold
    task.device = devices.pick(config.trainer.device)[0]
    task.batch_size = config.trainer.batch_size
    with at("imbalance"):
        task.imbalance = tasks.imbalance.build(config.imbalance)
    with at("metrics"):
        task.added = tasks.metrics.build(config.metrics)
    with at("task"):
        task.setup("fit")
    return task


def open_whole(config: TrialConfig, fold: int | None = 0) -> tasks.Task:
    """Build the task on the CPU with all its train rows as the data have them, whatever share a trial takes of them.

    Args:
        config: of a trial.
        fold: which of its draws of validation rows; None has all rows but the test rows among the train rows.
    """
    share = {"fraction": 1.0} if "fraction" in config.task else {}
    changes = {"task": share, "imbalance": {"method": "none"}, "trainer": {"device": "cpu"}}
    return open_task(config.with_changes(**changes), fold=fold)


def build_module(config: TrialConfig, task: tasks.Task) -> LightningModule:
    """Build what Lightning trains: a user's own LightningModule as it is, any other network inside a `Learner`."""
    network = build_network(config, task)
    checks.check_output(config, task)
    output = config.output
    with at("regime"):
        regime = models.regimes.build(config.regime)
    checks.check_inputs(config, task)
    if not isinstance(network, LightningModule):
        loss, schedule = build_loss(config, task), config.schedule
        return models.Learner(network, loss, task.evaluate, config.optimizer, schedule, regime)
    check_regime(regime, network)
    for key, value in (("output.calibration", output.calibration), ("output.threshold", output.threshold)):
        if value != "none":
            raise InputError(f"{key} must be none for a LightningModule, whose outputs are its own, but got {value!r}.")
    if task.class_weights is not None:
        raise InputError("imbalance.method must not be weights for a LightningModule, whose loss is its own.")
    return network


def build_network(config: TrialConfig, task: tasks.Task) -> nn.Module:
    """Build the network for the shapes of a task."""
    with at("network"):
        return models.build_network(config.network, **shapes_of(task))


def shapes_of(task: tasks.Task) -> dict[str, Any]:
    """Return the shapes of the data that a network needs."""
    return {
        "in_shape": dict(task.in_shape) if isinstance(task.in_shape, dict) else list(task.in_shape),
        "out_features": task.out_features,
        "vocabulary": task.vocabulary,
        "dense": task.kind == "pixels",
    }


def build_techniques(settings: Mapping[str, Mapping[str, Any]]) -> list[Technique]:
    """Build the techniques that are asked for, in the order grow, share, mask, quantise.

    Args:
        settings: group -> its settings.

    Raises:
        ValueError: for an unknown method or key, or a value out of its range.
    """
    techniques = []
    for group in (group for group in groups.TECHNIQUES if group in settings):
        with at(group):
            techniques.append(import_module(f"{models.__name__}.{group}").build(settings[group]))
    return [technique for technique in techniques if technique is not None]


def attach(techniques: Sequence[Technique], network: nn.Module) -> None:
    """Attach techniques to a network.

    Raises:
        ValueError: where a network has no layers for a technique, or two of them do not go together.
    """
    for technique in techniques:
        with at(group_of(technique), otherwise=("method", "none")):
            technique.attach(network)
    for technique in techniques:
        with at(group_of(technique), otherwise=("method", "none")):
            technique.check()


def group_of(technique: Technique) -> str:
    """Return the group of the config that a technique is built from: its module has the same name."""
    module = f"{type(technique).__module__}."
    return next(group for group in groups.TECHNIQUES if module.startswith(f"{models.__name__}.{group}."))


def check_regime(regime: Regime | None, network: nn.Module, techniques: Sequence[Technique] = ()) -> None:
    """Check that a regime suits the network and its techniques.

    Raises:
        ValueError: saying what does not go with it.
    """
    if regime is not None:
        with at("regime", otherwise=("name", "backprop")):
            regime.check(network, techniques)


def build_loss(config: TrialConfig, task: tasks.Task) -> Callable[[Tensor, Tensor], Tensor]:
    """Build the loss that `output:` names, with the task's class weights."""
    output = config.output
    settings = {"smoothing": output.smoothing, "weights": task.class_weights}
    with at("output"):
        return models.outputs.loss(output.loss, task.kind, task.classes, **settings)


def prepare(assembly: Assembly) -> dict[str, float]:
    """Fit the network in closed form before it is trained, where the config asks for that; return the fit's figures."""
    config, task = assembly.config, assembly.task
    with at("init"):
        initial = models.initial.build(config.init)
    if initial is None:
        return {}
    loss = build_loss(config, task)
    with at("init", otherwise=("name", "default")):
        return initial.fit(assembly.network, task.train_dataloader(), task.kind, loss)


class Calibrated(NamedTuple):
    """What was chosen with calibration errors before and after, and the validation rows after it: metrics, outputs."""

    figures: Mapping[str, float]
    metrics: Metrics
    judged: tuple[Tensor, Tensor]


def calibrate(network: nn.Module, config: TrialConfig, task: tasks.Task) -> Calibrated | None:
    """Choose temperature and threshold on validation rows and fold them into the network; None if not asked for."""
    output = config.output
    if output.calibration == output.threshold == "none":
        return None
    methods = {"calibration": output.calibration, "threshold": output.threshold}
    with at("output"):
        figures, outputs, targets = models.calibration.finish(network, task.val_dataloader(), task.kind, **methods)
    metrics = task.evaluate(outputs, targets)
    if output.loss in ("auto", "cross_entropy"):  # others are of outputs as they were trained, not of logits
        metrics |= {"loss": float(build_loss(config, task)(outputs, targets))}
    return Calibrated(figures, metrics, (outputs, targets))


def set_calibration(network: nn.Module, task: tasks.Task, chosen: Mapping[str, float]) -> None:
    """Fold a temperature and a threshold that were chosen before into a network, where there are any."""
    values = {name: chosen[name] for name in ("temperature", "threshold") if name in chosen}
    if values:
        with at("output"):
            models.calibration.put(network, task.val_dataloader(), **values)


def skips_gradients(config: TrialConfig) -> bool:
    """Tell whether parameters may go without a gradient: those of techniques that are hard, and a user's own."""
    return "_target_" in config.network or bool(config.methods)


def figures(techniques: Sequence[Technique]) -> dict[str, Any]:
    """Return the figures of the techniques, such as density, bits and the similarity of layers."""
    return {name: value for technique in techniques for name, value in technique.figures().items()}
