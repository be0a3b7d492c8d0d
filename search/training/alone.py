"""One trial, one path: config -> task -> network -> fit under the pruner -> metrics of the validation rows."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch.nn.utils import parametrize

from kirigami import models, tasks
from kirigami.errors import at
from kirigami.models.technique import Technique, network_of, stored_parameters
from kirigami.search.training import devices, kept, techniques
from kirigami.search.training.building import build_loss, build_module, calibrate, check_untrained, open_task
from kirigami.search.training.checkpoints.keeper import Found, Keeper
from kirigami.search.training.checkpoints.shelf import say
from kirigami.search.training.checkpoints.state import Refused
from kirigami.search.training.job import Job, Outcome
from kirigami.search.training.ranks import places
from kirigami.search.training.ranks.lead import lead
from kirigami.search.training.reports import Memory, Reports
from kirigami.search.training.trainer import build_trainer
from kirigami.spaces import Budget


def train(job: Job, threads: int | None = None, split: int | None = None, test_split: int | None = None) -> Outcome:
    """Train the job's config and return the metrics of its last validation.

    Where a worker died that had trained the same before, training goes on from its last checkpoint; where that cannot
    be used, it begins anew.

    Args:
        threads: the worker's share of the cores, of which small networks use one; None leaves torch's setting alone.
        split: seed of the split, where it is not that of the weights and batches.
        test_split: seed of the test rows, where it is not that of the split.
    """
    for place in () if job.checkpoints is None else job.checkpoints.read():
        found = Found(*place)
        try:
            return _train(job, threads, split, test_split, found)
        except Refused as reason:
            say(f"trial {job.number} cannot go on from the checkpoint of trial {found.attempt}: {reason}")
            job.details.clear()
    return _train(job, threads, split, test_split, None)


def _train(job: Job, threads: int | None, split: int | None, test_split: int | None, found: Found | None) -> Outcome:
    """Train from a checkpoint, or from the start where there is none.

    Raises:
        Refused: where the checkpoint cannot be taken up.
    """
    config = job.config
    check_untrained(config)
    task = open_task(config, split, test_split)
    seed_everything(config["seed"], verbose=False)
    module = build_module(config, task)
    network = network_of(module)
    chosen = techniques.build(config)
    job.details |= measure(network, task)
    shares = places.count(config["trainer"])
    if threads is not None:
        torch.set_num_threads(devices.threads_for(job.details.get("macs", 0) * task.batch_size, threads, shares))
    timed = is_asked(config, "latency_ms")
    job.details |= latency(network, task) if timed else {}
    techniques.attach(chosen, network)
    job.details["params"] = stored_parameters(network)
    least = {**job.details, **bound(chosen, network, config)}
    over = over_budget(config["budget"], least)
    shrinks = any(technique.shrinks for technique in chosen)
    if shrinks:
        job.details["shrinks"] = True  # what is too large now may get below the limits
    elif over is not None and found is None:  # one that has begun was within the limits
        return Outcome("infeasible", {key: float(value) for key, value in least.items()}, over)
    if "bytes" in least:
        job.details["least_bytes"] = least["bytes"]
    keeper, ranks = Keeper(job, found), lead(job, split, test_split)
    reports = Reports(job, "epoch" if config["trainer"]["steps"] is None else "step", keeper)
    callbacks = [keeper, *chosen, *watchers(config, job), reports]
    trainer = build_trainer(config["trainer"], callbacks, ranks, plugins=[keeper.bytes])
    job.details |= {"device": str(trainer.strategy.root_device), "devices": shares}
    began = time.perf_counter()
    try:
        if found is None:
            prepare(network, config, task, job)
        with nullcontext() if ranks is None else ranks.training():
            fit(trainer, module, task, keeper)
        figures, metrics = calibrate(network, config, task)
    finally:
        job.details["fit_s"] = round(job.spent_s + time.perf_counter() - began, 4)
    job.details |= figures
    reports.metrics |= metrics
    with suppress(ValueError):  # somebody's network may hold what the file cannot: then its bytes are not known
        job.details["bytes"] = models.compact.encoded_bytes(network)
    job.details |= latency(network, task) if timed else {}
    job.details |= techniques.figures(chosen)
    if shrinks:
        job.details |= {"params": stored_parameters(network), **measure(models.compact.plain(network), task)}
    keep = partial(kept.save, network=network, made=chosen, config=config, shapes=kept.shapes_of(task))
    return Outcome("complete", {**reports.metrics, **_costs(job)}, save=keep)


def watchers(config: Mapping[str, Any], job: Job) -> list[Callback]:
    """Return the callbacks that only look on."""
    return [Memory(job), *([models.entropy.WeightEntropy()] if config["weight_entropy"] else [])]


def prepare(network: torch.nn.Module, config: Mapping[str, Any], task: tasks.Task, job: Job) -> None:
    """Fit the network in closed form before it is trained, where the config asks for that."""
    with at("init"):
        initial = models.initial.build(config["init"])
    if initial is not None:
        job.check_interrupt()
        loss = build_loss(config, task)
        with at("init", otherwise=("name", "default")):
            job.details |= initial.fit(network, task.train_dataloader(), task.kind, loss)


def fit(trainer: Trainer, module: LightningModule, task: tasks.Task, keeper: Keeper) -> None:
    """Train, from a checkpoint where there is one; with no epochs to train for, only look at the validation rows.

    Raises:
        Refused: where the checkpoint cannot be taken up.
    """
    if trainer.max_epochs == 0:
        trainer.validate(module, task.val_dataloader(), verbose=False)
        return
    start: dict[str, Any] = {} if keeper.found is None else {"ckpt_path": "bytes", "weights_only": True}
    try:
        trainer.fit(module, task.train_dataloader(), task.val_dataloader(), **start)
    except Refused:
        raise
    except Exception as error:
        if keeper.found is None or keeper.restored:
            raise
        raise Refused(" ".join(str(error).split())[:300]) from error


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
