"""Techniques that consist of links in the chains of weights."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar, final

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kirigami.models.technique.base import Technique
from kirigami.models.technique.groups import held_by, regroup, withdraw
from kirigami.models.technique.hooks import hook
from kirigami.models.technique.layers import chosen
from kirigami.models.technique.link import Link, check_order, incoming
from kirigami.models.technique.run import Run, add_gradient
from kirigami.models.technique.ties import Place, same, stored

AnyLink = TypeVar("AnyLink", bound=Link)


class Linked(Technique, Generic[AnyLink]):
    """Adds a link to the weight of each layer it takes on, drives the links, and hardens them.

    A subclass makes the link of a layer in `link`; see `Technique` for the rest.

    Args:
        names: of the layers to take on; by default every linear and convolutional layer but the last, where
            compression costs most for what it saves.
        harden_at: see `Technique`.
        lr_scale: learning rate of the parameters that `learned` names, in units of that of the weights; None where the
            technique itself moves them by their gradient.

    Attributes:
        links: {name of the layer: its link}; layers with one weight have one link, under the first one's name.
        layers: {name: layer}.
    """

    def __init__(
        self, names: Iterable[str] | None = None, harden_at: float = 0.7, lr_scale: float | None = 1.0
    ) -> None:
        super().__init__(names, harden_at)
        self.lr_scale = lr_scale
        self.links: dict[str, AnyLink] = {}
        self.layers: dict[str, nn.Module] = {}

    @abstractmethod
    def link(self, name: str, layer: nn.Module) -> AnyLink:
        """Make the link for one layer's weight."""

    @hook
    def prepare(self, network: nn.Module) -> None:
        """Inspect a network before its layers are chosen by `names`."""

    @hook
    def complete(self, network: nn.Module) -> None:
        """Add the further parts that a network needs, after its links."""

    @hook
    def advance(self, progress: float) -> None:
        """Follow the soft part of the run, from 0 at its first step to 1 at its end."""

    @hook
    def penalty(self) -> Tensor | None:
        """Return the term added to the loss at this step while the links are soft."""
        return None

    @hook
    def learned(self) -> list[nn.Parameter]:
        """Return the parameters that decide on the form; unlike weights, they do not decay."""
        return []

    @final
    def incoming(self) -> dict[str, Tensor]:
        """Return the weight that enters each link, by the name of the layer, without a gradient."""
        return {name: incoming(self.layers[name], link) for name, link in self.links.items()}

    # What `Technique` leaves open.

    @final
    def take_on(self, network: nn.Module) -> None:
        """Add the links to a network's layers.

        Raises:
            ValueError: where a name is no such layer, no layer is left, or the order of a chain would be broken.
        """
        self.prepare(network)
        layers = chosen(network, self.names)
        shared = {name: same(network, Place(layer, "weight")) for name, layer in layers.items()}
        first: dict[int, str] = {}
        for name, layer in layers.items():
            first.setdefault(id(stored(shared[name][0]) if len(shared[name]) > 1 else layer), name)
        links = {name: self.link(name, layers[name]) for name in first.values()}
        for name, link in links.items():
            check_order(name, layers[name], link)
        for name, link in links.items():
            link.to(layers[name].weight.device)
            for module, attribute in shared[name]:
                parametrize.register_parametrization(module, attribute, link)
        self.links, self.layers = links, layers
        self.complete(network)

    @final
    def follow(self, run: Run) -> None:
        """Drive the links, and harden them when their share of the run is over."""
        self.advance(min(1.0, run.progress / self.harden_at))
        if run.progress >= self.harden_at:
            self.harden()

    @property
    @final
    def hard(self) -> bool:
        """Whether the links are fixed."""
        return all(link.hard for link in self.links.values())

    @final
    def fix(self) -> None:
        """Fix every link; training may go on, with the chain in its final form."""
        for link in self.links.values():
            link.harden()

    # Lightning's hooks.

    @final
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the learned parameters settings of their own: above all, no weight decay."""
        configs = trainer.lr_scheduler_configs
        schedules = [config.scheduler for config in configs if isinstance(config.scheduler, LRScheduler)]
        for optimizer in trainer.optimizers:
            if self.lr_scale is None:
                withdraw(optimizer, self.learned())
                continue
            followers = [schedule for schedule in schedules if schedule.optimizer is optimizer]
            settings = {"weight_decay": 0.0, "lr_scale": self.lr_scale}
            regroup(optimizer, followers, self._learned_by(optimizer, trainer.optimizers), settings)

    def _learned_by(self, optimizer: Optimizer, optimizers: Sequence[Optimizer]) -> list[nn.Parameter]:
        """Return the learned parameters that an optimiser holds, and those of its weights that no optimiser holds."""
        learned, layers = self.learned(), self.layers.values()
        held = [parameter for parameter in learned if held_by(optimizer, [parameter])]
        others = [parameter for parameter in learned if not any(held_by(other, [parameter]) for other in optimizers)]
        weights = [weight for layer in layers if (weight := stored(Place(layer, "weight"))) is not None]
        return [*held, *(others if held_by(optimizer, weights) else [])]

    @final
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Add the penalty's gradient: a callback cannot change the module's loss."""
        if self.lr_scale is None:
            self._unscale(getattr(trainer.precision_plugin, "scaler", None))
        penalty = None if self.hard else self.penalty()
        if penalty is None:
            return
        if trainer.world_size == 1:
            penalty.backward()
        else:
            add_gradient(penalty, pl_module)

    def _unscale(self, scaler: Any) -> None:
        """Undo the scale of a half-precision loss, as an optimiser has it undone for its own parameters."""
        for parameter in self.learned():
            if scaler is not None and parameter.grad is not None:
                parameter.grad.div_(scaler.get_scale())
