"""Successive halving where there are several objectives: what few others dominate goes on.

Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020) lets
the best 1/r of the trials at a rung go on. With several objectives there is no single order, so the trials are ranked
by non-dominated sorting, and inside a front by an epsilon-net, which takes them far from each other: MO-ASHA, Schmucker
et al., "Multi-objective Asynchronous Successive Halving" (arXiv 2106.12639, 2021). Three things are ours. A trial on
the front of a rung goes on even beyond the 1/r: theirs waits at the rung and may go on when more have come, ours ends
there for good, and the first few at a rung would cost the study an end of its front. Distances are taken between ranks,
so that the unit of an objective (bytes, or their logarithm) decides nothing. Trials over the budget's limits stand
behind all others, by how far they are over (Deb et al., "NSGA-II", 2002). The more objectives there are, the more
trials are on a front, and the less is saved.

What a trial had reached at a rung is an attribute of the trial in the store, written once: every worker sees it, and
a resumed study finds it again.
"""

from binascii import crc32
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.study import Study, StudyDirection

from kirigami.search.errors import InputError
from kirigami.search.proposal.samplers import build_pruner, in_fidelities
from kirigami.search.study.ledger import place, state_of
from kirigami.search.study.study import metric_names

PRUNERS = ("asha", "hyperband", "none")
UNHEARD = ("interrupted", "surplus")  # run again by another trial, which stands for them
# What a cost that is known at the end only is compared by before that.
COSTS = {"params": "params", "macs": "macs", "bytes": "least_bytes", "latency_ms": "latency_ms"}


@dataclass(frozen=True)
class Halving:
    """Says at each rung which trials go on.

    Attributes:
        brackets: the rungs of each bracket, in epochs or steps, all before the end of a full trial.
        shares: how many of `sum(shares)` trials go to each bracket.
        factor: the front goes on, and other trials up to one in so many of those that reached the rung.
        bootstrap_count: how many trials end at a rung before any goes on.
    """

    brackets: tuple[tuple[int, ...], ...]
    shares: tuple[int, ...]
    factor: int
    bootstrap_count: int = 0

    def is_due(self, reached: tuple[int, int]) -> bool:
        """Return whether there is a rung after the last report's fidelity and up to this one's."""
        return any(_between(reached, rungs) for rungs in self.brackets)

    def ask(
        self, study: Study, trial: optuna.Trial, reached: tuple[int, int], values: Mapping[str, float], over: float
    ) -> str | None:
        """Store what a trial has reached at a rung; return why it ends there, or None where it goes on.

        Args:
            reached: fidelities of the last report and of this one: the rungs between them are asked about.
            values: of all objectives, in the study's order.
            over: by what share the trial is over the budget's limits, summed over them; 0 for one within.

        Raises:
            UpdateFinishedTrialError: where another worker took the trial for dead and closed it.
        """
        bracket = self.bracket(study, trial)
        for rung in _between(reached, self.brackets[bracket]):
            trial.set_user_attr(key(rung), {"bracket": bracket, "values": dict(values), "over": over})
            place, best, count = standing(study, trial.number, rung)
            if count <= self.bootstrap_count or place >= max(1, best, count // self.factor):
                shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
                return f"{shown} at fidelity {rung}: place {place + 1} of {count}"
        return None

    def recall(self, trial: optuna.Trial, known: Mapping[str, Any], reached: tuple[int, int]) -> None:
        """Store with a trial that goes on what an earlier attempt, of these attributes, had reached at rungs."""
        for rung in _between(reached, self.brackets[0]):
            if key(rung) in known:
                trial.set_user_attr(key(rung), known[key(rung)])

    def bracket(self, study: Study, trial: optuna.Trial) -> int:
        """Return the bracket of a trial: it hangs on the trial's place alone, so a trial run again keeps it."""
        if len(self.brackets) == 1:
            return 0
        own = study.get_trials(deepcopy=False)[trial.number]
        drawn = crc32(f"bracket/{place(study, own)}".encode()) % sum(self.shares)
        return int(np.searchsorted(np.cumsum(self.shares), drawn, side="right"))


def build(config: Mapping[str, Any], fidelities: int, every: int = 1) -> Halving | None:
    """Build the halving that `pruner:` asks for in a study of several objectives; None for `none`.

    `asha` is one bracket. `hyperband` deals the trials to brackets that begin at later and later rungs, in the shares
    of Li et al. (JMLR 2018); a trial is compared with those of its own bracket only.

    Args:
        config: `name` and the pruner's arguments; `min_resource` counts validations, `auto` is a hundredth of a trial.
        fidelities: epochs or steps of a full trial.
        every: epochs or steps between validations.

    Raises:
        InputError: for a pruner that cannot weigh several objectives, or an unknown argument.
    """
    build_pruner(config, fidelities=fidelities, every=every)  # checks names and arguments
    name, settings = in_fidelities(config, fidelities, every)
    if name not in PRUNERS:
        raise InputError(
            f"pruner.name must be one of ({', '.join(PRUNERS)}) in a study of several objectives, but got {name!r}. "
            "Set pruner=asha."
        )
    if name == "none":
        return None
    least = settings.get("min_resource", "auto" if name == "asha" else 1)
    least = max(1, fidelities // 100) if least == "auto" else least
    factor = settings.get("reduction_factor", 4 if name == "asha" else 3)
    ladder = []
    rung = least * factor ** settings.get("min_early_stopping_rate", 0)
    while rung < fidelities:
        ladder.append(rung)
        rung *= factor
    most = settings.get("max_resource", fidelities)
    count = 1 if name == "asha" else max(1, sum(rung <= most for rung in (*ladder, rung)))
    return Halving(
        brackets=tuple(tuple(ladder[index:]) for index in range(count)),
        shares=tuple(ceil(count * factor ** (count - 1 - index) / (count - index)) for index in range(count)),
        factor=factor,
        bootstrap_count=settings.get("bootstrap_count", 0),
    )


def _between(reached: tuple[int, int], rungs: Sequence[int]) -> list[int]:
    return [rung for rung in rungs if reached[0] < rung <= reached[1]]


def key(rung: int) -> str:
    """Return the name of the attribute that holds what a trial had reached at a rung."""
    return f"rung:{rung}"


def at_rung(metrics: Mapping[str, float], details: Mapping[str, Any], seconds: float) -> dict[str, float]:
    """Return the metrics of a report with the costs known by then.

    Multiply-accumulates, parameters and latency are those of the network before training, `bytes` is the lower bound
    of the file (`techniques.least_bytes`), and `seconds` those since the trial began. What a report itself
    brings goes first.
    """
    known = {name: float(details[stored]) for name, stored in COSTS.items() if stored in details}
    return {"seconds": seconds, **known, **metrics}


def excess(costs: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """Return by what share the costs are over the limits, summed over those that are."""
    return sum(max(0.0, costs[name] / limit - 1) for name, limit in limits.items() if name in costs)


def standing(study: Study, number: int, rung: int) -> tuple[int, int, int]:
    """Return where a trial stands among the trials of its bracket that reached a rung.

    Returns:
        its place from 0, how many trials within the limits are on the front, and how many reached the rung.
    """
    reached = {
        trial.number: trial.user_attrs[key(rung)]
        for trial in study.get_trials(deepcopy=False)
        if key(rung) in trial.user_attrs and (state_of(trial) not in UNHEARD or trial.number == number)
    }
    reached = {one: found for one, found in reached.items() if found["bracket"] == reached[number]["bracket"]}
    signs = [-1.0 if one is StudyDirection.MAXIMIZE else 1.0 for one in study.directions]
    names = metric_names(study)
    values = np.array([[found["values"][name] for name in names] for found in reached.values()]) * signs
    over = [found["over"] for found in reached.values()]
    best = front(values[[excess <= 0 for excess in over]])
    return order(values, over).index(list(reached).index(number)), int(best.sum()), len(reached)


def order(values: NDArray[np.float64], over: Sequence[float]) -> list[int]:
    """Return the rows' indices, best first; of equal rows the earlier one.

    Args:
        values: (trials, objectives), smaller being better.
        over: by how much each is over the limits; 0 for one within.
    """
    within = np.flatnonzero(np.asarray(over) <= 0)
    ranks = np.empty_like(values)
    for column in range(values.shape[1]):
        _, dense = np.unique(values[:, column], return_inverse=True)
        ranks[:, column] = dense / max(1, dense.max())
    found: list[int] = []
    while within.size:
        best = front(values[within])
        found += [int(within[best][index]) for index in spread_out(ranks[within[best]])]
        within = within[~best]
    beyond = [index for index, excess in enumerate(over) if excess > 0]
    return found + sorted(beyond, key=lambda index: over[index])


def front(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows no other row dominates, smaller being better; equal rows stand or fall together."""
    rows, back = np.unique(values, axis=0, return_inverse=True)  # in an order in which only earlier rows dominate
    best = np.zeros(len(rows), dtype=bool)
    left = np.arange(len(rows))
    while left.size:
        best[left[0]] = True
        left = left[(rows[left] < rows[left[0]]).any(axis=1)]
    return best[back.reshape(-1)]


def spread_out(points: NDArray[np.float64]) -> list[int]:
    """Return the rows' indices as an epsilon-net takes them: best in the first column, then farthest from all taken."""
    taken = [int(points[:, 0].argmin())]
    distance = np.linalg.norm(points - points[taken[0]], axis=1)
    distance[taken[0]] = -1.0
    while len(taken) < len(points):
        taken.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[taken[-1]], axis=1))
        distance[taken[-1]] = -1.0
    return taken
