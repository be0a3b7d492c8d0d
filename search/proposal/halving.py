"""Successive halving for several objectives: keep the trials that few others dominate.

Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020) lets
the best 1/r of the trials at a rung go on. With several objectives there is no single order, so the trials are ranked
by non-dominated sorting, and within a front by an epsilon-net, which prefers distant trials: MO-ASHA, Schmucker
et al., "Multi-objective Asynchronous Successive Halving" (arXiv 2106.12639, 2021). Three things differ here. A trial on
the front of a rung goes on even beyond the 1/r: in MO-ASHA a stopped trial may go on later, here it ends for good, and
the first few trials of a rung would cost the study an end of its front. Distances are between ranks, so that the unit
of an objective (bytes, or their logarithm) does not matter. Trials over the budget's limits rank behind all others, by
their excess (Deb et al., "NSGA-II", 2002). The more objectives there are, the more
trials are on a front, and the less is saved.

The values of a trial at a rung are an attribute of the trial in the store, written once: every worker sees them, and
a resumed study reads them again.
"""

from binascii import crc32
from dataclasses import dataclass
from math import ceil

import numpy as np
import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami.search.config.pruner import Asha, Hyperband, Pruner, check_several
from kirigami.search.proposal.fronts import order
from kirigami.search.proposal.judge import Go, Judge, Report, Stop, Verdict
from kirigami.search.study.ledger import Ledger, numbered
from kirigami.search.study.ranking import metric_names, signs_of
from kirigami.search.study.record import Rung, retry_of, write
from kirigami.search.study.states import state_of
from kirigami.spaces.front import undominated

UNHEARD = ("interrupted", "surplus")  # replaced by a retry


@dataclass(frozen=True)
class Halving(Judge):
    """Decides at each rung which trials go on, for several objectives.

    Attributes:
        brackets: the rungs of each bracket, in epochs or steps, all before the end of a full trial.
        shares: how many of `sum(shares)` trials go to each bracket.
        factor: the front goes on, and other trials up to 1 / `factor` of those that reached the rung.
        bootstrap_count: how many trials end at a rung before any goes on.
    """

    brackets: tuple[tuple[int, ...], ...]
    shares: tuple[int, ...]
    factor: int
    bootstrap_count: int = 0

    def seen(self, trial: optuna.Trial, report: Report, ledger: Ledger) -> Verdict:
        """Store the values of a trial at the rungs of its bracket, and rank it among all trials that reached them."""
        if not any(report.passed(rungs) for rungs in self.brackets):
            return Go()
        values = {name: report.value(name) for name in metric_names(trial.study)}
        bracket = self.bracket(trial, ledger)
        for rung in report.passed(self.brackets[bracket]):
            write(Rung(rung, bracket, values, report.over), trial.set_user_attr)
            place, best, count = standing(trial.study, trial.number, rung)
            if count <= self.bootstrap_count or place >= max(1, best, count // self.factor):
                shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
                return Stop(f"{shown} at fidelity {rung}: place {place + 1} of {count}")
        return Go()

    def recall(self, trial: optuna.Trial, earlier: FrozenTrial, report: Report) -> None:
        """Store the rungs of the earlier attempt."""
        for rung in report.passed(self.brackets[0]):
            if (reached := Rung.from_attrs(earlier.user_attrs, rung)) is not None:
                write(reached, trial.set_user_attr)

    def bracket(self, trial: optuna.Trial, ledger: Ledger) -> int:
        """Return the bracket of a trial: it depends on the trial's position alone, so a retry keeps it."""
        if len(self.brackets) == 1:
            return 0
        stored = numbered(ledger.read(trial.study).trials, trial.number)
        assert stored is not None, "a trial that reports is in the store"
        drawn = crc32(f"bracket/{ledger.place(stored)}".encode()) % sum(self.shares)
        return int(np.searchsorted(np.cumsum(self.shares), drawn, side="right"))


def build(settings: Pruner, fidelities: int, every: int = 1) -> Halving | None:
    """Build the halving that `pruner:` asks for in a study of several objectives; None for `none`.

    `asha` is one bracket. `hyperband` deals the trials to brackets that begin at later and later rungs, in the shares
    of Li et al. (JMLR 2018); a trial is compared with those of its own bracket only.

    Args:
        fidelities: epochs or steps of a full trial.
        every: epochs or steps between validations.

    Raises:
        InputError: for a pruner that cannot weigh several objectives.
    """
    check_several(settings, 2)
    if not isinstance(settings, Asha | Hyperband):
        return None
    least = max(1, fidelities // 100) if settings.min_resource == "auto" else settings.min_resource * every
    ladder, factor = settings.ladder(least, fidelities), settings.reduction_factor
    count = 1
    if isinstance(settings, Hyperband):
        most = fidelities if settings.max_resource == "auto" else settings.max_resource
        count = max(1, sum(rung <= most for rung in (*ladder, least * factor ** len(ladder))))
    return Halving(
        brackets=tuple(ladder[index:] for index in range(count)),
        shares=tuple(ceil(count * factor ** (count - 1 - index) / (count - index)) for index in range(count)),
        factor=factor,
        bootstrap_count=settings.bootstrap_count,
    )


def standing(study: Study, number: int, rung: int) -> tuple[int, int, int]:
    """Return the rank of a trial among the trials of its bracket that reached a rung.

    Returns:
        its rank from 0, the number of trials on the front within the limits, and the number that reached the rung.
    """
    trials = study.get_trials(deepcopy=False)
    again = {retry_of(trial) for trial in trials}
    reached = {
        trial.number: shown
        for trial in trials
        if (shown := Rung.from_attrs(trial.user_attrs, rung)) is not None
        and (trial.number == number or (state_of(trial) not in UNHEARD and trial.number not in again))
    }
    bracket = reached[number].bracket
    reached = {other: shown for other, shown in reached.items() if shown.bracket == bracket}
    names = metric_names(study)
    values = np.array([[shown.values[name] for name in names] for shown in reached.values()]) * signs_of(study)
    over = [shown.over for shown in reached.values()]
    best = undominated(values[[excess <= 0 for excess in over]])
    return order(values, over).index(list(reached).index(number)), int(best.sum()), len(reached)
