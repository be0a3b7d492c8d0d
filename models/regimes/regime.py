"""The base of the regimes, the methods of block-wise training: which blocks train when, and by which loss."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kirigami.arguments import at_least, within
from kirigami.errors import ArgumentError
from kirigami.models.regimes.blocks import AUTO, find
from kirigami.models.regimes.chain import Chain
from kirigami.models.regimes.phases import Phase, lengths, phased
from kirigami.models.schedules import build_schedule
from kirigami.models.technique import Technique

Loss = Callable[[Tensor, Tensor], Tensor]


class Regime(nn.Module):
    """Base of the regimes (block-wise training); its parameters are those of the auxiliary heads, outside the network.

    Obligations of a subclass: `build_heads`, `plan` and `step`; it may override `predict` and `settle`.

    Args:
        blocks: dotted names of the modules at which blocks begin, or "auto".
        layers: layers with weights, or residual blocks, in a block of "auto".
        joint: share of the run, at its end, in which all blocks are trained together by backpropagation.
        joint_rate: factor of the learning rate meanwhile.

    Raises:
        ValueError: where a number is out of its range.
    """

    name = "regime"
    freezes = False  # blocks that have been trained stay as they are

    def __init__(
        self, blocks: str | Sequence[str] = AUTO, layers: int = 1, joint: float = 0.0, joint_rate: float = 0.1
    ) -> None:
        super().__init__()
        at_least("layers", layers, 1)
        within("joint", joint, 0, 1)
        within("joint_rate", joint_rate, 0, float("inf"))
        self.blocks = blocks if isinstance(blocks, str) else list(blocks)
        self.layers, self.joint, self.joint_rate = layers, joint, joint_rate
        self.heads = nn.ModuleList()
        self.chain: Chain | None = None
        self.phases: list[Phase] = []
        self.steps: list[int] = []
        self.phase: Phase | None = None
        self.armed = False  # the next training_step is called by the trainer, not for its loss alone
        self.fresh = True  # the step begins with no gradients
        self.scale: Callable[[Tensor], Tensor] = unscaled

    def build_heads(self, hidden: Sequence[Tensor], outputs: Tensor, targets: Tensor) -> Iterable[nn.Module]:
        """Make a head for each block but the last, from the outputs of each block and of the network for a few rows."""
        raise NotImplementedError

    def plan(self, blocks: int) -> list[Phase]:
        """Return the phases before the joint one."""
        raise NotImplementedError

    def step(self, network: nn.Module, loss: Loss, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of a batch in the current phase; only tensors with a graph are left for the backward pass."""
        raise NotImplementedError

    def predict(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Return the outputs for validation in the current phase."""
        return network(inputs)

    def settle(self, network: nn.Module) -> None:
        """Put each block in training or evaluation mode for the current phase."""
        network.train()

    @property
    def keeps_gradients(self) -> bool:
        """Whether a step has already run its backward passes when it returns, so that its gradients must be kept."""
        return False

    def check(self, network: nn.Module, techniques: Iterable[Any] = ()) -> None:
        """Refuse a network or techniques that a regime cannot train.

        Args:
            network: the network to train.
            techniques: of which those that change shapes are refused, and those that fix ranges too early; other
                callbacks may be among them.

        Raises:
            ValueError: saying what does not.
        """
        if isinstance(network, LightningModule):
            raise ArgumentError(
                "",
                f"the regime '{self.name}' cannot train a LightningModule: the training_step of "
                f"{type(network).__name__} is its own.",
            )
        for technique in techniques:
            if not isinstance(technique, Technique):
                continue
            if technique.shrinks:
                raise ArgumentError(
                    "",
                    f"the regime '{self.name}' cannot train with {type(technique).__name__}: its heads cannot follow "
                    "layers that change their shapes.",
                )
            if self.freezes and technique.watches_inputs:
                self._check_inputs(technique)

    def _check_inputs(self, technique: Technique) -> None:
        """Refuse to fix input ranges before the last layers have had inputs."""
        if technique.harden_at <= 1 - self.joint:
            raise ArgumentError(
                "joint",
                f"must be above {1 - technique.harden_at:g}, 1 - harden_at of {type(technique).__name__} with "
                f"activation_bits, but got {self.joint:g}: not every layer has had inputs when their ranges are fixed. "
                "Harden later, train blocks at once, or do not round inputs.",
            )

    def prepare(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
        """Find the blocks and make the heads; once, however often it is called for a network.

        Args:
            network: the network to train, with its techniques attached.
            batch: inputs (N, ...) and targets (N, ...), of which a few rows are used.

        Raises:
            ValueError: where the network is no chain of blocks, or a block takes no head.
        """
        if self.chain is not None and self.chain.network is network:
            return
        inputs, targets = (part[:4] for part in batch)
        chain = find(network, inputs, self.blocks, self.layers)
        if self.freezes and (name := chain.shared()) is not None:
            raise ArgumentError(
                "",
                f"the regime '{self.name}' freezes blocks, but {name!r} is a parameter of several: a frozen one would "
                "change. Train blocks at once, or without shared weights.",
            )
        modes = {module: module.training for module in network.modules()}
        network.eval()
        with torch.no_grad():
            hidden = [chain.run(inputs, 0, 0)]
            for block in range(1, len(chain)):
                hidden.append(chain.run(hidden[-1], block, block))
        for module, mode in modes.items():
            module.training = mode
        heads = list(self.build_heads(hidden[:-1], hidden[-1], targets))
        self.heads = nn.ModuleList(heads).to(hidden[-1].device)
        self.chain = chain

    def schedule(self, optimizer: Optimizer, config: Mapping[str, Any], total: int, epoch: int) -> LRScheduler:
        """Build a schedule that restarts with each phase, over the steps of a run and of its epochs.

        Raises:
            ValueError: where there are more phases than steps, or a schedule has no phases.
        """
        assert self.chain is not None, "the regime is not prepared"
        last = len(self.chain) - 1
        self.phases = self.plan(len(self.chain))
        if self.joint:
            self.phases.append(Phase(0, last, joint=True, rate=self.joint_rate))
        self.steps = lengths(self.phases, self.joint, total, epoch)
        if len(self.phases) == 1:
            return build_schedule(optimizer, config, total, epoch)
        return phased(optimizer, config, self.phases, self.steps, epoch)

    def place(self, step: int) -> Phase:
        """Return the phase of an optimiser step, from 0."""
        end = 0
        for phase, steps in zip(self.phases, self.steps, strict=True):
            end += steps
            if step < end:
                return phase
        return self.phases[-1]


def unscaled(loss: Tensor) -> Tensor:
    """Return a loss unchanged."""
    return loss
