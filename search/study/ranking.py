"""Which trials of a study come first: the best, the leaders, the Pareto front; those over the budget are in none."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from kirigami.search.study.ledger import Ledger
from kirigami.spaces.front import undominated

_names: WeakKeyDictionary[Study, tuple[str, ...]] = WeakKeyDictionary()  # they are set once, before any trial


def metric_names(study: Study) -> list[str]:
    """Return the names of the study's objectives; they are read from the store once."""
    if study not in _names:
        if study.metric_names is None:
            return [f"value {index}" for index in range(len(study.directions))]
        _names[study] = tuple(study.metric_names)
    return list(_names[study])


def sign_of(study: Study) -> int:
    """Return 1 where a smaller first objective is better, -1 where a larger one is."""
    return -1 if study.directions[0] is StudyDirection.MAXIMIZE else 1


def signs_of(study: Study) -> list[float]:
    """Return for each objective 1 where a smaller value is better, -1 where a larger one is."""
    return [-1.0 if direction is StudyDirection.MAXIMIZE else 1.0 for direction in study.directions]


def feasible_trials(study: Study) -> list[FrozenTrial]:
    """Return the complete trials that keep to the budget's limits."""
    return Ledger().read(study).by_state["complete"]


def leaders(study: Study, top: int | None = None, ledger: Ledger | None = None) -> list[FrozenTrial]:
    """Return the feasible trials, best first: by the first objective; of equals the smallest file; then the first.

    Args:
        ledger: of this study; it reads what is new. By default all trials are read anew.
    """
    return (Ledger() if ledger is None else ledger).read(study).ranked(sign_of(study))[:top]


def best_trial(study: Study, ledger: Ledger | None = None) -> FrozenTrial | None:
    """Return the first of the `leaders`; None before the first feasible trial."""
    return next(iter(leaders(study, 1, ledger)), None)


def front(study: Study, ledger: Ledger | None = None) -> list[FrozenTrial]:
    """Return the feasible trials that no other one dominates, best first by the first objective."""
    trials = leaders(study, ledger=ledger)
    values = np.array([trial.values for trial in trials]).reshape(len(trials), -1) * signs_of(study)
    best = [trial for trial, is_best in zip(trials, undominated(values), strict=True) if is_best]
    sign = sign_of(study)
    return sorted(best, key=lambda trial: (sign * trial.values[0], trial.number))


def winners(study: Study, ledger: Ledger | None = None, top: int | None = None) -> list[FrozenTrial]:
    """Return the whole front of several objectives; of one the leaders, `top` of them at most."""
    return front(study, ledger) if len(study.directions) > 1 else leaders(study, top, ledger)


def is_behind(study: Study, values: Sequence[float], ledger: Ledger) -> bool:
    """Return whether these objectives cannot win, by what the ledger has read; False where that takes another look.

    The best of one objective only gets better, so one that is behind stays behind.
    """
    if len(study.directions) > 1:
        return False
    sign = sign_of(study)
    best = next(iter(ledger.ranked(sign)), None)
    return best is not None and sign * best.values[0] < sign * values[0]


def beyond(study: Study, ledger: Ledger | None = None) -> FrozenTrial | None:
    """Return the best trial over the budget where it is better than the best within; None with several objectives."""
    best = best_trial(study, ledger := Ledger() if ledger is None else ledger)
    if len(study.directions) > 1:
        return None
    sign = sign_of(study)
    over = [
        trial for trial in ledger.by_state["over"] if best is None or sign * trial.values[0] < sign * best.values[0]
    ]
    return min(over, key=lambda trial: (sign * trial.values[0], trial.number), default=None)
