"""One trial, one path: config -> task -> network -> fit under the pruner -> metrics of the validation rows."""

import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch.nn.utils import parametrize

import models
import tasks
from models.technique import Technique, network_of, stored_parameters
from search import devices, kept, techniques
from search.errors import InputError, did_you_mean
from search.job import Job, Outcome
from search.pruning import Reports
from spaces import Budget

TRAINER_KEYS = ("epochs", "steps", "batch_size", "val_every", "precision", "gradient_clip", "device")
OUTPUT_KEYS = ("loss", "smoothing")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")


def train(job: Job, threads: int | None = None, split: int | None = None) -> Outcome:
    """Train the job's config and return the metrics of its last validation.

    Args:
        threads: the worker's share of the cores, of which small networks use one; None leaves torch's setting alone.
        split: seed of the split, where it is not that of the weights and batches.
    """
    config = job.config
    task = open_task(config if split is None else {**config, "seed": split})
    task.shuffle_seed = config["seed"]
    seed_everything(config["seed"], verbose=False)
    module = build_module(config, task)
    network = network_of(module)
    chosen = techniques.build(config)
    job.details |= measure(network, task)
    if threads is not None:
        torch.set_num_threads(devices.threads_for(job.details.get("macs", 0) * task.batch_size, threads))
    timed = is_asked(config, "latency_ms")
    job.details |= latency(network, task) if timed else {}
    techniques.attach(chosen, network)
    job.details["params"] = stored_parameters(network)
    least = {**job.details, **bound(chosen, network, config)}
    over = over_budget(config["budget"], least)
    shrinks = any(technique.shrinks for technique in chosen)
    if shrinks:
        job.details["shrinks"] = True  # what is too large now may get below the limits
    elif over is not None:
        return Outcome("infeasible", {key: float(value) for key, value in least.items()}, over)
    if "bytes" in least:
        job.details["least_bytes"] = least["bytes"]
    reports = Reports(job, "epoch" if config["trainer"]["steps"] is None else "step")
    trainer = build_trainer(config["trainer"], [*chosen, reports])
    began = time.perf_counter()
    try:
        trainer.fit(module, task.train_dataloader(), task.val_dataloader())
    finally:
        job.details["fit_s"] = round(time.perf_counter() - began, 4)
        job.details["device_s"] = job.details["fit_s"]
    with suppress(ValueError):  # somebody's network may hold what the file cannot: then its bytes are not known
        job.details["bytes"] = models.compact.encoded_bytes(network)
    job.details |= latency(network, task) if timed else {}
    job.details |= techniques.figures(chosen)
    if shrinks:
        job.details |= {"params": stored_parameters(network), **measure(models.compact.plain(network), task)}
    keep = partial(kept.save, network=network, made=chosen, config=config, shapes=kept.shapes_of(task))
    return Outcome("complete", {**reports.metrics, **_costs(job)}, save=keep)


def is_asked(config: Mapping[str, Any], cost: str) -> bool:
    """Return whether the budget limits a cost or the study has it as an objective."""
    objective = config["objective"]
    return config["budget"].get(cost) is not None or cost in ([objective] if isinstance(objective, str) else objective)


def bound(chosen: Sequence[Technique], network: torch.nn.Module, config: Mapping[str, Any]) -> dict[str, int]:
    """Return the least bytes of the file where the budget or an objective asks for them."""
    return {"bytes": techniques.least_bytes(chosen, network)} if is_asked(config, "bytes") else {}


def measure(network: torch.nn.Module, task: tasks.Task) -> dict[str, int]:
    """Return the multiply-accumulates for one sample; nothing for a LightningModule, which need not have a forward."""
    sample, _ = next(iter(task.val_dataloader()))
    try:
        return {"macs": models.cost.macs(network.to(sample.device), sample)}
    except NotImplementedError:
        return {}


def latency(network: torch.nn.Module, task: tasks.Task) -> dict[str, float]:
    """Return the median milliseconds of a forward pass for one sample on the trial's device.

    Weights that techniques compute from others are computed once, as in the network's final file.
    """
    sample, _ = next(iter(task.val_dataloader()))
    try:
        with parametrize.cached():
            return {"latency_ms": models.cost.latency_ms(network.to(sample.device), sample[:1])}
    except NotImplementedError:
        return {}


def over_budget(budget: Mapping[str, Any], measured: Mapping[str, float]) -> str | None:
    """Return why a network is over the budget, known before it is trained; None where it is not."""
    for name, limit in Budget.from_config(budget).limits.items():
        value = measured.get(name, 0)
        if value > limit:
            shown = f"{value:.4g}" if isinstance(value, float) else value
            return f"at least {shown} {name}, over budget.{name}={limit}; not trained"
    return None


def _costs(job: Job) -> dict[str, float]:
    costs: dict[str, float] = {
        key: float(job.details[key]) for key in ("params", "macs", "bytes", "latency_ms") if key in job.details
    }
    return {**costs, "seconds": job.details["fit_s"]}


def open_task(config: Mapping[str, Any]) -> tasks.Task:
    """Build the task on the trial's device and read its training and validation rows."""
    task = tasks.build(config["task"], seed=config["seed"])
    task.device = devices.pick(config["trainer"]["device"])[0]
    task.batch_size = config["trainer"]["batch_size"]
    task.setup("fit")
    return task


def build_module(config: Mapping[str, Any], task: tasks.Task) -> LightningModule:
    """Build what Lightning trains: a user's own LightningModule as it is, any other network inside a `Learner`."""
    network = build_network(config, task)
    if isinstance(network, LightningModule):
        return network
    output = dict(config["output"])
    for key in output:
        if key not in OUTPUT_KEYS:
            names = ", ".join(OUTPUT_KEYS)
            raise InputError(f"output.{key}: no such key.{did_you_mean(key, OUTPUT_KEYS)} Keys: {names}.")
    loss = models.outputs.loss(output.pop("loss"), task.kind, task.classes, **output)
    return models.Learner(network, loss, task.evaluate, config["optimizer"], config["schedule"])


def build_network(config: Mapping[str, Any], task: tasks.Task) -> torch.nn.Module:
    """Build the network for the shapes of a task."""
    return models.build_network(config["network"], **kept.shapes_of(task))


def build_trainer(settings: Mapping[str, Any], callbacks: list[Callback]) -> Trainer:
    """Build a Trainer that does what a trial needs and leaves nothing behind."""
    quiet()
    check_trainer(settings)
    _, accelerator, device_numbers = devices.pick(settings["device"])
    steps, every = settings["steps"], settings["val_every"]
    length = (
        {"max_epochs": settings["epochs"], "check_val_every_n_epoch": every}
        if steps is None
        else {"max_epochs": -1, "max_steps": steps, "val_check_interval": every, "check_val_every_n_epoch": None}
    )
    return Trainer(
        **length,
        accelerator=accelerator,
        devices=device_numbers,
        precision=settings["precision"],
        gradient_clip_val=settings["gradient_clip"],
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def fidelities(settings: Mapping[str, Any]) -> int:
    """Return the fidelity of a full trial: its epochs, or its steps."""
    return int(settings["epochs"] if settings["steps"] is None else settings["steps"])


def check_trainer(settings: Mapping[str, Any]) -> None:
    """Check `trainer:`.

    Raises:
        InputError: for an unknown key or a value out of range.
    """
    for key in settings:
        if key not in TRAINER_KEYS:
            names = ", ".join(TRAINER_KEYS)
            raise InputError(f"trainer.{key}: no such key.{did_you_mean(key, TRAINER_KEYS)} Keys: {names}.")
    for key in ("epochs", "batch_size", "val_every", *(["steps"] if settings["steps"] is not None else [])):
        value = settings[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"trainer.{key} must be a whole number of at least 1, but got {value!r}.")
    total, every = fidelities(settings), settings["val_every"]
    if total % every:
        raise InputError(
            f"trainer.val_every must divide the {total} epochs or steps of a trial, so that its end is validated, "
            f"but got {every}. Set trainer.val_every=1."
        )
    if settings["precision"] not in PRECISIONS:
        names = ", ".join(PRECISIONS)
        raise InputError(f"trainer.precision must be one of ({names}), but got {settings['precision']!r}.")
    clip = settings["gradient_clip"]
    if clip is not None and (isinstance(clip, bool) or not isinstance(clip, int | float) or clip <= 0):
        raise InputError(f"trainer.gradient_clip must be null or a number above 0, but got {clip!r}.")


def quiet() -> None:
    """Silence Lightning's advice: a search starts hundreds of Trainers."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
