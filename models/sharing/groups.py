"""Which layers share: same-shaped ones, found in any network or named by hand; and which of them become one weight."""

from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

from torch import nn

from kirigami.errors import ArgumentError, did_you_mean
from kirigami.models.technique import chosen, weighted

Groups: TypeAlias = Sequence[str | Sequence[str]]
"""Groups by hand: each a pattern such as `stages.0.[!0].conv*`, or a list of names or patterns."""
Clusters: TypeAlias = list[list[str]]
"""Names of layers, in sets that have, or are to have, one weight."""
PATTERNS = ("cycle", "sequence", "found")


def find(network: nn.Module, groups: Groups | None = None) -> Clusters:
    """Return the groups of layers that may share: the same kind and the same weight shape, two or more of them.

    Args:
        network: any module.
        groups: by hand; by default every set of alike layers, without the last layer, and without those whose
            weight is tied already.

    Raises:
        ValueError: where no two layers are alike, a pattern matches nothing, a layer is named twice, or the layers
            of a group differ.
    """
    return _alike(network) if groups is None else _named(network, groups)


def _alike(network: nn.Module) -> Clusters:
    tied = _tied(network)
    by_form: dict[tuple[type | Sequence[int], ...], list[str]] = {}
    for name, layer in chosen(network, None).items():
        if id(layer.weight) not in tied:
            by_form.setdefault(_form(layer), []).append(name)
    groups = [names for names in by_form.values() if len(names) > 1]
    if not groups:
        raise ArgumentError(
            "",
            f"{type(network).__name__} has no two layers of one shape besides its last layer. "
            "Take a network with blocks that repeat.",
        )
    return groups


def _named(network: nn.Module, groups: Groups) -> Clusters:
    if isinstance(groups, str):
        raise ArgumentError("groups", f"must be a list, but got {groups!r}.", ("groups", f"['{groups}']"))
    layers, tied = dict(weighted(network)), _tied(network)
    clusters = [_matched([group] if isinstance(group, str) else group, layers) for group in groups]
    for name, times in Counter(name for names in clusters for name in names).items():
        if times > 1 or id(layers[name].weight) in tied:
            why = "is in two groups" if times > 1 else "has a weight that is tied to another module's already"
            raise ArgumentError("groups", f": {name!r} {why}.")
    for names in clusters:
        odd = [name for name in names if _form(layers[name]) != _form(layers[names[0]])]
        if odd or len(names) < 2:
            why = f"{odd[0]!r} differs from {names[0]!r}" if odd else f"{names[0]!r} is alone"
            raise ArgumentError("groups", f": a group needs two or more layers of one kind and shape, but {why}.")
    return clusters


def _matched(patterns: Iterable[str], layers: dict[str, nn.Module]) -> list[str]:
    matches: dict[str, None] = {}
    for pattern in patterns:
        hits = [name for name in layers if name == pattern or fnmatchcase(name, str(pattern))]
        if not hits:
            raise ArgumentError(
                "groups", f": {pattern!r} names no linear or convolutional layer.{did_you_mean(pattern, layers)}"
            )
        matches.update(dict.fromkeys(hits))
    return [name for name in layers if name in matches]


def _form(layer: nn.Module) -> tuple[type | Sequence[int], ...]:
    kind = layer.__class__.__mro__[1] if hasattr(layer, "parametrizations") else layer.__class__
    return kind, tuple(layer.weight.shape)


def _tied(network: nn.Module) -> set[int]:
    """Return the identities of parameters that stand in more than one place."""
    counts = Counter(id(p) for m in network.modules() for p in m._parameters.values() if p is not None)
    return {key for key, count in counts.items() if count > 1}


def split(group: Sequence[str], pattern: str, distinct: int) -> Clusters:
    """Split a group into `distinct` clusters that are to become one weight each.

    cycle: layers i and i + distinct together (a loop of that period, counted in layers of the group);
    sequence: neighbours together, in runs of nearly equal length. Both orders are those of Takase & Kiyono (2021).
    """
    distinct = min(distinct, len(group))
    place = [i % distinct if pattern == "cycle" else i * distinct // len(group) for i in range(len(group))]
    return [[name for name, number in zip(group, place, strict=True) if number == k] for k in range(distinct)]
