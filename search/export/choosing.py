"""Which trials are exported, and why these."""

from pathlib import Path
from typing import NamedTuple

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from kirigami.search.errors import InputError
from kirigami.search.report.results import choice_line
from kirigami.search.study import choice, ranking
from kirigami.search.study.verdict import holds, verdict_in

WORDS = ("chosen", "best", "front")


class Pick(NamedTuple):
    """A trial, and why it is exported."""

    trial: FrozenTrial
    reason: str


def pick(study: Study, wanted: str, folder: Path) -> list[Pick]:
    """Return the trials meant by "chosen", "best", "front" or a number.

    Args:
        study: its study.
        wanted: the word or the number.
        folder: the study's, where the verdict of `confirm` may lie.

    Raises:
        InputError: where there are none.
    """
    if wanted == "front" and len(study.directions) == 1:
        raise InputError("trial=front needs a study of several objectives. Set trial=best, or trial=NUMBER.")
    if wanted not in WORDS:
        return [Pick(_numbered(study, wanted), "named by its number")]
    best = ranking.best_trial(study)
    if best is None:
        raise InputError(f"study={study.study_name} has no complete trial within its budget yet. Search on.")
    if wanted == "front":
        return [Pick(trial, "on the front") for trial in ranking.front(study)]
    return [Pick(best, "the best on the validation rows")] if wanted == "best" else [_chosen(study, best, folder)]


def _chosen(study: Study, best: FrozenTrial, folder: Path) -> Pick:
    """Return the winner of `confirm` where it still holds, else the smallest file not told apart from the best."""
    answer, stale = verdict_in(folder), ""
    if answer is not None:
        winner = next((trial for trial in ranking.leaders(study) if trial.number == answer["winner"]), None)
        if winner is not None and holds(answer, best):
            return Pick(winner, f"the winner of `kirigami confirm` over {len(answer['seeds'])} new seeds")
        stale = f"; the verdict of `kirigami confirm` is older than trial {best.number}, the best now, and is not taken"
    choose = choice.chosen(study)
    line = choice_line(study)
    assert choose is not None
    reason = "the best on the validation rows" if line is None else f"the smallest file not told apart ({line})"
    return Pick(choose.trial, reason + stale)


def _numbered(study: Study, wanted: str) -> FrozenTrial:
    if not wanted.isdigit():
        raise InputError(f"trial must be chosen, best, front or a trial's number, but got {wanted!r}.")
    trial = next((trial for trial in study.get_trials(deepcopy=False) if trial.number == int(wanted)), None)
    if trial is None or trial.state is not TrialState.COMPLETE:
        state = "not there" if trial is None else trial.state.name.lower()
        raise InputError(f"trial={wanted} of study={study.study_name} is {state}, and only complete ones are exported.")
    return trial
