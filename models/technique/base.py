"""The base of every technique: a callback that any Trainer drives, soft while it trains and hard at the end.

It needs no cooperation, so it works on anybody's network:

    Trainer(callbacks=[ContinuousSparsification(density=0.1)]).fit(module, batches)
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from kirigami.errors import ArgumentError
from kirigami.models.technique.hooks import hook
from kirigami.models.technique.judges import judge_anew
from kirigami.models.technique.layers import network_of
from kirigami.models.technique.plain_names import with_plain_names
from kirigami.models.technique.run import Run, progress_of


@dataclass(frozen=True)
class Least:
    """The least density and bits to which a technique can bring the weights it takes on.

    Attributes:
        density: share of the weights, in (0, 1].
        bits: of a weight that stays, from 1; None where it stays as it is.
    """

    density: float = 1.0
    bits: float | None = None


class Technique(Callback, ABC):
    """Drives a network from its soft form to its hard form, which is fixed at a share of the run; the rest fine-tunes.

    A subclass is either abstract or final. It defines the abstract methods, and the hooks that it needs; no concrete
    method is overridden. `Linked` is a technique of links in the chains of weights, `models.structure.Reshaping` one
    that changes shapes.

    `state_dict` holds the state that a resumed run needs besides the network's tensors; while that is not enough,
    `resumable` is false. `shrinks` tells whether training may remove weights for good, so that the network's costs are
    known only at the end.

    A run that ends before `harden_at`, stopped by a callback, say, is hardened at its end, with a warning.

    Args:
        names: dotted names of the layers to take on; None leaves the choice to the technique.
        harden_at: share of the run after which the form is fixed and the rest is fine-tuning, in (0, 1].

    Attributes:
        late: share of the run at whose end the form was fixed, without fine-tuning; None where it was in time.

    Raises:
        ValueError: where `harden_at` is out of its range.
    """

    shrinks = False
    stored_as = ""  # the class's name in checkpoints, where stored runs have another one than the code

    def __init__(self, names: Iterable[str] | None = None, harden_at: float = 0.7) -> None:
        if not 0 < harden_at <= 1:
            raise ArgumentError("harden_at", f"must be above 0 and at most 1, but got {harden_at!r}.")
        self.names = None if names is None else tuple(names)
        self.harden_at = harden_at
        self.run: Run | None = None  # while a step of it begins
        self.late: float | None = None
        self._latest: tuple[Any, int, float] | None = None  # batch, index and progress of a soft step
        self._network: nn.Module | None = None

    @property
    @final
    def network(self) -> nn.Module:
        """The network that this technique is attached to."""
        assert self._network is not None, f"{type(self).__name__}: attach comes first"
        return self._network

    # What a technique is made of.

    @abstractmethod
    def take_on(self, network: nn.Module) -> None:
        """Prepare a network for the soft form, or leave it unchanged.

        Raises:
            ValueError: where it has nothing for this technique, or something that does not go with it.
        """

    @abstractmethod
    def follow(self, run: Run) -> None:
        """Update the soft form before a step; call `harden` when its share of the run is over."""

    @property
    @abstractmethod
    def hard(self) -> bool:
        """Whether the form is fixed."""

    @abstractmethod
    def fix(self) -> None:
        """Fix the form as it is now."""

    @hook
    def finish(self) -> None:
        """Bring the network to its final form, just before that is fixed."""

    @hook
    def reform(self, recipe: Mapping[str, Any]) -> None:
        """Bring a freshly built network to the form that a recipe describes, just before that is fixed."""

    @hook
    def check(self) -> None:
        """Check, when all techniques are attached, that they go together.

        Raises:
            ValueError: saying why.
        """

    @hook
    def ready(self, trainer: Trainer) -> None:
        """Prepare a step before it begins, soft or hard."""

    # What it tells.

    @hook
    def report(self) -> dict[str, float]:
        """Return figures of the state reached, such as `density` or `bits`."""
        return {}

    @hook
    def tables(self) -> dict[str, Any]:
        """Return further results of the state reached, such as matrices, as JSON can hold them."""
        return {}

    @hook
    def least(self) -> Least:
        """Return the least density and bits that training can come to; by default every weight stays as it is."""
        return Least()

    @hook
    def recipe(self) -> dict[str, Any]:
        """Return the recipe that `restore` needs besides the technique's arguments, as JSON can hold it."""
        return {}

    @property
    @hook
    def watches_inputs(self) -> bool:
        """Whether the hard form depends on the inputs that layers have had in training."""
        return False

    @property
    @hook
    def resumable(self) -> bool:
        """Whether a run resumed from the network's tensors and `state_dict` now would be the same to the bit."""
        return True

    @final
    def figures(self) -> dict[str, Any]:
        """Return all that a study keeps of the state reached, as JSON can hold it: `report` and `tables`."""
        return {**{name: float(value) for name, value in self.report().items()}, **self.tables()}

    # What is done with it.

    @final
    def attach(self, network: nn.Module) -> None:
        """Take on a network; once, however often it is called.

        Raises:
            ValueError: where the network does not suit, see `take_on`, or this technique has another one already.
        """
        if self._network is network:
            return
        if self._network is not None:
            raise ValueError(f"{type(self).__name__} is attached to another network. Make a new one for this network.")
        self.take_on(network)
        self._network = network

    @final
    def harden(self) -> None:
        """Bring the network to its final form and fix that; training may go on."""
        if not self.hard:
            self.finish()
            self.fix()

    @final
    def restore(self, network: nn.Module, recipe: Mapping[str, Any]) -> None:
        """Bring a freshly built network to the hard form in which the weights of a trained one can be loaded.

        Raises:
            ValueError: where the recipe is that of another network, or of other arguments.
        """
        self.attach(network)
        self.reform(recipe)
        self.fix()

    # Lightning's hooks.

    @property
    @final
    def state_key(self) -> str:
        """The key of the state in a checkpoint: two techniques of a kind may take on different layers."""
        return f"{self.stored_as or type(self).__qualname__}({', '.join(self.names or ())})"

    @final
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Attach before the optimisers are made, so that they see the links' parameters."""
        self.attach(network_of(pl_module))
        if stage == "fit":
            with_plain_names(pl_module)

    @final
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Drive the soft form, and harden it when its share of the run is over."""
        if not self.hard:
            self._latest = batch, batch_idx, progress_of(trainer, batch_idx)
            self._follow(Run(trainer, pl_module, *self._latest))
        if self.hard and self._latest is not None:
            self._latest = None
            judge_anew(trainer)
        self.ready(trainer)

    @final
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Harden what the run has left soft, and warn at which share of the run that was."""
        if self.hard or self._latest is None:
            return
        (batch, batch_idx, self.late), self._latest = self._latest, None
        self._follow(Run(trainer, pl_module, batch, batch_idx, 1.0))
        rank_zero_warn(
            f"{type(self).__name__}: the run ended at {self.late:.2f} of its length, before "
            f"harden_at={self.harden_at:g}. The form was fixed at its end, without fine-tuning; the scores of its "
            "validations are those of the soft form."
        )

    def _follow(self, run: Run) -> None:
        self.run = run
        try:
            self.follow(run)
        finally:
            self.run = None  # a technique can be copied and saved, a run cannot
