"""The LightningModule that trains any network under any loss."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from kirigami.errors import at
from kirigami.models.optimizers import build_optimizer
from kirigami.models.regimes import Conductor, Regime
from kirigami.models.schedules import build_schedule, schedule_callbacks, stepping
from kirigami.several import Tensors, listed, run

Metrics = Callable[[Tensor, Tensor], Mapping[str, float]]

# Set several times a step; torch.nn.Module's own way of setting an attribute is slow, and these are no submodules.
_PLAIN = frozenset({"_current_fx_name", "train_loss"})


def _signed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Store a function's signature with it: a trainer asks for that of `training_step` at every step."""
    function.__dict__["__signature__"] = inspect.signature(function)
    return function


class Learner(LightningModule):
    """Train a network, and log its loss and metrics after each pass over the validation rows.

    The metrics are under their own names, the loss under "loss", in `trainer.callback_metrics`; `judged` holds the
    outputs and targets of the last pass. Nothing is logged a step, since that would cost more than the step of a small
    network; `train_loss` holds the last step's loss.

    Args:
        network: Module from a batch of inputs to outputs. Several inputs, in a tuple or a dictionary, are its arguments
            by place or by name.
        loss: Function of outputs and targets to a scalar.
        metrics: Function of all validation outputs and targets to named numbers.
        optimizer: Config for `kirigami.models.optimizers.build_optimizer`.
        schedule: Config for `kirigami.models.schedules.build_schedule`.
        regime: How it is trained, from `models.regimes.build`; None is backpropagation. Its heads are trained too, and
            are no part of the network.

    Raises:
        ValueError: The regime cannot train this network.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        metrics: Metrics,
        optimizer: Mapping[str, Any],
        schedule: Mapping[str, Any],
        regime: Regime | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.metrics = metrics
        self.optimizer_config = dict(optimizer)
        self.schedule_config = dict(schedule)
        self.regime = regime
        if regime is not None:
            regime.check(network)
        self.train_loss: Tensor | None = None
        self.judged: tuple[Tensor, Tensor] | None = None
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Map a batch of inputs to outputs."""
        return self.network(*inputs, **named)

    @_signed
    def training_step(self, batch: tuple[Tensors, Tensor], index: int) -> Tensor:
        """Return the loss of a batch."""
        if self.regime is not None and self.regime.armed:
            self.regime.armed = False
            loss = self.regime.step(self.network, self.loss, batch)
        else:
            inputs, targets = batch
            loss = self.loss(run(self.network, inputs), targets)
        self.train_loss = loss.detach()
        return loss

    @_signed
    def validation_step(self, batch: tuple[Tensors, Tensor], index: int) -> None:
        """Keep the outputs of a batch for the end of the pass."""
        inputs, targets = batch
        outputs = run(self.network, inputs) if self.regime is None else self.regime.predict(self.network, inputs)
        self._outputs.append(outputs)
        self._targets.append(targets)

    def on_validation_epoch_start(self) -> None:
        """Discard the outputs that an interrupted pass may have left."""
        self._outputs.clear()
        self._targets.clear()

    def on_validation_epoch_end(self) -> None:
        """Log the loss and the metrics over all validation rows."""
        outputs, targets = torch.cat(self._outputs), torch.cat(self._targets)
        self.on_validation_epoch_start()
        if outputs.dtype.itemsize < 4:  # half precision would round the loss to three digits
            outputs = outputs.float()
        self.judged = outputs.detach(), targets
        self._report({"loss": float(self.loss(outputs, targets)), **self.metrics(outputs, targets)})

    def _report(self, values: Mapping[str, float]) -> None:
        """Log values if there is a logger; else only store them, which is much faster."""
        if self.trainer.loggers and self.train_loss is not None:
            self.trainer.logger.log_metrics({"train_loss": float(self.train_loss)}, self.trainer.global_step - 1)
        if self.trainer.loggers or self.trainer.world_size > 1 or self.trainer.progress_bar_callback is not None:
            self.log_dict(dict(values), sync_dist=self.trainer.world_size > 1, prog_bar=True)
        elif not self.trainer.sanity_checking:
            self.trainer.callback_metrics.update({name: torch.as_tensor(value) for name, value in values.items()})

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to the device, unless it is there already."""
        if all(isinstance(part, Tensor) and part.device == device for value in batch for part in listed(value)):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Drop the gradients, as `optimizer.zero_grad()` does, without its bookkeeping for profilers."""
        if self.regime is not None and self.regime.keeps_gradients:  # it has dropped the old ones itself
            return
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients as the trainer is told to, if it is."""
        if gradient_clip_val is not None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def configure_callbacks(self) -> list[Callback]:
        """Return the callbacks of a schedule that measures the network and of the regime; mostly none."""
        led = [] if self.regime is None else [Conductor(self.regime)]
        with at("schedule"):
            return [*schedule_callbacks(self.schedule_config), *led]

    def configure_optimizers(self) -> dict[str, Any]:
        """Build the optimiser and its schedule over the steps this run will take."""
        heads = [] if self.regime is None else list(self.regime.parameters())
        trained = [*self.network.parameters(), *heads] if heads else self.network
        with at("optimizer"):
            optimizer = build_optimizer(trained, self.optimizer_config)
        total_steps = self.trainer.estimated_stepping_batches
        if math.isinf(total_steps):
            raise ValueError("the Trainer has no limit of epochs or steps. Set its max_epochs.")
        batches = self.trainer.num_training_batches  # infinite while a run that is limited by steps has not begun
        epoch = total_steps if math.isinf(batches) else math.ceil(batches / self.trainer.accumulate_grad_batches)
        build = build_schedule if self.regime is None else self.regime.schedule
        with at("schedule"):
            schedule = build(optimizer, self.schedule_config, int(total_steps), int(epoch))
            steps = stepping(self.schedule_config)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, **steps}}

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, the most frequent ones directly."""
        if name in _PLAIN:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)
