"""What simple models score beside a study's networks, in a line each, and whether one of them is better."""

from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami.search.report.tables import number, score
from kirigami.search.study.choice import LEVEL
from kirigami.search.study.rivals import Lead, Rival, ahead_of, judged_by, rivals_of


def lines(study: Study, best: FrozenTrial | None) -> list[str]:
    """Return the scores of the rivals, then each that is better than a trial; nothing where there are none."""
    rivals = rivals_of(study)
    metric = judged_by(study, rivals)
    if not rivals or metric is None:
        return []
    scores = ", ".join(
        f"{_name(rival)} {score(rival.metrics[metric])} in {number(rival.bytes)} bytes" for rival in rivals
    )
    return [f"beside it  {scores} ({metric}, validation rows)", *(_words(lead, best) for lead in ahead_of(study, best))]


def rows(study: Study, best: FrozenTrial | None) -> list[dict[str, Any]]:
    """Return the rivals as plain data; `ahead_by` and `p` stand with those that are better than a trial."""
    leads = {lead.rival.name: {"ahead_by": lead.by, "p": lead.p} for lead in ahead_of(study, best)}
    plain = [rival.to_plain() for rival in rivals_of(study)]
    return [{name: row[name] for name in row if name != "rows"} | leads.get(row["name"], {}) for row in plain]


def verdict(name: str, by: float, p: float | None, than: str) -> str:
    """Return in words that a rival is better, or scores higher and is not told apart.

    Args:
        by: the difference, above 0.
        p: of the paired test; None where there is none.
        than: what it is compared with.
    """
    if p is None:
        return f"{name} is ahead of {than} by {number(by)} (no paired test)"
    if p < LEVEL:
        return f"{name} is better than {than} by {number(by)} (p {p:.2g})"
    return f"{name} is ahead of {than} by {number(by)}, not told apart (p {p:.2g})"


def _name(rival: Rival) -> str:
    """Return its name, and how many of the train rows it was fitted on where these are not all."""
    if rival.fitted_on == rival.train_rows:
        return rival.name
    return f"{rival.name} on {number(rival.fitted_on)} of {number(rival.train_rows)} rows"


def _words(lead: Lead, best: FrozenTrial | None) -> str:
    assert best is not None, "where a rival is ahead, it is ahead of a trial"
    return verdict(lead.rival.name, lead.by, lead.p, f"trial {best.number}")
