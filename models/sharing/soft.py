"""Soft sharing of weights between layers, with fold pressure."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from kirigami.errors import ArgumentError, choose
from kirigami.models.arguments import at_least
from kirigami.models.sharing.bank import Bank, Mix, bank_of, banks, draw_coefficients, draw_templates, row_of
from kirigami.models.sharing.fold import Folding, fold, similar
from kirigami.models.sharing.groups import PATTERNS, Clusters, Groups, find, split
from kirigami.models.sharing.pressure import distance
from kirigami.models.sharing.similarity import TAU, Similarity, similarity, table
from kirigami.models.technique import Link, Technique, chain

Parameters: TypeAlias = dict[nn.Parameter, str]


class SoftSharing(Technique):
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
        distinct: weights meant to be left of each bank, where the pattern is a word.
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
        super().__init__(None, harden_at)
        at_least("templates", templates, 1)
        at_least("pressure", pressure, 0)
        at_least("distinct", distinct, 1)
        if isinstance(pattern, str):
            choose("pattern", pattern, PATTERNS)
        if not 0 < tau <= 1:
            raise ArgumentError("tau", f"must be above 0 and at most 1, but got {tau!r}.")
        self.templates, self.groups, self.pressure = templates, groups, pressure
        self.pattern, self.distinct, self.fold, self.tau = pattern, distinct, fold, tau
        self.shrinks = fold
        self.generator = torch.Generator().manual_seed(seed)
        self.progress = 0.0
        self.clusters: Clusters = []
        self.folding: Folding | None = None
        self._members: Clusters = []
        self._made: dict[str, Mix] = {}
        self._weights = 0
        self._before_fold: dict[str, Similarity] = {}
        self._replaced: tuple[Parameters, Parameters] | None = None

    def members(self, network: nn.Module) -> Clusters:
        """Return the names of the layers of each bank."""
        return find(network, self.groups)

    def attach(self, network: nn.Module) -> None:
        """Give every group of layers a bank.

        Raises:
            ValueError: where the groups or the pattern do not fit the network, or it has a technique that comes later.
        """
        if self.network is None:
            self._members = self.members(network)
            self.names = tuple(name for names in self._members for name in names)
            layers = dict(network.named_modules())
            self.clusters = self._clusters()
            self._weights = sum(layers[name].weight.numel() for name in self.names)
            self._made.clear()
            for names in self._members:
                self._made |= self._bank(names, layers[names[0]].weight)
        super().attach(network)
        self._made.clear()

    def _bank(self, names: Sequence[str], weight: Tensor) -> dict[str, Mix]:
        templates = min(self.templates, len(names))
        bank = Bank(draw_templates(weight.detach(), templates, self.generator))
        rows = draw_coefficients(len(names), templates, self.generator)
        return {name: Mix(bank, row) for name, row in zip(names, rows, strict=True)}

    def _clusters(self) -> Clusters:
        if self.pattern == "found":
            return []
        if isinstance(self.pattern, str):
            return [cluster for names in self._members for cluster in split(names, self.pattern, self.distinct)]
        home = {name: number for number, names in enumerate(self._members) for name in names}
        for cluster in self.pattern:
            groups = {home.get(name) for name in cluster}
            if None in groups or len(groups) != 1:
                raise ArgumentError("pattern", f": ({', '.join(cluster)}) are no layers of one group.")
        return [list(cluster) for cluster in self.pattern]

    def link(self, name: str, layer: nn.Module) -> Link:
        """Return the link of a layer to the bank of its group."""
        return self._made[name]

    def own(self) -> list[nn.Parameter]:
        """Return the coefficients; the templates are weights, and stay among them."""
        return [row_of(layer) for layer in self.layers.values()]

    def advance(self, progress: float) -> None:
        """Raise the pressure; find the layers that are to become one, where they are not given."""
        self.progress = progress
        if self.pattern == "found" and not self.clusters and progress >= 1 / 3:
            for names in self._members:
                self.clusters += similar({name: self.layers[name] for name in names}, most=self.distinct)

    def penalty(self) -> Tensor | None:
        """Return the fold pressure of this step."""
        several = [cluster for cluster in self.clusters if len(cluster) > 1]
        if not (self.pressure and self.progress and several):
            return None
        return self.pressure * self.progress * distance(self.layers, several)

    def harden(self) -> None:
        """Fix the links, and fold where that is wanted."""
        if self.fold and self.folding is None and self.network is not None:
            before = self._parameters()
            self._before_fold = similarity(self.network, self.tau)
            self._fold(self.network)
            self._replaced = before, self._parameters()
        super().harden()

    def _fold(self, network: nn.Module, pattern: Clusters | None = None) -> None:
        self.folding = fold(network, self.tau, pattern)
        self.links.update({name: chain(layer)[0] for name, layer in self.layers.items()})

    def recipe(self) -> dict[str, Any]:
        """Return `{"folded": clusters}`, the layers of each weight that a fold left, by whoever folded; {} without."""
        assert self.network is not None, "recipe() before attach()"
        drawn = {(tuple(names), min(self.templates, len(names))) for names in self._members}
        found = [(tuple(layers), len(bank_of(layers[key]).templates)) for key, layers in banks(self.network).items()]
        folded = [list(names) for names, templates in found if (names, templates) not in drawn]
        return {"folded": folded} if folded else {}

    def restore(self, network: nn.Module, recipe: Mapping[str, Any]) -> None:
        """Share, and fold as the recipe says, whatever the fresh coefficients; then harden.

        Raises:
            ValueError: where the recipe is that of another network, or of other arguments.
        """
        self.attach(network)
        if folded := recipe.get("folded"):
            self._fold(network, folded)
            assert self.folding is not None
            if lost := [names for names in folded if names not in self.folding.pattern]:
                raise ArgumentError(
                    "templates",
                    f"={self.templates} is as many weights as the fold of ({', '.join(lost[0])}) leaves. "
                    "Set it to what it was in training.",
                )
        Technique.harden(self)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Drive the links; where they have just been folded, hand the optimisers the new parameters."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
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
        """Go on where a run was."""
        self.progress, self.clusters = state_dict["progress"], [list(cluster) for cluster in state_dict["clusters"]]

    def _parameters(self) -> Parameters:
        """Return the parameters of all layers, and whether each is a row or a template."""
        rows = {row_of(layer): "row" for layer in self.layers.values()}
        return {**rows, **{bank_of(layer).templates: "template" for layer in self.layers.values()}}

    def similarities(self) -> dict[str, Similarity]:
        """Return the similarity of each bank's layers; after a fold, that which the fold was made by."""
        assert self.network is not None, "similarities() before attach()"
        return self._before_fold or similarity(self.network, self.tau)

    def tables(self) -> dict[str, Any]:
        """Return the layer similarity matrices as `{"similarity": …}`, see `similarity.table`; {} without any."""
        banks_shown = table(self.similarities().values())
        return {"similarity": banks_shown} if banks_shown else {}

    def report(self) -> dict[str, float]:
        """Return figures of the sharing.

        `shared`: parameters of banks and rows over those of the weights they stand for; `weights`: templates of all
        banks; `similar`, `similar_null`: share of pairs of one bank that are `tau` alike, and of random ones; `lsm`,
        `lsm_null`: mean similarity of a pair, and the 95th percentile of random ones (the mean over banks by pairs).
        """
        assert self.network is not None, "report() before attach()"
        found = list(similarity(self.network, self.tau).values())
        sizes = [len(one.pairs) for one in found]
        total = max(1, sum(sizes))

        def pooled(values: list[float]) -> float:
            return sum(value * size for value, size in zip(values, sizes, strict=True)) / total

        kept = self._parameters()
        return {
            "shared": sum(parameter.numel() for parameter in kept) / self._weights,
            "weights": float(sum(len(p) for p, kind in kept.items() if kind == "template")),
            "similar": pooled([one.above if len(one.pairs) else 0.0 for one in found]),
            "similar_null": pooled([one.null.above for one in found]),
            "lsm": pooled([float(one.pairs.mean()) if len(one.pairs) else 0.0 for one in found]),
            "lsm_null": pooled([one.null.band for one in found]),
        }


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
