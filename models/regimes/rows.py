"""A cache of the frozen blocks' outputs for the training rows, so that those blocks need not be run again."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CHUNK = 1024  # rows run at a time
PROBE = 64  # rows by which a transform is judged


class Rows:
    """Replaces the inputs of a loader by the outputs of a network's frozen blocks.

    That is correct if a row always gives the same values. So the loader must take its batches from a tensor `inputs`,
    row by row with `targets`, through its `transform`, if any; and the transform must be deterministic and independent
    of the other rows of a batch. Otherwise `reach` changes nothing.

    Args:
        loader: the trainer's source of batches.
        most: bytes that the cache may take.
    """

    def __init__(self, loader: Any, most: float) -> None:
        self.loader, self.most, self.depth = loader, most, 0
        tensors = isinstance(getattr(loader, "inputs", None), Tensor) and isinstance(
            getattr(loader, "targets", None), Tensor
        )
        self.possible = most > 0 and tensors and hasattr(loader, "transform") and _steady(loader)
        self._first = (loader.inputs, loader.transform) if self.possible else None

    def reach(self, depth: int, run: Callable[[Tensor, int, int], Tensor]) -> None:
        """Let the loader give the inputs of block `depth`, if they fit into the cache; else leave it unchanged.

        Args:
            depth: number of frozen blocks.
            run: maps hidden values, and the first and last block, to the output of the last one.
        """
        if not self.possible or depth == self.depth:
            return
        if depth < self.depth:
            self.restore()
        cache: Tensor | None = None
        begin = 0
        for rows in self.loader.inputs.split(CHUNK) if depth else ():
            rows = rows if self.loader.transform is None else self.loader.transform(rows, None)
            hidden = run(rows, self.depth, depth - 1)
            if cache is None:
                if len(self.loader.inputs) * hidden[0].numel() * hidden.element_size() > self.most:
                    return
                cache = hidden.new_empty(len(self.loader.inputs), *hidden.shape[1:])
            cache[begin : begin + len(hidden)] = hidden
            begin += len(hidden)
        if cache is not None:
            self.loader.inputs, self.loader.transform, self.depth = cache, None, depth

    def restore(self) -> None:
        """Restore the loader's own inputs."""
        if self._first is not None:
            self.loader.inputs, self.loader.transform = self._first
        self.depth = 0


def _steady(loader: Any) -> bool:
    """Tell whether a loader's transform is deterministic and independent of the other rows of a batch."""
    if loader.transform is None:
        return True
    rows, results = loader.inputs[:PROBE], []
    with torch.random.fork_rng(devices=[]):
        for seed in range(2):
            results.append(loader.transform(rows, torch.Generator().manual_seed(seed)))
        results.append(torch.cat([loader.transform(part, None) for part in rows.split(PROBE // 2)]))
    return all(torch.equal(results[0], other) for other in results[1:])
