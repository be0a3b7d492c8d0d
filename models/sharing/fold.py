"""Folding: layers whose coefficients lie on one line become one weight, each with a scale of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kirigami.errors import ArgumentError
from kirigami.models.cost import evaluating, parameters
from kirigami.models.sharing.bank import Bank, Mix, bank_of, banks, row_of, rows_of
from kirigami.models.sharing.groups import Clusters
from kirigami.models.sharing.loops import Loop, loops
from kirigami.models.sharing.similarity import TAU, lsm


@dataclass(frozen=True)
class Folding:
    """The result of a fold. It saves parameters, never operations: a folded layer is computed as often as before.

    Attributes:
        clusters: by bank, the layers that have one weight now; give them to `fold` as its pattern to fold a fresh
            network alike, for instance before its weights are loaded.
        kept: banks left as they were, since no fewer weights than templates would have come out.
        before, after: parameters of the whole network.
        loops: runs of blocks that repeat.
        difference: largest absolute change of the outputs for the inputs given, None without them.
    """

    clusters: dict[str, Clusters]
    kept: tuple[str, ...]
    before: int
    after: int
    loops: tuple[Loop, ...]
    difference: float | None = None

    @property
    def pattern(self) -> Clusters:
        """Return the clusters of all folded banks."""
        return [cluster for clusters in self.clusters.values() for cluster in clusters]


@torch.no_grad()
def fold(
    network: nn.Module, tau: float = TAU, pattern: Clusters | None = None, inputs: Tensor | None = None
) -> Folding:
    """Fold a network's banks in place, where the result has fewer weights than the bank has templates.

    In a cluster with coefficients A (n, k), W(i) becomes c_i W_u, with u the first right singular vector of A and the
    signed scale c_i = <a_i, u>. u does not see the rows' signs, so they need no alignment. The statistics of batch
    norms belong to the old weights: `kirigami.models.norms.reestimate` them unless training goes on.

    Args:
        network: a module whose layers share, through `SoftSharing`.
        tau: smallest similarity inside a cluster (complete linkage), in (0, 1].
        pattern: the clusters by hand, instead; a layer of a bank named here that is in none keeps a weight of its own.
        inputs: a batch to compare the outputs on, before and after.

    Raises:
        ValueError: where `tau` is out of its range, the network shares nothing, or the pattern does not fit it.
    """
    if not 0 < tau <= 1:
        raise ArgumentError("tau", f"must be above 0 and at most 1, but got {tau!r}.")
    layers_by_bank = banks(network)
    if not layers_by_bank:
        raise ValueError(f"{type(network).__name__} has no layers that share. Attach SoftSharing to it first.")
    split = (
        {key: similar(layers, tau) for key, layers in layers_by_bank.items()}
        if pattern is None
        else _fit(layers_by_bank, pattern)
    )
    saves = {key: len(clusters) < len(bank_of(layers_by_bank[key][key]).templates) for key, clusters in split.items()}
    before, old = parameters(network), _outputs(network, inputs)
    done = {key: clusters for key, clusters in split.items() if saves[key]}
    for key, clusters in done.items():
        for cluster in clusters:
            tie([layers_by_bank[key][name] for name in cluster])
    new = _outputs(network, inputs)
    return Folding(
        clusters=done,
        kept=tuple(key for key in layers_by_bank if key not in done),
        before=before,
        after=parameters(network),
        loops=tuple(loops(network, {name: c[0] for clusters in done.values() for c in clusters for name in c})),
        difference=None if old is None or new is None else float((old - new).abs().max()),
    )


def similar(layers: dict[str, nn.Module], tau: float = TAU, most: int | None = None) -> Clusters:
    """Cluster the layers of a bank by complete linkage over 1 - S.

    Args:
        layers: the layers of one bank, by name.
        tau: every pair inside a cluster is at least so similar.
        most: form this many clusters at most, instead.
    """
    from scipy.cluster.hierarchy import fcluster, linkage  # SciPy takes a while to load, and few networks are folded
    from scipy.spatial.distance import squareform

    names = list(layers)
    if len(names) < 2:  # a bank that a fold has left to one layer
        return [names]
    distances = np.nan_to_num(1 - lsm(rows_of(layers).detach().double()).cpu().numpy(), nan=1.0)  # diverged: unlike all
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "complete")
    numbers = fcluster(tree, 1 - tau + 1e-9, "distance") if most is None else fcluster(tree, most, "maxclust")
    clusters: dict[int, list[str]] = {}
    for name, number in zip(names, numbers, strict=True):
        clusters.setdefault(int(number), []).append(name)
    return list(clusters.values())


def shuffled(clusters: Clusters, generator: torch.Generator) -> Clusters:
    """Return clusters of the same sizes with the layers of one bank dealt at random: the control of a fold."""
    names = [name for cluster in clusters for name in cluster]
    dealt = iter(torch.randperm(len(names), generator=generator).tolist())
    return [[names[next(dealt)] for _ in cluster] for cluster in clusters]


def tie(layers: Sequence[nn.Module]) -> None:
    """Make layers of one bank hold one weight, in a bank of one template, and a scale each."""
    rows = torch.stack([row_of(layer) for layer in layers])
    direction = torch.linalg.svd(rows.double(), full_matrices=False).Vh[0]
    scales = rows.double() @ direction
    sign = -1.0 if scales.sum() < 0 else 1.0
    bank = Bank(bank_of(layers[0]).mix((sign * direction).to(rows))[None].clone())
    for layer, scale in zip(layers, (sign * scales).to(rows), strict=True):
        link = Mix(bank, scale[None])
        link.train(layer.training).harden()
        chain = layer.parametrizations.weight
        chain.original = nn.Parameter(link.right_inverse(scale), requires_grad=row_of(layer).requires_grad)
        chain[0] = link


@torch.no_grad()
def normalise(network: nn.Module) -> None:
    """Give the first layer of each folded bank the scale 1, in place, so that its weight is the one that is stored.

    Outputs change by float rounding.
    """
    for layers in banks(network).values():
        rows = [row_of(layer) for layer in layers.values()]
        templates = bank_of(next(iter(layers.values()))).templates
        first = rows[0].clone()
        if len(templates) == 1 and bool(first != 0):
            templates.mul_(first)
            for row in rows:
                row.div_(first)


def _fit(layers_by_bank: dict[str, dict[str, nn.Module]], pattern: Clusters) -> dict[str, Clusters]:
    """Return a pattern by bank, with clusters of one for the layers of its banks that it leaves out."""
    home = {name: key for key, layers in layers_by_bank.items() for name in layers}
    split: dict[str, Clusters] = {}
    for cluster in pattern:
        keys = {home.get(name) for name in cluster}
        if None in keys or len(keys) != 1:
            raise ArgumentError("pattern", f": ({', '.join(cluster)}) are no layers of one bank.")
        split.setdefault(str(keys.pop()), []).append(list(cluster))
    for key, clusters in split.items():
        named = [name for cluster in clusters for name in cluster]
        if len(named) != len(set(named)):
            raise ArgumentError("pattern", f"names a layer twice, among ({', '.join(named)}).")
        clusters += [[name] for name in layers_by_bank[key] if name not in named]
    return split


def _outputs(network: nn.Module, inputs: Tensor | None) -> Tensor | None:
    if inputs is None:
        return None
    with evaluating(network):
        outputs: Tensor = network(inputs)
    return outputs
