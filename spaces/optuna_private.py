"""All that is private to Optuna and used in `spaces`: how samplers read a study. Nothing else is in this file.

A contract test names what it is, and `pyproject.toml` bounds Optuna's version above.
"""

import copy
from collections.abc import Container
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


def record_of(study: Study) -> tuple[Any, int]:
    """Return the storage and the id behind a study: the same for all objects that speak of one study."""
    return (study._storage, study._study_id)


def trials_of(study: Study) -> list[FrozenTrial]:
    """Return all trials as samplers read them, once for each trial asked; of a bracket's study the whole study's."""
    trials: list[FrozenTrial] = study._get_trials(deepcopy=False, use_cache=True)
    return trials


class View:
    """A study of which some trials are seen; all else is the study's own.

    Args:
        study: the whole study.
        trials: those that are seen, by number.
    """

    def __init__(self, study: Study, trials: list[FrozenTrial]) -> None:
        self._whole = study
        self._seen = trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.get_trials()

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        trials = [trial for trial in self._seen if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        """Return what is seen, by the name under which Optuna's samplers read a study."""
        return self.get_trials(deepcopy, states)
