"""LipschitzLR: a rate from how steep or how curved the loss is in the last layer's weights, epoch by epoch.

The published rule is that of Yedida & Saha ("LipschitzLR", 2019/2021): 1 / K with K a Lipschitz constant of the loss.
It says how steep the loss is, not how curved, so on networks whose activations are small it asks for rates at which
they diverge; hence the cap, and two rules that look at the curvature.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.hooks import RemovableHandle

from kirigami.errors import ArgumentError, choose
from kirigami.models.schedules.curves import Curve

RULES = ("smooth", "row", "paper")
ITERATIONS = 30


class LipschitzLR(Callback):
    """Set the rate of each epoch from the inputs A (m, width) of the last linear layer, on any LightningModule.

    With cross-entropy over k classes, a batch of m, and a bias counted as an input of 1 except by `paper`:

    - `smooth`: 1 / (c * largest eigenvalue of A^T A / m), c * eigenvalue being the largest curvature the loss can have
      in the last layer's weights: c = 1/4 for one output (logistic), 1/2 for several (softmax; Böhning 1992);
    - `row`: 2 / max ||a_i||;
    - `paper`: 1 / K with K = (k - 1) / (k m) * max ||A|| over batches + weight decay * ||last layer's weights||.

    What the training steps of an epoch saw sets the rate of the next; in the first epoch, what they have seen so far
    sets it at every step. With momentum b, SGD moves a weight by lr / (1 - b) for each gradient, so its lr is 1 - b of
    the rate. Groups keep their rates' proportions, and a schedule goes on shaping the rate. Optimisers that scale the
    gradient themselves (Adam) have no use for this.

    Args:
        rule: one of `RULES`.
        cap: the highest rate, above 0; None for none.
        layer: dotted name of the linear layer in the module; by default the last one.

    Raises:
        ValueError: where a value is out of its range or, when training begins, there is no such layer.
    """

    def __init__(self, rule: str = "smooth", cap: float | None = 1.0, layer: str | None = None) -> None:
        self.rule = choose("rule", rule, RULES)
        if cap is not None and not 0 < cap < math.inf:
            raise ArgumentError("cap", f"must be null or a number above 0, but got {cap}.")
        self.cap, self.layer = cap, layer
        self.rates: list[float] = []
        """The rate that each epoch's inputs ask for."""
        self._head: nn.Linear | None = None
        self._hook: RemovableHandle | None = None
        self._seen: Tensor | None = None
        self._rows = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to look at the layer's inputs."""
        self._head = _find(pl_module, self.layer)
        self._hook = self._head.register_forward_pre_hook(self._look)
        self._seen = None if self._seen is None else self._seen.to(pl_module.device)  # from a checkpoint

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Follow every step of the first epoch, since there is no epoch before it."""
        if not self.rates and self._seen is not None:
            self._set(trainer, self._rate(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the rate of the next epoch, and forget this one."""
        if self._seen is None:
            raise ValueError("LipschitzLR saw no inputs of its layer in a whole epoch. Set layer=NAME to one in use.")
        rate = self._rate(trainer)
        self.rates.append(rate)
        self._set(trainer, rate)
        self._seen, self._rows = None, 0

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop looking."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop looking."""
        self._stop()

    def state_dict(self) -> dict[str, Any]:
        """Return the rates so far, and the statistics of this epoch."""
        return {"rates": list(self.rates), "seen": self._seen, "rows": self._rows}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the rates so far, and the statistics of an epoch, from a checkpoint."""
        self.rates = list(state_dict["rates"])
        self._seen, self._rows = state_dict.get("seen"), state_dict.get("rows", 0)

    def _stop(self) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._head = self._hook = self._seen = None

    @torch.no_grad()
    def _look(self, layer: nn.Linear, args: tuple[Tensor, ...]) -> None:
        """Add a training batch to the statistics of the rule: a sum of A^T A, or a largest norm."""
        if not layer.training:
            return
        inputs = args[0].detach().reshape(-1, args[0].shape[-1]).float()
        if self.rule != "paper" and layer.bias is not None:
            inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1)
        if self.rule == "smooth":
            now = inputs.T @ inputs
            follows = self._seen is not None and self._seen.shape == now.shape  # it may have been grown or cut
            self._seen, self._rows = (self._seen + now, self._rows + len(inputs)) if follows else (now, len(inputs))
            return
        now = inputs.norm() if self.rule == "paper" else inputs.norm(dim=1).max()
        self._seen = now if self._seen is None else torch.maximum(self._seen, now)
        self._rows = max(self._rows, len(inputs))

    def _rate(self, trainer: Trainer) -> float:
        """Return the rate of the rule for the inputs so far, the same on all devices: the lowest of theirs."""
        assert self._head is not None
        assert self._seen is not None
        if self.rule == "smooth":
            curvature = 0.25 if self._head.out_features == 1 else 0.5
            steepness = curvature * _largest(self._seen) / self._rows
        elif self.rule == "row":
            steepness = self._seen / 2
        else:
            classes = max(2, self._head.out_features)
            decay = max(
                group.get("weight_decay", 0.0) for optimizer in trainer.optimizers for group in optimizer.param_groups
            )
            steepness = (classes - 1) / (classes * self._rows) * self._seen + decay * self._head.weight.detach().norm()
        value = float(trainer.strategy.reduce(steepness, reduce_op="max"))  # type: ignore[arg-type]
        rate = 1 / value if value > 0 else math.inf if value == 0 else math.nan
        return rate if self.cap is None or math.isnan(rate) else min(self.cap, rate)

    def _set(self, trainer: Trainer, rate: float) -> None:
        """Set the rate of all groups, as the highest of their schedules; a rate that is not finite is ignored."""
        if not 0 < rate < math.inf:
            return
        for config in trainer.lr_scheduler_configs:
            bases = getattr(config.scheduler, "base_lrs", None)
            if bases:
                first = rate * _damped(config.scheduler.optimizer.param_groups[0])
                config.scheduler.base_lrs = [_share(base, bases[0]) * first for base in bases]
        for optimizer in trainer.optimizers:
            groups = optimizer.param_groups
            bases = [float(group.get("initial_lr", group["lr"])) for group in groups]
            for group, base in zip(groups, bases, strict=True):
                new = _share(base, bases[0]) * rate * _damped(groups[0])
                now = new * _share(float(group["lr"]), base)
                if "initial_lr" in group:
                    group["initial_lr"] = new
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(now)
                else:
                    group["lr"] = now


def lipschitz(optimizer: Optimizer, *, rule: str = "smooth", cap: float | None = 1.0) -> LRScheduler:
    """Keep the rate that `LipschitzLR`, whose arguments these are, measures and sets; alone it is constant."""
    LipschitzLR(rule, cap)
    return Curve(optimizer, lambda now: 1.0)


def _share(value: float, whole: float) -> float:
    return value / whole if whole else 1.0


def _damped(group: Mapping[str, Any]) -> float:
    """Return 1 over how often SGD's momentum takes the same gradient."""
    return (1 - group.get("momentum", 0.0)) / (1 - group.get("dampening", 0.0) or 1.0)


def _largest(gram: Tensor) -> Tensor:
    """Return the largest eigenvalue of a symmetric matrix without negative ones, by power iteration on its device."""
    vector = torch.randn(len(gram), generator=torch.Generator().manual_seed(0)).to(gram)
    for _ in range(ITERATIONS):
        vector = gram @ vector
        vector = vector / vector.norm().clamp(min=torch.finfo(gram.dtype).tiny)
    return vector @ (gram @ vector)


def _find(module: nn.Module, name: str | None) -> nn.Linear:
    """Return the linear layer of this name, or the last one."""
    layers = {known: layer for known, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    if not layers:
        raise ValueError(f"LipschitzLR needs a linear layer, but {type(module).__name__} has none.")
    if name is not None and name not in layers:
        raise ValueError(f"layer must be one of ({', '.join(layers)}), but got {name!r}.")
    return layers[name if name is not None else list(layers)[-1]]
