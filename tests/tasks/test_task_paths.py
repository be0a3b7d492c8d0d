"""Shortest paths are shortest, solvable, and as difficult as asked."""

from collections import deque

import numpy as np
import pytest
import torch

from kirigami.tasks import build, paths
from kirigami.tasks.paths import distances, make_grids


def search(free: np.ndarray, start: tuple[int, int]) -> np.ndarray:
    """Breadth-first search of one grid with a queue; a large number where there is no way."""
    steps = np.full(free.shape, np.iinfo(np.int16).max, dtype=int)
    steps[start] = 0
    queue = deque([start])
    while queue:
        row, column = queue.popleft()
        for cell in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            inside = all(0 <= place < size for place, size in zip(cell, free.shape, strict=True))
            if inside and free[cell] and steps[cell] > steps[row, column] + 1:
                steps[cell] = steps[row, column] + 1
                queue.append(cell)
    return steps


def test_distances_agree_with_a_queue() -> None:
    generator = np.random.default_rng(0)
    free = generator.random((20, 7, 7)) > 0.35
    start = generator.integers(0, 7, (20, 2))
    free[np.arange(20), start[:, 0], start[:, 1]] = True
    found = distances(free, start)
    for grid in range(20):
        assert np.array_equal(found[grid], search(free[grid], tuple(start[grid])))


def test_targets_are_the_cells_of_all_shortest_paths() -> None:
    split = make_grids("train", 8, 0.3, 40, 1.0, 5)
    for inputs, target in zip(split.inputs.numpy(), split.targets.numpy(), strict=True):
        free = inputs[1] == 0
        ends = [tuple(end) for end in np.argwhere(inputs[0] == 1)]
        assert len(ends) == 2
        first, second = (search(free, end) for end in ends)
        length = first[ends[1]]
        assert length >= 2
        assert np.array_equal(target == 1, free & (first + second == length))
        assert target[ends[0]] == target[ends[1]] == 1


def test_difficulty_caps_the_distance() -> None:
    for difficulty, cap in ((0.2, 4), (0.5, 11)):
        split = make_grids("train", 12, 0.3, 200, difficulty, 0)
        lengths = []
        for query, obstacles in split.inputs.numpy():
            first, second = (tuple(end) for end in np.argwhere(query == 1))
            lengths.append(search(obstacles == 0, first)[second])
        assert max(lengths) == cap


def test_only_the_parts_asked_for_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(paths, "make_grids", lambda part, *rest: drawn.append(part) or make_grids(part, *rest))
    task = build({"name": "paths", "size": 5, "rows": 9, "validation": 8, "test": 7}, seed=0)
    task.setup("fit")
    assert drawn == ["train", "validation"]
    task.setup("test")
    assert drawn[2:] == ["test"]
    assert (len(task.train.targets), len(task.validation.targets), len(task.test.targets)) == (9, 8, 7)


def test_a_usual_share_of_cells_is_on_a_path() -> None:
    split = make_grids("train", 12, 0.3, 2000, 1.0, 123)
    assert split.inputs.shape == (2000, 2, 12, 12)
    assert 0.05 < split.targets.mean() < 0.3


def test_every_part_has_its_own_grids() -> None:
    parts = [make_grids(part, 6, 0.3, 50, 1.0, 0).inputs for part in ("train", "validation", "test")]
    rows = [{grid.numpy().tobytes() for grid in part} for part in parts]
    assert len(set.union(*rows)) == sum(len(part) for part in rows)


def test_full_density_range_is_solvable() -> None:
    for density in (0.0, 0.6):
        assert len(make_grids("train", 5, density, 50, 1.0, 0).targets) == 50


def test_perfect_logits_score_one() -> None:
    task = build({"name": "paths", "size": 6, "rows": 5, "validation": 20}, seed=0)
    task.setup("fit")
    targets = task.validation.targets
    assert task.evaluate(targets * 2 - 1, targets) == dict.fromkeys(task.metrics, 1.0)
    assert task.evaluate(-torch.ones_like(targets), targets)["f1"] == 0.0
