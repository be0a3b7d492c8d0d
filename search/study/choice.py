"""What is taken of a study of one objective: the smallest file that is not told apart from the best.

Each smaller file is tested against the best at 5 %, one-sided, with no correction for their number: a correction would
let worse ones pass. The best looks better on these rows than it is, having been picked for it, so that a file as good
as the best is refused more often than in one case of twenty. A file that is not told apart may still be worse: the
fewer the rows, the more. `kirigami confirm` trains both again under new seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami.search.study.ledger import Ledger
from kirigami.search.study.ranking import leaders, metric_names, sign_of
from kirigami.search.study.record import figure_of, stored_result
from kirigami.search.study.rows import Rows, p_worse

LEVEL = 0.05


@dataclass(frozen=True)
class Choice:
    """The trial that is taken, and the best.

    Attributes:
        p: of the paired test; None where the best is taken.
    """

    trial: FrozenTrial
    best: FrozenTrial
    p: float | None = None


def chosen(study: Study, ledger: Ledger | None = None) -> Choice | None:
    """Return the choice; None before the first complete trial within the budget.

    The best is taken where its rows or bytes are not stored, or the study has several objectives.
    """
    ranked = leaders(study, ledger=ledger)
    if not ranked:
        return None
    best, limit = ranked[0], figure_of(ranked[0], "bytes")
    sized = [(size, trial) for trial in ranked if limit and (size := figure_of(trial, "bytes") or limit) < limit]
    for _, trial in sorted(sized, key=lambda pair: pair[0]):  # stable: of equals the better one first
        p = p_beside(study, stored_result(trial), best)
        if p is not None and p >= LEVEL:
            return Choice(trial, best, p)
    return Choice(best, best)


def is_rival(study: Study, figures: Mapping[str, Any], best: FrozenTrial) -> bool:
    """Return whether a complete trial, by its figures, has a smaller file than the best and is not told apart."""
    size, limit = figures.get("bytes"), figure_of(best, "bytes")
    if size is None or limit is None or size >= limit:
        return False
    p = p_beside(study, figures, best)
    return p is not None and p >= LEVEL


def p_beside(study: Study, figures: Mapping[str, Any], best: FrozenTrial) -> float | None:
    """Return the p of a trial, by its figures, in the paired test against the best; None where there is no test."""
    ours, theirs = figures.get("rows"), figure_of(best, "rows")
    if len(study.directions) > 1 or not ours or not theirs or ours["metric"] != metric_names(study)[0]:
        return None
    return p_worse(Rows.from_plain(ours), Rows.from_plain(theirs), sign_of(study))
