"""Batch tensors that already lie on the device, for about the price of indexing them."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from kirigami.errors import ArgumentError
from kirigami.several import Tensors, cut, each, length, listed

Transform = Callable[[Tensors, torch.Generator | None], Tensors]
"""Maps a batch of inputs on the device to what the network sees. The generator lives on the CPU, so that a
device draws what a CPU would have drawn; it is None where nothing may be random."""


class Batches:
    """Iterate over (inputs, targets) in batches; shuffled if `generator_seed` is given, in order otherwise.

    `inputs` (N, ...), of which there may be several in a tuple or a dictionary, and `targets` (N, ...) move to `device`
    once, here. The order of an epoch depends on (seed, epoch) alone; the epoch counts up with each pass that is begun.
    When shuffling, a last batch of one row is left out, since batch norm cannot train on it. `skip` batches are left
    out of the next pass, as when a run resumes in the midst of an epoch; the others are what they would have been.
    """

    def __init__(
        self,
        inputs: Tensors,
        targets: Tensor,
        *,
        batch_size: int,
        generator_seed: int | None = None,
        transform: Transform | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise ArgumentError("batch_size", f"must be at least 1, but got {batch_size}.", ("batch_size", 64))
        assert all(len(part) == len(targets) for part in listed(inputs)), f"other inputs than {len(targets)} targets"
        self.inputs = each(lambda part: part.to(device), inputs)
        self.targets = targets.to(device)
        self.batch_size = batch_size
        self.generator_seed = generator_seed
        self.transform = transform
        self.device = torch.device(device)
        self.epoch = 0
        self.skip = 0

    @property
    def rows(self) -> int:
        """Count the rows one pass yields."""
        total = length(self.inputs)
        lonely = self.generator_seed is not None and total > self.batch_size > 1 and total % self.batch_size == 1
        return total - 1 if lonely else total

    @property
    def sampler(self) -> "Batches":
        """Stand where a DataLoader's sampler stands: trainers call `loader.sampler.set_epoch(epoch)`."""
        return self

    @property
    def batch_sampler(self) -> None:
        """Say that there is none: trainers look for one beside a sampler."""
        return

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass the one of this epoch, as when a run resumes."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensors, Tensor]]:
        # A generator: the epoch counts when the first batch is asked for. Lightning makes iterators it never uses.
        epoch, self.epoch = self.epoch, self.epoch + 1
        skip, self.skip = self.skip, 0
        if self.generator_seed is None:
            yield from islice(self._in_order(), skip, None)
        else:
            yield from islice(self._shuffled(_generator(self.generator_seed, epoch)), skip, None)

    def _in_order(self) -> Iterator[tuple[Tensors, Tensor]]:
        for first in range(0, len(self.targets), self.batch_size):
            rows = slice(first, first + self.batch_size)
            inputs, targets = cut(self.inputs, rows), self.targets[rows]
            yield (inputs if self.transform is None else self.transform(inputs, None)), targets

    def _shuffled(self, generator: torch.Generator) -> Iterator[tuple[Tensors, Tensor]]:
        order = torch.randperm(len(self.targets), generator=generator)[: self.rows].to(self.device)
        for rows in order.split(self.batch_size):
            inputs = each(partial(torch.index_select, dim=0, index=rows), self.inputs)
            if self.transform is not None:
                inputs = self.transform(inputs, generator)
            yield inputs, self.targets.index_select(0, rows)


def _generator(seed: int, epoch: int) -> torch.Generator:
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(mixed)
