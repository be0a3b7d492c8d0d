"""Soft sharing of weights between layers, with fold pressure."""

from collections.abc import Mapping
from typing import Any, final

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from kirigami.arguments import at_least
from kirigami.errors import ArgumentError
from kirigami.models.sharing.bank import bank_of, banks, mix_of
from kirigami.models.sharing.fold import Folding, fold, similar
from kirigami.models.sharing.groups import Clusters, Groups, find, split
from kirigami.models.sharing.pressure import distance
from kirigami.models.sharing.sharing import Parameters, Sharing
from kirigami.models.sharing.similarity import TAU, similarity


@final
class SoftSharing(Sharing):
    """Let same-shaped layers mix a few templates: W(i) = sum_j a(i)_j T(j) (Savarese & Maire, ICLR 2019, equation 1).

    Each group of layers has a bank of `templates` weights, drawn Kaiming normal, and each layer a row of coefficients
    (see `draw_coefficients`), which no weight decay touches; templates decay as weights do. With `pressure`, layers
    that are meant to become one are pulled together, by pressure * progress * mean(1 - S^2) over their pairs, and
    with `fold` those that are `tau` alike when the links harden become one weight with a scale each.

    Args:
        templates: k of every bank; a bank of L layers has at most L.
        groups: which layers share (see `groups.find`); by default all of one shape, but the last layer.
        pressure: weight of the penalty at its end; 3 folds nearly without loss, 0 is none.
        pattern: which layers are pulled together: "cycle" (i and i + distinct), "sequence" (neighbours), "found" (the
            most similar ones, a third of the way to the end of the soft part), or lists of names.
        distinct: target number of weights of each bank, if the pattern is a word.
        fold: fold when the links harden.
        tau: smallest similarity of layers that fold.
        harden_at: share of the run after which the links are hard.
        seed: of templates and coefficients.

    Raises:
        ValueError: where an argument is out of its range.
    """

    def __init__(
        self,
        templates: int = 4,
        groups: Groups | None = None,
        pressure: float = 0.0,
        pattern: str | Clusters = "cycle",
        distinct: int = 2,
        fold: bool = False,
        tau: float = TAU,
        harden_at: float = 0.9,
        seed: int = 0,
    ) -> None:
        super().__init__(templates, groups, pattern, distinct, tau, harden_at, seed)
        at_least("pressure", pressure, 0)
        self.pressure, self.fold = pressure, fold
        self.shrinks = fold
        self.progress = 0.0
        self.clusters: Clusters = []
        self.folding: Folding | None = None
        self._replaced: tuple[Parameters, Parameters] | None = None

    def members(self, network: nn.Module) -> Clusters:
        """Return the names of the layers of each bank."""
        return find(network, self.groups)

    def arrange(self) -> None:
        """Choose the layers that are pulled together, unless they are still to be found."""
        if self.pattern == "found":
            self.clusters = []
        elif isinstance(self.pattern, str):
            self.clusters = [cluster for names in self.banks for cluster in split(names, self.pattern, self.distinct)]
        else:
            home = {name: number for number, names in enumerate(self.banks) for name in names}
            for cluster in self.pattern:
                groups = {home.get(name) for name in cluster}
                if None in groups or len(groups) != 1:
                    raise ArgumentError("pattern", f": ({', '.join(cluster)}) are no layers of one group.")
            self.clusters = [list(cluster) for cluster in self.pattern]

    def advance(self, progress: float) -> None:
        """Raise the pressure; choose the layers to fold together, if no pattern was given."""
        self.progress = progress
        if self.pattern == "found" and not self.clusters and progress >= 1 / 3:
            for names in self.banks:
                self.clusters += similar({name: self.layers[name] for name in names}, most=self.distinct)

    def penalty(self) -> Tensor | None:
        """Return the fold pressure of this step."""
        several = [cluster for cluster in self.clusters if len(cluster) > 1]
        if not (self.pressure and self.progress and several):
            return None
        return self.pressure * self.progress * distance(self.layers, several)

    def finish(self) -> None:
        """Fold if folding is on."""
        if self.fold and self.folding is None:
            before = self.parameters()
            self._before_fold = similarity(self.network, self.tau)
            self._fold()
            self._replaced = before, self.parameters()

    def _fold(self, pattern: Clusters | None = None) -> Folding:
        self.folding = fold(self.network, self.tau, pattern)
        self.links.update({name: mix_of(layer) for name, layer in self.layers.items()})
        return self.folding

    def recipe(self) -> dict[str, Any]:
        """Return `{"folded": clusters}`, the layers of each weight after a fold, whoever called it; {} without."""
        drawn = {(tuple(names), min(self.templates, len(names))) for names in self.banks}
        held = [(tuple(layers), len(bank_of(layers[key]).templates)) for key, layers in banks(self.network).items()]
        folded = [list(names) for names, templates in held if (names, templates) not in drawn]
        return {"folded": folded} if folded else {}

    def reform(self, recipe: Mapping[str, Any]) -> None:
        """Fold as the recipe says, whatever the fresh coefficients.

        Raises:
            ValueError: where the recipe is that of another network, or of other arguments.
        """
        if folded := recipe.get("folded"):
            pattern = self._fold(folded).pattern
            if lost := [names for names in folded if names not in pattern]:
                raise ArgumentError(
                    "templates",
                    f"={self.templates} is as many weights as the fold of ({', '.join(lost[0])}) leaves. "
                    "Set it to what it was in training.",
                )

    def ready(self, trainer: Trainer) -> None:
        """Give the optimisers the new parameters, if layers have just been folded."""
        if self._replaced is not None:
            for optimizer in trainer.optimizers:
                swap(optimizer, *self._replaced)
            self._replaced = None

    @property
    def resumable(self) -> bool:
        """Whether nothing is folded yet: a fold changes which parameters there are."""
        return self.folding is None

    def state_dict(self) -> dict[str, Any]:
        """Return how far it is, and which layers are to become one."""
        return {"progress": self.progress, "clusters": [list(cluster) for cluster in self.clusters]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a saved run."""
        self.progress, self.clusters = state_dict["progress"], [list(cluster) for cluster in state_dict["clusters"]]


def swap(optimizer: Optimizer, before: Parameters, after: Parameters) -> None:
    """Put new parameters in the groups of those they replace, templates for templates and rows for rows, without state.

    Momentum of plain SGD begins at 0, as its fused form cannot begin for some parameters of a group only.
    """
    gone = {id(parameter): kind for parameter, kind in before.items() if parameter not in after}
    come = [(parameter, kind) for parameter, kind in after.items() if parameter not in before]
    for group in optimizer.param_groups:
        old = [parameter for parameter in group["params"] if id(parameter) in gone]
        kinds = {gone[id(parameter)] for parameter in old}
        states = [optimizer.state.pop(parameter, {}) for parameter in old]
        new = [parameter for parameter, kind in come if kind in kinds]
        if any(list(state) == ["momentum_buffer"] and state["momentum_buffer"] is not None for state in states):
            optimizer.state.update({parameter: {"momentum_buffer": torch.zeros_like(parameter)} for parameter in new})
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone] + new
        come = [(parameter, kind) for parameter, kind in come if kind not in kinds]
