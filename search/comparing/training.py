"""One repeat of a trial on the study's own split, and what its network scores on the test rows."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything

import models
import tasks
from models.technique import network_of, stored_parameters
from search import devices, kept, techniques, trial
from search.errors import InputError
from search.export.finish import metrics_of
from search.job import Job, Outcome
from search.pruning import Reports


def retrain(job: Job, split: int, threads: int | None = None) -> Outcome:
    """Train the job's config with the rows split by another seed than its own, which draws weights and batches.

    A search selects on the validation rows of its split. Were the rows split anew, those test rows would be drawn from
    rows that had a part in the selection.

    Args:
        split: seed of the split.
        threads: as for `trial.train`.
    """
    config = job.config
    task = trial.open_task({**config, "seed": split})
    task.shuffle_seed = config["seed"]
    seed_everything(config["seed"], verbose=False)
    module = trial.build_module(config, task)
    network = network_of(module)
    chosen = techniques.build(config)
    macs = trial.measure(network, task).get("macs", 0)
    if threads is not None:
        torch.set_num_threads(devices.threads_for(macs * task.batch_size, threads))
    techniques.attach(chosen, network)
    reports = Reports(job, "epoch" if config["trainer"]["steps"] is None else "step")
    trainer = trial.build_trainer(config["trainer"], [*chosen, reports])
    began = time.perf_counter()
    trainer.fit(module, task.train_dataloader(), task.val_dataloader())
    job.details["fit_s"] = round(time.perf_counter() - began, 4)
    costs = {"params": float(stored_parameters(network))}
    with suppress(ValueError):  # somebody's network may hold what the file cannot
        costs["bytes"] = float(models.compact.encoded_bytes(network))
    keep = partial(kept.save, network=network, made=chosen, config=config, shapes=kept.shapes_of(task))
    return Outcome("complete", {**reports.metrics, **costs}, save=keep)


def scores_on_test(files: Sequence[Path], config: Mapping[str, Any], split: int) -> list[dict[str, float]]:
    """Open the test rows of a split and return all metrics of each network kept in a file.

    Raises:
        InputError: where a network cannot be built again, or has no forward.
    """
    networks = [kept.load(file)[0] for file in files]
    task = tasks.build(config["task"], seed=split)
    task.setup("fit")
    task.setup("test")
    try:
        return [metrics_of(network, task, "test") for network in networks]
    except NotImplementedError as error:
        raise InputError("the network has no forward, so that its test rows cannot be scored.") from error
