"""The learning-rate range test (Smith, "Cyclical learning rates for training neural networks", WACV 2017)."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kirigami.arguments import at_least
from kirigami.models.optimizers import build_optimizer
from kirigami.several import run

SAFE = 10.0
STOP = 4.0


@dataclass(frozen=True)
class RangeTest:
    """The result of a range test.

    Attributes:
        rates: the rates tried, rising by equal factors.
        losses: the loss of the batch at each rate, before the step at that rate.
        smoothed: means over neighbouring rates, a tenth of the curve wide.
        suggestion: a tenth of the rate at which the smoothed loss is lowest; None where it never falls. At the lowest
            point the loss is about to rise, so a constant rate must stay clear of it.
        highest: the rate at which the smoothed loss is lowest: the top for one-cycle, where it is held only briefly.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float | None
    highest: float | None


def range_test(
    module: nn.Module,
    batches: Iterable[Any],
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    optimizer: Optimizer | None = None,
) -> RangeTest:
    """Train for some steps while the rate rises from `low` to `high`, and then undo it.

    It ends early where the loss is not finite or, over a tenth of the rates, four times the lowest. Weights, buffers,
    gradients, modes, the optimiser's state and torch's random state are what they were.

    Args:
        module: a LightningModule, or with `loss` any network.
        batches: training batches, gone through again and again; moved to the module's device.
        low: the first rate.
        high: the last rate.
        steps: how many rates.
        loss: function of outputs and targets; by default the result of `training_step`.
        optimizer: holds the module's parameters; by default the one of a `Learner`'s config. Its groups' rates keep
            their proportions.

    Raises:
        ValueError: where a value is out of its range, there are no batches, or loss or optimiser cannot be found.
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"low and high must be rates with 0 < low < high, but got {low} and {high}.")
    at_least("steps", steps, 2)
    stepper = _optimizer(module) if optimizer is None else optimizer
    if loss is None and not hasattr(module, "training_step"):
        raise ValueError(f"loss is required, since {type(module).__name__} has no training_step. Give loss=FUNCTION.")
    rates = [low * (high / low) ** (number / (steps - 1)) for number in range(steps)]
    losses: list[float] = []
    shares = _shares(stepper)
    with _restored(module, stepper):
        module.train()
        for number, (rate, batch) in enumerate(zip(rates, _endless(batches), strict=False)):
            for group, share in zip(stepper.param_groups, shares, strict=True):
                group["lr"] = rate * share
            stepper.zero_grad()
            value = _loss(module, _moved(batch, _device(module)), number, loss)
            losses.append(float(value.detach()))
            if _is_over(losses, 2 * (steps // 20) + 1):
                break
            value.backward()
            stepper.step()
    return _read(rates[: len(losses)], losses, steps)


def _is_over(losses: list[float], width: int) -> bool:
    """Tell whether the mean of the last losses is far above the lowest such mean: single batches say little."""
    means = [sum(losses[end - width : end]) / width for end in range(width, len(losses) + 1)]
    return not math.isfinite(losses[-1]) or bool(means and means[-1] > STOP * min(means))


def _read(rates: list[float], losses: list[float], steps: int) -> RangeTest:
    """Find the lowest point of the smoothed curve."""
    reach = max(1, steps // 20)
    around = [losses[max(0, place - reach) : place + reach + 1] for place in range(len(losses))]
    smoothed = [sum(part) / len(part) for part in around]
    finite = [value if math.isfinite(value) else math.inf for value in smoothed]
    lowest = finite.index(min(finite))
    highest = rates[lowest] if finite[lowest] < finite[0] else None
    return RangeTest(rates, losses, smoothed, None if highest is None else highest / SAFE, highest)


def _optimizer(module: nn.Module) -> Optimizer:
    """Build the optimiser that a `Learner` would train with."""
    config = getattr(module, "optimizer_config", None)
    if not config:
        raise ValueError(f"optimizer is required, since {type(module).__name__} has no config of one.")
    return build_optimizer(module.network, config)  # type: ignore[arg-type]


def _shares(optimizer: Optimizer) -> list[float]:
    """Return each group's rate as a share of the highest."""
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    return [rate / max(rates) if max(rates) else 1.0 for rate in rates]


@contextmanager
def _restored(module: nn.Module, optimizer: Optimizer) -> Iterator[None]:
    """Bring back whatever a training step changes."""
    tensors = [*module.parameters(), *module.buffers()]
    values = [tensor.detach().clone() for tensor in tensors]
    grads = [None if tensor.grad is None else tensor.grad.clone() for tensor in tensors]
    modes = [(part, part.training) for part in module.modules()]
    state = copy.deepcopy(optimizer.state_dict())
    devices = sorted({tensor.device.index or 0 for tensor in tensors if tensor.device.type == "cuda"})
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, value, grad in zip(tensors, values, grads, strict=True):
                    tensor.copy_(value)
                    tensor.grad = grad
            for part, mode in modes:
                part.training = mode
            optimizer.load_state_dict(state)


def _endless(batches: Iterable[Any]) -> Iterator[Any]:
    """Go through the batches again and again."""
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise ValueError("batches is empty, or an iterator that can be gone through only once. Give a list.")


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _moved(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a batch to a device."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, tuple | list):
        return type(batch)(_moved(part, device) for part in batch)
    return {key: _moved(part, device) for key, part in batch.items()} if isinstance(batch, dict) else batch


def _loss(module: nn.Module, batch: Any, number: int, loss: Callable[[Tensor, Tensor], Tensor] | None) -> Tensor:
    if loss is not None:
        inputs, targets = batch
        return loss(run(module, inputs), targets)
    step = module.training_step(batch, number)  # type: ignore[operator]
    return step["loss"] if isinstance(step, dict) else step
