"""The trials of a long study that a sampler sees: the best and the latest, so that a draw never gets slower."""

from bisect import insort
from typing import Any, cast

import numpy as np
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kirigami.spaces.front import undominated
from kirigami.spaces.optuna_private import View, record_of, trials_of

BEST = 25


class Window:
    """Shows a sampler the best and the latest finished trials of a study, and all that are open.

    A tree-structured Parzen estimator sums a kernel per trial, so a draw costs as many kernels as the study has
    trials. Yet it only tells the best from the rest, of the best it takes 25 at most, and it weighs the rest the less
    the older it is: linear forgetting, Bergstra, Yamins & Cox, "Making a Science of Model Search: Hyperparameter
    Optimization in Hundreds of Dimensions for Vision Architectures" (ICML 2013). So the best 25 are kept, as Optuna
    ranks them, and of the rest the latest; with several objectives the front takes the place of the best, its latest
    half a window at most. As long as a study has no more finished trials than the window holds, nothing changes.

    Each finished trial is read once, so that the window of a study of 10,000 trials costs what it costs at 1,000.

    Args:
        most: how many finished trials are shown; at least twice the best.
    """

    def __init__(self, most: int) -> None:
        assert most >= 2 * BEST, most
        self._most = most
        self._record: tuple[Any, int] | None = None
        self._directions: list[StudyDirection] = []
        self._forget()

    def over(self, study: Study) -> Study:
        """Return the study itself where it fits in the window, else a view of it as it is now."""
        # Under Hyperband every trial comes with a study of its own, of the same record in the same storage.
        record = record_of(study)
        if record != self._record:
            self._record, self._directions = record, study.directions
            self._forget()
        trials = trials_of(study)
        self._read_new(trials)
        if self._count <= self._most:
            return study
        shown = set(self._best_numbers())
        for number in reversed(self._latest):
            if len(shown) == self._most:
                break
            shown.add(number)
        return cast(Study, View(study, [trials[number] for number in sorted(shown | self._open)]))

    def _forget(self) -> None:
        self._count = self._read = 0
        self._open: set[int] = set()
        self._latest: list[int] = []
        self._best: list[tuple[tuple[float, ...], int]] = []
        self._front: list[tuple[tuple[float, ...], int]] = []

    def _read_new(self, trials: list[FrozenTrial]) -> None:
        new = sorted(self._open) + list(range(self._read, len(trials)))
        self._read = len(trials)
        for number in new:
            trial = trials[number]
            if not trial.state.is_finished():
                self._open.add(number)
                continue
            self._open.discard(number)
            if trial.state is not TrialState.FAIL:
                self._note(trial)

    def _note(self, trial: FrozenTrial) -> None:
        self._count += 1
        insort(self._latest, trial.number)
        del self._latest[: -self._most]
        if len(self._directions) == 1:
            insort(self._best, (_rank(trial, self._directions[0]), trial.number))
            del self._best[BEST:]
        elif trial.state is TrialState.COMPLETE and _excess(trial) <= 0:
            self._add_to_front(tuple(map(_loss, trial.values, self._directions)), trial.number)

    def _add_to_front(self, losses: tuple[float, ...], number: int) -> None:
        points = [*self._front, (losses, number)]
        best = undominated(np.array([point for point, _ in points]))
        self._front = [point for point, is_best in zip(points, best, strict=True) if is_best]

    def _best_numbers(self) -> list[int]:
        front = sorted(number for _, number in self._front)
        return [number for _, number in self._best] + front[-(self._most // 2) :]


def _rank(trial: FrozenTrial, direction: StudyDirection) -> tuple[float, ...]:
    """Return the sort key of Optuna's estimator: complete, then pruned (the later the better), then infeasible."""
    excess = _excess(trial)
    if excess > 0:
        return (2, excess)
    if trial.state is TrialState.COMPLETE:
        return (0, _loss(trial.values[0], direction))
    if not trial.intermediate_values:
        return (1, 1, 0.0)
    step, value = max(trial.intermediate_values.items())
    return (1, -step, float("inf") if value != value else _loss(value, direction))


def _excess(trial: FrozenTrial) -> float:
    return sum(value for value in trial.constraints.values() if value > 0)


def _loss(value: float, direction: StudyDirection) -> float:
    return -value if direction is StudyDirection.MAXIMIZE else value
