"""One batch through a network, a loss and metrics of the user's own, before any trial; nothing of it is kept."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from kirigami import models, tasks
from kirigami.errors import at
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.rehearsal.keeping import check_learns, keeps_in_files
from kirigami.search.rehearsal.loose import run_module
from kirigami.search.rehearsal.outputs import check_outputs, is_softmax
from kirigami.search.rehearsal.places import blamed, defined_at, part_of
from kirigami.search.training.building import build_module
from kirigami.several import Tensors, cut, listed, run

ROWS = 8  # of a batch: what is wrong with eight is wrong with all, and a large network answers at once
JUDGED = 4096  # rows, to which the outputs for these are repeated, so that metrics see real targets of all classes


def has_own_parts(config: TrialConfig) -> bool:
    """Tell whether what a batch goes through is not all ours."""
    parts = (config.network, config.task, config.output.loss, config.optimizer, config.schedule)
    return bool(config.metrics) or any(isinstance(part, dict) and "_target_" in part for part in parts)


def has_own_preprocessing(task: tasks.Task) -> bool:
    """Tell whether a task of the user's own brings the module that stands before the network in a file."""
    is_own = isinstance(task, tasks.Task) and type(task).preprocessing is not tasks.Task.preprocessing
    return is_own and task.preprocessing() is not None


def parts_of(config: TrialConfig) -> dict[str, Any]:
    """Return what a batch goes through."""
    steps = {"optimizer": config.optimizer, "schedule": config.schedule}
    own = {name: part for name, part in steps.items() if "_target_" in part}
    return {"network": config.network, "loss": config.output.loss, "metrics": config.metrics, **own}


def structure(network: Mapping[str, Any]) -> str:
    """Return what decides about the operators of a network: its config without numbers."""
    return json.dumps({key: "number" if type(value) in (int, float) else value for key, value in network.items()})


def run_once(config: TrialConfig, task: tasks.Task) -> None:
    """Send a few rows forward, through the loss and back, and validation rows through the metrics.

    What they go through is built for this and thrown away; random generators are left as they were.

    Raises:
        InputError: in one line, with the place in the user's file, for what no trial could do.
    """
    with isolate_rng():
        module = build_module(config, task).to(task.device)
        if isinstance(module, models.Learner):
            _learn(module, config, task)
            _judge(module, config, task)
        else:
            loaders = {"train": task.train_dataloader(), "validation": task.val_dataloader()}
            run_module(module, config, {name: few(next(iter(loader))) for name, loader in loaders.items()})


def _learn(module: models.Learner, config: TrialConfig, task: tasks.Task) -> None:
    inputs, targets = few(next(iter(task.train_dataloader())))
    with keeps_in_files(module.network, part_of("network", config.network)):
        outputs = forward(module, config, inputs)
    check_outputs(outputs, task, targets, part_of("network", config.network), defined_at(type(module.network).forward))
    check_learns(module.network, part_of("network", config.network))
    loss = _loss(module, config, outputs, targets)
    if isinstance(config.output.loss, str) and is_softmax(outputs, task.kind):
        task.say(f"{part_of('network', config.network)} seems to end in a softmax; the loss takes scores before it.")
    if loss.requires_grad:
        with blamed("network", config.network, "in the backward pass "):
            loss.backward()
        _step(module, config, loss)
    elif any(parameter.requires_grad for parameter in module.network.parameters()):
        raise InputError(
            f"the loss has no gradient: {part_of('network', config.network)} or output.loss detaches its outputs."
        )


def _loss(module: models.Learner, config: TrialConfig, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of a few rows, which is a single number, and leaves the targets as they are."""
    name, before = part_of("output.loss", config.output.loss), targets.clone()
    with blamed("output.loss", config.output.loss):
        loss = module.loss(outputs, targets)
    if not isinstance(loss, Tensor) or loss.dim():
        shape = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise InputError(f"{name} gives {shape}; it must give a single number.")
    if not bool(torch.isfinite(loss)):
        raise InputError(f"{name} gives {loss.item()} before any training, for outputs of {_range(outputs)}.")
    if not torch.equal(before, targets):
        raise InputError(f"{name} changes its targets in place; it must make new ones.")
    return loss


def _range(outputs: Tensor) -> str:
    return f"{outputs.min().item():.3g} to {outputs.max().item():.3g}"


def _step(module: models.Learner, config: TrialConfig, loss: Tensor) -> None:
    """Let an optimiser and a schedule of the user's own make a step on the weights that are thrown away."""
    if "_target_" not in config.optimizer and "_target_" not in config.schedule:
        return
    with at("optimizer"):
        optimizer = models.optimizers.build_optimizer(module.network, config.optimizer)
    with at("schedule"):
        schedule = models.schedules.build_schedule(optimizer, config.schedule, total_steps=100, steps_per_epoch=10)
    with blamed("optimizer", config.optimizer, "at its first step "):
        optimizer.step(lambda: loss.detach())  # type: ignore[arg-type, return-value]
    if "_target_" in config.schedule:
        is_told = isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau)
        with blamed("schedule", config.schedule, "at its first step "):
            schedule.step(*([loss.item()] if is_told else []))


def _judge(module: models.Learner, config: TrialConfig, task: tasks.Task) -> None:
    module.eval()
    with torch.no_grad():
        inputs, targets = few(next(iter(task.val_dataloader())))
        outputs = forward(module, config, inputs)
        check_outputs(
            outputs, task, targets, part_of("network", config.network), defined_at(type(module.network).forward)
        )
        judged = task.validation.targets[:: -(-len(task.validation.targets) // JUDGED)]
        repeated = outputs[torch.arange(len(judged), device=outputs.device) % len(outputs)]
        form = task.canonical(repeated, judged.to(outputs.device))
        for name, metric in task.added.items():
            with blamed(f"metrics.{name}", config.metrics[name]):
                metric.function(*form)
        with blamed("metrics", None):
            task.evaluate(repeated, judged.to(outputs.device))


def forward(module: models.Learner, config: TrialConfig, inputs: Tensors) -> Any:
    """Return the outputs of a network.

    Raises:
        InputError: in one line, for whatever it raises.
    """
    place, before = defined_at(type(module.network).forward), [part.clone() for part in listed(inputs)]
    with blamed("network", config.network, f"for {_shown(inputs)} ", place):
        outputs = run(module, inputs)
    check_untouched(before, inputs, config, place)
    return outputs


def check_untouched(before: list[Tensor], inputs: Tensors, config: TrialConfig, place: str | None = None) -> None:
    """Check that a network has left its inputs as they were.

    Raises:
        InputError: it has not.
    """
    if not all(torch.equal(old, new) for old, new in zip(before, listed(inputs), strict=True)):
        where = f" ({place})" if place else ""
        raise InputError(
            f"{part_of('network', config.network)} changes its inputs in place; it must make new ones{where}."
        )


def few(batch: Any) -> tuple[Any, Tensor]:
    """Return a few rows of a batch."""
    inputs, targets = batch
    return cut(inputs, slice(ROWS)), targets[:ROWS]


def _shown(inputs: Tensors) -> str:
    parts = [f"a tensor (rows{''.join(f', {size}' for size in part.shape[1:])})" for part in listed(inputs)]
    names = [f"{name}=" for name in inputs] if isinstance(inputs, dict) else [""] * len(parts)
    return " and ".join(f"{name}{part}" for name, part in zip(names, parts, strict=True))
