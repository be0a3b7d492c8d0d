"""The algorithmic task: mark every cell on a shortest path through a grid with obstacles (Savarese & Maire 2019)."""

from functools import lru_cache

import numpy as np
import torch

from kirigami.errors import ArgumentError
from kirigami.tasks.task import Parts, Split, Task

_STREAMS = {"train": 11, "validation": 12, "test": 13}
_FAR = np.iinfo(np.int16).max


def distances(free: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Count the 4-neighbour steps from each grid's start to its cells by breadth-first search, all grids at once.

    free: bool (N, S, S); start: int (N, 2) row and column. Returns int16 (N, S, S), `_FAR` where there is no way.
    """
    steps = np.full(free.shape, _FAR, dtype=np.int16)
    frontier = np.zeros_like(free)
    frontier[np.arange(len(free)), start[:, 0], start[:, 1]] = True
    unseen = free & ~frontier
    step = 0
    while frontier.any():
        steps[frontier] = step
        reached = np.zeros_like(free)
        reached[:, 1:] |= frontier[:, :-1]
        reached[:, :-1] |= frontier[:, 1:]
        reached[:, :, 1:] |= frontier[:, :, :-1]
        reached[:, :, :-1] |= frontier[:, :, 1:]
        frontier = reached & unseen
        unseen &= ~frontier
        step += 1
    return steps


def _pick(allowed: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw one allowed cell of each grid (N, S, S), uniformly: int (N, 2). Each grid must allow one."""
    weight = generator.random(allowed.shape) * allowed
    flat = weight.reshape(len(allowed), -1).argmax(axis=1)
    return np.stack(np.unravel_index(flat, allowed.shape[1:]), axis=1)


def _draw(size: int, density: float, rows: int, reach: int, generator: np.random.Generator) -> Split:
    """Draw grids with a query; those whose first cell has no partner within reach are left out."""
    free = generator.random((rows, size, size)) >= density
    free = free[free.any(axis=(1, 2))]
    first = _pick(free, generator)
    from_first = distances(free, first)
    partners = (from_first >= 2) & (from_first <= reach)
    solvable = partners.any(axis=(1, 2))
    free, first, from_first = free[solvable], first[solvable], from_first[solvable]
    second = _pick(partners[solvable], generator)
    grid = np.arange(len(free))
    length = from_first[grid, second[:, 0], second[:, 1]].astype(np.int32)
    total = from_first.astype(np.int32) + distances(free, second)
    query = np.zeros_like(free)
    query[grid, first[:, 0], first[:, 1]] = query[grid, second[:, 0], second[:, 1]] = True
    inputs = np.stack((query, ~free), axis=1).astype(np.float32)
    return Split(torch.from_numpy(inputs), torch.from_numpy((total == length[:, None, None]).astype(np.float32)))


@lru_cache(maxsize=16)
def make_grids(part: str, size: int, density: float, rows: int, difficulty: float, seed: int) -> Split:
    """Make `rows` solved grids: inputs (N, 2, S, S) query cells and obstacles, targets (N, S, S) 0 or 1."""
    generator = np.random.default_rng([seed, _STREAMS[part]])
    reach = max(2, round(difficulty * 2 * (size - 1)))
    drawn: list[Split] = []
    while sum(len(split.targets) for split in drawn) < rows:
        drawn.append(_draw(size, density, rows + 64, reach, generator))
    return Split(*(torch.cat(tensors)[:rows].clone() for tensors in zip(*drawn, strict=True)))


class Paths(Task):
    """Mark every cell that lies on a shortest 4-neighbour path between two cells of a grid with obstacles.

    A cell is on one if its breadth-first distances to the two ends add up to the distance between them. Inputs
    (2, S, S): query cells, obstacles. `difficulty` in (0, 1] caps the distance between the two ends at that share of
    2 (S - 1), their distance across an empty grid; a curriculum builds the task again and again with a larger one.
    `rows`, `validation` and `test` are numbers of grids; each part has its own stream of random numbers.
    """

    def __init__(
        self,
        *,
        size: int = 12,
        density: float = 0.3,
        rows: int = 2000,
        validation: int = 500,
        test: int = 1000,
        difficulty: float = 1.0,
        seed: int = 0,
        test_seed: int | None = None,
        fraction: float = 1.0,
    ) -> None:
        super().__init__(seed=seed, test_seed=test_seed, fraction=fraction)
        for name, number, low in (
            ("size", size, 3),
            ("rows", rows, 1),
            ("validation", validation, 1),
            ("test", test, 1),
        ):
            if isinstance(number, bool) or not isinstance(number, int) or number < low:
                raise ArgumentError(name, f"must be a whole number of at least {low}, but got {number!r}.")
        if not 0 <= density <= 0.6:
            raise ArgumentError("density", f"must be between 0 and 0.6, but got {density!r}.", ("density", 0.3))
        if not 0 < difficulty <= 1:
            raise ArgumentError("difficulty", f"must be above 0 and at most 1, but got {difficulty!r}.")
        self.size, self.density, self.difficulty = size, float(density), float(difficulty)
        self.rows, self.validation_rows, self.test_rows = rows, validation, test

    def load(self) -> Parts:
        """Draw the train and validation grids."""
        return Parts(
            "pixels",
            self._grids("train", self.rows, self.seed),
            self._grids("validation", self.validation_rows, self.seed),
        )

    def load_test(self) -> Split:
        """Draw the test grids."""
        return self._grids("test", self.test_rows, self.test_seed)

    def _grids(self, part: str, rows: int, seed: int) -> Split:
        return make_grids(part, self.size, self.density, rows, self.difficulty, seed)

    def preparation(self) -> dict[str, object]:
        """Name the two channels."""
        return {"channels": ["query", "obstacles"]}
