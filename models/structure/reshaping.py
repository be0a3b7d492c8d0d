"""A technique that changes the shapes of a network's tensors while it trains."""

from collections.abc import Iterable
from typing import final

from lightning.pytorch import LightningModule, Trainer
from torch import nn

from kirigami.models.structure.shapes import to_shapes
from kirigami.models.structure.tensors import check_links
from kirigami.models.technique import Technique, hook, note_hard, note_soft, weighted


class Reshaping(Technique):
    """Base of the techniques that take units away or add some; its form is fixed when the shapes are.

    It has no links, but stands before those that have: their links change with the weights. Layers that share, or still
    learn their bits, cannot change their shape. A checkpoint of another shape brings the network to its shape when it
    is loaded.

    Args:
        names: of the layers whose units may change, as `Units.name` has them; by default all that can.
        harden_at: share of the run after which the shapes are fixed; the rest is fine-tuning.
    """

    shrinks = True
    title: str  # for messages

    def __init__(self, names: Iterable[str] | None, harden_at: float) -> None:
        super().__init__(names, harden_at)
        self._fixed = False

    @hook
    def begin(self, trainer: Trainer, module: LightningModule) -> None:
        """Collect the objects of a run, new or resumed, that the changes need."""

    @final
    def take_on(self, network: nn.Module) -> None:
        """Let the network follow the shapes of the state that it loads; it is not changed now.

        Raises:
            ValueError: where a layer cannot change its shape.
        """
        _check(network)
        network.register_load_state_dict_pre_hook(to_shapes)
        if not self._fixed:
            note_soft(network, self.title)

    @final
    def check(self) -> None:
        """Refuse layers that share, or still learn their bits: their shapes cannot change."""
        _check(self.network)

    @property
    @final
    def hard(self) -> bool:
        """Whether the shapes are fixed."""
        return self._fixed

    @final
    def fix(self) -> None:
        """Fix the shapes as they are; until then the network cannot be encoded."""
        self._fixed = True
        if self._network is not None:
            note_hard(self._network, self.title)

    @final
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a combination that cannot work.

        Raises:
            ValueError: where several processes train, whose copies would not change together.
        """
        if trainer.world_size > 1:
            raise ValueError(
                f"{self.title} needs one device, but got {trainer.world_size} processes: shapes would differ."
            )
        self.check()
        self.begin(trainer, pl_module)


def _check(network: nn.Module) -> None:
    for name, layer in weighted(network):
        check_links(name, layer)
