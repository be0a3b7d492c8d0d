"""How steep the loss is in the last layer after an epoch, as a score of a configuration."""

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from kirigami.models.cost import evaluating
from kirigami.models.technique import weighted
from kirigami.search.training import alone as trial
from kirigami.search.training.building import Assembly
from kirigami.search.training.job import Job, Outcome
from kirigami.several import run


@torch.no_grad()
def smoothness(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return Kz / ‖W‖: the largest norm, over batches, of what reaches the last layer, by the norm of its weight.

    Yedida & Menzies ("Is Hyper-Parameter Optimization Different for Software Analytics?", arXiv 2401.09622) bound the
    smoothness β of the loss by it, and rank configurations by it after one epoch. It is measured in evaluation mode,
    with Frobenius norms and without the bias, as in their code. It grows with the root of the batch size.

    Raises:
        ValueError: where the network has no linear or convolutional layer, or its last one is not used.
    """
    layers = list(weighted(network))
    if not layers:
        raise ValueError(f"{type(network).__name__} has no linear or convolutional layer.")
    name, head = layers[-1]
    norms: list[float] = []
    hook = head.register_forward_pre_hook(lambda _module, args: norms.append(float(args[0].norm())))
    try:
        with evaluating(network):
            for inputs, _ in batches:
                run(network, inputs)
    finally:
        hook.remove()
    if not norms:
        raise ValueError(f"layer {name!r} of {type(network).__name__} takes no part in its forward pass.")
    weight = float(head.weight.norm())  # type: ignore[operator, union-attr]
    largest = math.nan if any(map(math.isnan, norms)) else max(norms)
    return largest / weight if weight else math.nan


def train(job: Job, threads: int | None = None) -> Outcome:
    """Train a job as the search does, and add `smoothness` to its metrics; no number where it cannot be measured."""
    outcome = trial.train(job, threads)
    if outcome.state != "complete":
        return outcome
    value = _measured(outcome.trained) if isinstance(outcome.trained, Assembly) else math.nan
    return replace(outcome, metrics={**outcome.metrics, "smoothness": value}, trained=None)


def _measured(assembly: Assembly) -> float:
    """Measure a trained network on its training rows."""
    task = assembly.task
    try:
        return smoothness(assembly.network.to(task.device), task.train_dataloader())
    except (ValueError, NotImplementedError):  # somebody's LightningModule without a forward, or a recurrent network
        return math.nan
