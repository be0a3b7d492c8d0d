"""Probabilities of the next bit from counts of the bits after the same contexts, from general to special.

A bit stands in a chain of contexts, each more special than the one before. The chance of a one is taken down the
chain: of a context seen n times, k of them with a one, it is (k + s·q) / (n + s), where q is the chance found before
it, one half at the start, and s the strength of that prior (the interpolated backoff of MacKay and Peto, "A
hierarchical Dirichlet language model", 1995). Since chances depend on counts alone, the writer finds those of a whole
tensor at once; the reader goes bit by bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain as joined
from typing import Any

import numpy
from numpy.typing import NDArray

from kirigami.models.compact import coder

Numbers = NDArray[numpy.integer[Any]]

PART = 16  # strengths are in sixteenths
HALF, WHOLE = 1 << coder.UNIT - 1, 1 << coder.UNIT
EDGE = 4  # a chance is never nearer to 0 or 1 than this


class Table(dict[int, list[int]]):
    """{context: [ones, all]}; a context not seen yet has the counts it is known to start with, else none."""

    def __init__(self, start: Mapping[int, Sequence[int]] | None = None) -> None:
        super().__init__()
        self.start = start or {}

    def __missing__(self, context: int) -> list[int]:
        counts = self[context] = [*self.start.get(context, (0, 0))]
        return counts

    def counts(self, contexts: Numbers) -> Numbers:
        """Return the counts [ones, all] (n, 2) of contexts (n,), and add none to the table."""
        if not self and not self.start:
            return numpy.zeros((contexts.size, 2), numpy.int64)
        start, none = self.start.get, (0, 0)
        rows = [self.get(context) or start(context, none) for context in contexts.tolist()]
        return numpy.fromiter(joined.from_iterable(rows), numpy.int64, 2 * contexts.size).reshape(-1, 2)


@dataclass(frozen=True)
class Model:
    """A chain of contexts for one kind of bits.

    Attributes:
        name: keeps its counts apart from those of other kinds.
        strengths: of the prior in each context of the chain, in sixteenths of a bit seen.
        start: returns the counts, {context: (ones, all)} a link of the chain, that both sides start with.
    """

    name: str
    strengths: tuple[int, ...]
    start: Callable[[], Sequence[Mapping[int, Sequence[int]]]] | None = None

    def tables(self) -> list[Table]:
        """Return the counts before the first bit."""
        return [Table(start) for start in self.start()] if self.start else [Table() for _ in self.strengths]


class _Tables(dict[Model, list[Table]]):
    """The counts of each model so far."""

    def __missing__(self, model: Model) -> list[Table]:
        tables = self[model] = model.tables()
        return tables


class BitWriter:
    """Collects bits with their chances, and codes them at the end."""

    def __init__(self) -> None:
        self.tables = _Tables()
        self.bits: list[int] = []
        self.chances: list[int] = []

    def put(self, model: Model, contexts: Sequence[Numbers], bits: Numbers) -> None:
        """Append bits (n,), whose contexts (n,) stand one array a link of the chain."""
        chances, counts = self._chances(model, contexts, bits)
        for table, (keys, ones, totals) in zip(self.tables[model], counts, strict=True):
            table.update(zip(keys.tolist(), map(list, zip(ones.tolist(), totals.tolist(), strict=True)), strict=True))
        self.bits += bits.tolist()
        self.chances += chances.tolist()

    def price(self, model: Model, contexts: Sequence[Numbers], bits: Numbers) -> float:
        """Return the bits that `put` would add to the code."""
        chances, _ = self._chances(model, contexts, bits)
        return float(-numpy.log2(numpy.where(bits == 1, chances, WHOLE - chances) / WHOLE).sum())

    def _chances(
        self, model: Model, contexts: Sequence[Numbers], bits: Numbers
    ) -> tuple[Numbers, list[tuple[Numbers, Numbers, Numbers]]]:
        """Return the chances of bits, and (contexts, ones, all) after them for each link of the chain."""
        chances = numpy.full(bits.size, HALF, numpy.int64)
        counts = []
        groups: _Groups | None = None
        for table, context, strength in zip(self.tables[model], contexts, model.strengths, strict=True):
            if groups is None or not groups.are_those_of(context):
                groups = _Groups(context, bits)
            ones, totals, after = groups.counted(context, table)
            counts.append(after)
            chances = (PART * WHOLE * ones + strength * chances) // (PART * totals + strength)
        return numpy.clip(chances, EDGE, WHOLE - EDGE), counts


class _Groups:
    """Bits by their contexts, and how many ones and how many bits stand before each in its group.

    Links of a chain often part the bits alike, their contexts being higher by one number: then this is done once.
    """

    def __init__(self, context: Numbers, bits: Numbers) -> None:
        self.context = context
        order = numpy.argsort(context, kind="stable")
        in_order, bits_in_order = context[order], bits[order]
        is_new = numpy.ones(bits.size, bool)
        numpy.not_equal(in_order[1:], in_order[:-1], out=is_new[1:])
        starts = numpy.flatnonzero(is_new)
        self.lengths = numpy.diff(starts, append=bits.size)
        self.firsts = order[starts]
        running = numpy.cumsum(bits_in_order) - bits_in_order
        self.members, self.ones, self.totals = (numpy.empty(bits.size, numpy.int64) for _ in range(3))
        self.members[order] = numpy.repeat(numpy.arange(starts.size), self.lengths)
        self.ones[order] = running - numpy.repeat(running[starts], self.lengths)
        self.totals[order] = numpy.arange(bits.size) - numpy.repeat(starts, self.lengths)
        self.added = numpy.add.reduceat(bits_in_order, starts) if bits.size else bits_in_order

    def are_those_of(self, context: Numbers) -> bool:
        """Return whether other contexts are these and a number."""
        return bool((context - self.context == context[:1] - self.context[:1]).all())

    def counted(self, context: Numbers, table: Table) -> tuple[Numbers, Numbers, tuple[Numbers, Numbers, Numbers]]:
        """Return (ones, all) counted in its context before each bit, and the table's counts after all bits."""
        keys = context[self.firsts]
        ones, totals = table.counts(keys).T
        counts_after = (keys, ones + self.added, totals + self.lengths)
        return self.ones + ones[self.members], self.totals + totals[self.members], counts_after


class BitReader:
    """Reads the code of a `BitWriter`.

    Args:
        data: the code.
    """

    def __init__(self, data: bytes) -> None:
        self.decoder = coder.Decoder(data)
        self.tables = _Tables()

    def chain(self, model: Model) -> list[tuple[Table, int]]:
        """Return the tables and strengths of a model, for `take`."""
        return list(zip(self.tables[model], model.strengths, strict=True))

    def take(self, chain: Sequence[tuple[Table, int]], contexts: Sequence[int]) -> int:
        """Return the next bit, given its contexts."""
        chance = HALF
        seen = []
        for (table, strength), context in zip(chain, contexts, strict=True):
            counts = table[context]
            chance = (PART * WHOLE * counts[0] + strength * chance) // (PART * counts[1] + strength)
            seen.append(counts)
        bit = self.decoder.bit(EDGE if chance < EDGE else min(chance, WHOLE - EDGE))
        for counts in seen:
            counts[0] += bit
            counts[1] += 1
        return bit
