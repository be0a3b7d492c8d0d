"""The rivals of a study, simple models on the same rows, as they are stored with it, and their test against a trial."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami.search.study.facts import facts_of
from kirigami.search.study.ranking import metric_names, sign_of
from kirigami.search.study.rows import Rows, p_worse, rows_of

SINGLE = 1e-6  # trials report scores in single precision: what differs by less is equal


@dataclass(frozen=True)
class Rival:
    """A simple model and its scores on the validation rows of a study.

    Attributes:
        settings: in words.
        metrics: all of the task.
        seconds: of one core, for choosing the settings and fitting.
        bytes: of the weights of a linear model in float32; of trees, those of scikit-learn's pickled model.
        fitted_on: number of train rows.
        train_rows: number that there are.
        rows: what each validation row adds to the metric that chose its settings, in the stored form; None where that
            is no number.
    """

    name: str
    settings: str
    metrics: Mapping[str, float]
    seconds: float
    bytes: int
    fitted_on: int
    train_rows: int
    rows: Mapping[str, Any] | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return the stored form."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, stored: Mapping[str, Any]) -> Self:
        """Read it, as far as there are fields for what is stored."""
        return cls(**{field.name: stored[field.name] for field in fields(cls) if field.name in stored})


@dataclass(frozen=True)
class Lead:
    """By how much a rival is better than a trial, above 0, and the p of the paired test; None where there is none."""

    rival: Rival
    by: float
    p: float | None


def rivals_of(study: Study) -> list[Rival]:
    """Return the rivals of a study; none where none were fitted."""
    return [Rival.from_plain(stored) for stored in facts_of(study).rivals or ()]


def judged_by(study: Study, rivals: list[Rival]) -> str | None:
    """Return the first objective that the rivals have a score of."""
    return next((name for name in metric_names(study) if all(name in rival.metrics for rival in rivals)), None)


def ahead_of(study: Study, trial: FrozenTrial | None) -> list[Lead]:
    """Return the rivals that are better than a trial by the first objective, the best first."""
    names, sign, rivals = metric_names(study), sign_of(study), rivals_of(study)
    if trial is None or judged_by(study, rivals) != names[0]:
        return []
    leads = [
        Lead(rival, by, _p(trial, rival, sign))
        for rival in rivals
        if (by := sign * (trial.values[0] - rival.metrics[names[0]])) > SINGLE * abs(trial.values[0])
    ]
    return sorted(leads, key=lambda lead: -lead.by)


def _p(trial: FrozenTrial, rival: Rival, sign: int) -> float | None:
    ours = rows_of(trial)
    return None if ours is None or rival.rows is None else p_worse(ours, Rows.from_plain(rival.rows), sign)
