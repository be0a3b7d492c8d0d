"""The base of weight sharing: banks of templates that groups of layers mix, and their figures in reports."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn

from kirigami.arguments import at_least
from kirigami.errors import ArgumentError, choose
from kirigami.models.sharing.bank import Bank, Mix, bank_of, draw_coefficients, draw_templates, row_of
from kirigami.models.sharing.groups import PATTERNS, Clusters, Groups
from kirigami.models.sharing.similarity import TAU, Similarity, similarity, table
from kirigami.models.technique import Linked, hook

Parameters: TypeAlias = dict[nn.Parameter, str]


class Sharing(Linked[Mix]):
    """Base of the techniques by which same-shaped layers mix the templates of one bank.

    Args:
        templates: k of every bank; a bank of L layers has at most L.
        groups: the layers that may share, see `groups.find`.
        pattern: the layers to fold together, a word in `groups.PATTERNS` or lists of names.
        distinct: target number of weights of each bank, if the pattern is a word.
        tau: smallest similarity of layers that count as alike.
        harden_at: see `Technique`.
        seed: of templates and coefficients.

    Raises:
        ValueError: where an argument is out of its range.
    """

    def __init__(
        self,
        templates: int,
        groups: Groups | None,
        pattern: str | Clusters,
        distinct: int,
        tau: float = TAU,
        harden_at: float = 0.9,
        seed: int = 0,
    ) -> None:
        super().__init__(None, harden_at)
        at_least("templates", templates, 1)
        at_least("distinct", distinct, 1)
        if isinstance(pattern, str):
            choose("pattern", pattern, PATTERNS)
        if not 0 < tau <= 1:
            raise ArgumentError("tau", f"must be above 0 and at most 1, but got {tau!r}.")
        self.templates, self.groups, self.pattern, self.distinct, self.tau = templates, groups, pattern, distinct, tau
        self.generator = torch.Generator().manual_seed(seed)
        self.banks: Clusters = []
        self._mixes: dict[str, Mix] = {}
        self._weights = 0
        self._before_fold: dict[str, Similarity] = {}

    @abstractmethod
    def members(self, network: nn.Module) -> Clusters:
        """Return the names of the layers of each bank."""

    @hook
    def arrange(self) -> None:
        """Choose which layers of the banks are to become one."""

    @final
    def prepare(self, network: nn.Module) -> None:
        """Draw a bank for every group of layers.

        Raises:
            ValueError: where the groups or the pattern do not fit the network.
        """
        self.banks = self.members(network)
        self.names = tuple(name for names in self.banks for name in names)
        self.arrange()
        layers = dict(network.named_modules())
        self._weights = sum(layers[name].weight.numel() for name in self.names)
        self._mixes = {}
        for names in self.banks:
            self._mixes |= self._bank(names, layers[names[0]].weight)

    def _bank(self, names: Sequence[str], weight: Tensor) -> dict[str, Mix]:
        templates = min(self.templates, len(names))
        bank = Bank(draw_templates(weight.detach(), templates, self.generator))
        rows = draw_coefficients(len(names), templates, self.generator)
        return {name: Mix(bank, row) for name, row in zip(names, rows, strict=True)}

    @final
    def link(self, name: str, layer: nn.Module) -> Mix:
        """Return the link of a layer to the bank of its group."""
        return self._mixes.pop(name)

    @final
    def learned(self) -> list[nn.Parameter]:
        """Return the coefficients; the templates are weights, and stay among them."""
        return [row_of(layer) for layer in self.layers.values()]

    @final
    def parameters(self) -> Parameters:
        """Return the parameters of all layers, and whether each is a row or a template."""
        rows = {row_of(layer): "row" for layer in self.layers.values()}
        return {**rows, **{bank_of(layer).templates: "template" for layer in self.layers.values()}}

    @final
    def similarities(self) -> dict[str, Similarity]:
        """Return the similarity of each bank's layers; after a fold, that which the fold was made by."""
        return self._before_fold or similarity(self.network, self.tau)

    @final
    def tables(self) -> dict[str, Any]:
        """Return the layer similarity matrices as `{"similarity": …}`, see `similarity.table`; {} without any."""
        banks_shown = table(self.similarities().values())
        return {"similarity": banks_shown} if banks_shown else {}

    @final
    def report(self) -> dict[str, float]:
        """Return figures of the sharing.

        `shared`: parameters of banks and rows over those of the weights they stand for; `weights`: templates of all
        banks; `similar`, `similar_null`: share of pairs of one bank that are `tau` alike, and of random ones; `lsm`,
        `lsm_null`: mean similarity of a pair, and the 95th percentile of random ones (the mean over banks by pairs).
        """
        matrices = list(similarity(self.network, self.tau).values())
        sizes = [len(bank.pairs) for bank in matrices]
        total = max(1, sum(sizes))

        def pooled(values: list[float]) -> float:
            return sum(value * size for value, size in zip(values, sizes, strict=True)) / total

        stored = self.parameters()
        return {
            "shared": sum(parameter.numel() for parameter in stored) / self._weights,
            "weights": float(sum(len(p) for p, kind in stored.items() if kind == "template")),
            "similar": pooled([bank.above if len(bank.pairs) else 0.0 for bank in matrices]),
            "similar_null": pooled([bank.null.above for bank in matrices]),
            "lsm": pooled([float(bank.pairs.mean()) if len(bank.pairs) else 0.0 for bank in matrices]),
            "lsm_null": pooled([bank.null.band for bank in matrices]),
        }
