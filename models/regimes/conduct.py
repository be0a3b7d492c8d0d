"""The Lightning callback that drives block-wise training (a regime) through its phases."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from kirigami.models.lightning_private import load_data
from kirigami.models.regimes.greedy import Greedy
from kirigami.models.regimes.phases import Phase
from kirigami.models.regimes.regime import Regime, unscaled
from kirigami.models.regimes.rows import Rows
from kirigami.models.technique import Technique, batches_of, network_of


class Conductor(Callback):
    """Prepares a regime, sets its phase at every step, and keeps frozen blocks frozen.

    It has to come after the techniques, as a module's own callbacks do: the hooks of techniques then measure the whole
    network, under its own loss.

    Args:
        regime: that of the module that is trained.
    """

    def __init__(self, regime: Regime) -> None:
        self.regime = regime
        self.rows: Rows | None = None
        self.techniques = False
        self.reached: set[int] | None = None

    @property
    def resumable_within(self) -> bool:
        """Whether a run may go on from the midst of an epoch: not with rows that are put in as one begins."""
        return self.rows is None or not self.rows.possible

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the blocks and make the heads before the optimiser is made, and before a checkpoint is read."""
        if stage != "fit":
            return
        if trainer.world_size > 1:
            raise ValueError(f"the regime '{self.regime.name}' trains on one device, but got {trainer.world_size}.")
        network = network_of(pl_module)
        self.techniques = any(isinstance(callback, Technique) for callback in trainer.callbacks)
        self.regime.check(network, trainer.callbacks)
        load_data(trainer)
        self.regime.prepare(network, batches_of(trainer, 1)[0])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set up the cache of hidden rows; a checkpoint may begin in any phase."""
        regime = self.regime
        keeps = isinstance(regime, Greedy) and not self.techniques
        self.rows = Rows(trainer.train_dataloader, 1e6 * regime.cache_mb) if keeps else None
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        share = 1 / trainer.accumulate_grad_batches
        regime.scale = lambda loss: share * loss if scaler is None else scaler.scale(share * loss)
        regime.phase = None
        for optimizer in trainer.optimizers:
            _begin(optimizer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the loader give the outputs of the frozen blocks, if the epoch lies in one phase."""
        regime = self.regime
        self._enter(trainer, pl_module, regime.place(trainer.global_step))
        if self.rows is None:
            return
        assert isinstance(regime, Greedy)
        assert regime.chain is not None
        assert regime.phase is not None
        end = trainer.global_step + max(1, int(trainer.num_training_batches) // trainer.accumulate_grad_batches) - 1
        whole = regime.place(end) == regime.phase and not regime.phase.joint
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            self.rows.reach(regime.phase.first if whole else 0, regime.chain.run)
        regime.depth = self.rows.depth

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Arm the regime for the next training step, in the phase of that step."""
        self._enter(trainer, pl_module, self.regime.place(trainer.global_step))
        self.regime.fresh = batch_idx % trainer.accumulate_grad_batches == 0
        self.regime.armed = True

    def _enter(self, trainer: Trainer, pl_module: LightningModule, phase: Phase) -> None:
        if phase != self.regime.phase:
            self.regime.phase = phase
            self.regime.settle(network_of(pl_module))

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note which parameters the loss reached, where techniques may add gradients to others."""
        if self.techniques and self.regime.freezes:
            self.reached = {id(parameter) for parameter in pl_module.parameters() if parameter.grad is not None}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Drop the gradients that a technique's penalty gave to blocks that do not train."""
        if self.reached is not None:
            for parameter in pl_module.parameters():
                if id(parameter) not in self.reached:
                    parameter.grad = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the loader, the network's mode and its outputs to their state after backpropagation."""
        self._end(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore everything when a run is interrupted, too."""
        self._end(pl_module)

    def _end(self, pl_module: LightningModule) -> None:
        if self.rows is not None:
            self.rows.restore()
            self.rows = None
        regime = self.regime
        if regime.phase is not None:
            regime.phase, regime.armed = None, False
            network_of(pl_module).train()
        regime.scale = unscaled
        if isinstance(regime, Greedy):
            regime.depth = 0


def _begin(optimizer: Optimizer) -> None:
    """Let momentum begin at 0, which is the same: torch's fused step takes no mixture of those that have begun."""
    if isinstance(optimizer, torch.optim.SGD):
        for group in optimizer.param_groups:
            for parameter in group["params"] if group["momentum"] and not group["dampening"] else ():
                optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
