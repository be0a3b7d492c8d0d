"""Draws as trials of a study: put before those that the sampler will suggest, and found again when they have ended."""

from collections.abc import Iterable, Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami.search.comparing.screening.draws import Draw
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import Screened
from kirigami.search.study.states import state_of

RANKS = ("complete", "over", "running", "paused", "waiting")  # of several trials of one draw: which tells most


def enqueue(study: Study, draws: Sequence[Draw], budget: int | None) -> list[Draw]:
    """Let the next trials of a study be those of the draws, in their order, and return the ones newly put there.

    None is put there twice, whether it waits, runs or has ended; and no more of them than the budget of trials has room
    for, since the search hands back what is beyond it.
    """
    trials = study.get_trials(deepcopy=False)
    room = None if budget is None else budget - Ledger(trials).counted
    added: list[Draw] = []
    for draw in draws:
        if room is not None and len(added) >= room:
            break
        if trial_of(draw, trials) is None:
            study.enqueue_trial(draw.params, user_attrs=Screened(draw.key).to_attrs(), skip_if_exists=True)
            added.append(draw)
    return added


def trial_of(draw: Draw, trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """Return the trial with the draw's parameters that has come furthest; None where the study has none."""
    mark = Screened(draw.key)
    same = [trial for trial in trials if Screened.from_attrs(trial.user_attrs) == mark or trial.params == draw.params]
    same = [trial for trial in same if state_of(trial) not in ("surplus", "interrupted")]
    order = {state: place for place, state in enumerate(RANKS)}
    return min(same, key=lambda trial: (order.get(state_of(trial), -0.5), trial.number), default=None)
