"""Loops in a chain of blocks: runs of blocks whose weights repeat, which a recurrent block could stand for."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from kirigami.models.technique import weighted


@dataclass(frozen=True)
class Loop:
    """A contiguous run of blocks in which block i and block i + `period` have the same weights.

    A period of 1 is a self-loop. `turns` counts how often the period is run through, in part at the end.
    """

    blocks: tuple[str, ...]
    period: int

    @property
    def turns(self) -> float:
        """Return the length of the run over the period."""
        return len(self.blocks) / self.period


def chains(network: nn.Module) -> list[dict[str, dict[str, str]]]:
    """Return the chains of blocks in a network: for each, by block, its layers {name inside the block: full name}.

    The numbered children of a container, such as a Sequential or a ModuleList, are a chain; where containers are
    nested, each is one of its own. Layers outside any container are one chain, a block each.
    """
    by_container: dict[str | None, dict[str, dict[str, str]]] = {}
    for name, _ in weighted(network):
        for container, block, inner in _numbered(name) or [(None, name, "")]:
            by_container.setdefault(container, {}).setdefault(block, {})[inner] = name
    return list(by_container.values())


def _numbered(name: str) -> list[tuple[str | None, str, str]]:
    """Return every way to cut a name behind a number: (container, block, rest)."""
    parts = name.split(".")
    cuts = [place for place, part in enumerate(parts) if part.isdigit()]
    return [(".".join(parts[:i]), ".".join(parts[: i + 1]), ".".join(parts[i + 1 :])) for i in cuts]


def loops(network: nn.Module, weights: Mapping[str, Hashable]) -> list[Loop]:
    """Return the loops of a network: every corresponding pair of layers has one weight, over the whole run.

    Args:
        network: any module.
        weights: which weight a layer has, by the layer's name; layers that are not named stand alone.
    """
    repeated = []
    for chain in chains(network):
        labels = [frozenset((inner, weights.get(name, name)) for inner, name in b.items()) for b in chain.values()]
        repeated += [Loop(tuple(list(chain)[start:stop]), period) for start, stop, period in _runs(labels)]
    return repeated


def _runs(labels: Sequence[Hashable]) -> list[tuple[int, int, int]]:
    """Return (start, stop, period) of maximal runs of two turns or more, shortest period first, none inside another."""
    repeats: list[tuple[int, int, int]] = []
    for period in range(1, len(labels) // 2 + 1):
        start = 0
        while start + period < len(labels):
            stop = start + period
            while stop < len(labels) and labels[stop] == labels[stop - period]:
                stop += 1
            inside = any(first <= start and stop <= last for first, last, _ in repeats)
            if stop - start >= 2 * period and not inside:
                repeats.append((start, stop, period))
            start = max(start + 1, stop - period)
    return repeats
