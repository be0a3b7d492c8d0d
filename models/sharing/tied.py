"""Layers tied from the start: the control for a fold."""

from typing import final

from torch import nn

from kirigami.errors import ArgumentError
from kirigami.models.sharing.groups import Clusters, Groups, find, split
from kirigami.models.sharing.sharing import Sharing


@final
class TiedLayers(Sharing):
    """Tie layers from the start: one weight for each cluster of a pattern, and a scale for each layer.

    Arguments are those of `SoftSharing`.

    Raises:
        ValueError: where an argument is out of its range.
    """

    def __init__(
        self,
        groups: Groups | None = None,
        pattern: str | Clusters = "cycle",
        distinct: int = 2,
        harden_at: float = 0.9,
        seed: int = 0,
    ) -> None:
        if pattern == "found":
            raise ArgumentError("pattern", "must be cycle, sequence or lists of names where layers are tied.")
        super().__init__(1, groups, pattern, distinct, harden_at=harden_at, seed=seed)

    def members(self, network: nn.Module) -> Clusters:
        """Return the clusters of the pattern that have two layers or more."""
        if not isinstance(self.pattern, str):
            return find(network, [cluster for cluster in self.pattern if len(cluster) > 1])
        groups = find(network, self.groups)
        tied = [names for group in groups for names in split(group, self.pattern, self.distinct) if len(names) > 1]
        if not tied:
            most = max(len(group) for group in groups)
            raise ArgumentError("distinct", f"must be below {most}, the layers of a group, but got {self.distinct}.")
        return tied
