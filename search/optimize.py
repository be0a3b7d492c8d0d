"""The loop without YAML, networks or a store: race samplers and pruners, or optimise any function, from Python.

from kirigami import optimize

def evaluate(config):
    for epoch in range(1, 10):
        yield epoch, (config["lr"] - 0.1) ** 2 + 1 / epoch

history = optimize({"lr": {"low": 1e-4, "high": 1.0, "log": True}}, evaluate, budget=50, seed=0)
print(history.best)
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optuna

from kirigami.search.config.objective import directed, named
from kirigami.search.config.pruner import Pruner
from kirigami.search.config.sampler import check_several
from kirigami.search.config.settings import Proposal
from kirigami.search.errors import InputError
from kirigami.search.loop import Loop
from kirigami.search.proposal.halving import Halving
from kirigami.search.proposal.judge import Judge
from kirigami.search.proposal.judges import build_judge
from kirigami.search.proposal.pruners import Pruning
from kirigami.search.proposal.samplers import sampler_factory
from kirigami.search.study.ranking import best_trial, front
from kirigami.search.study.record import result_of
from kirigami.search.study.states import state_of
from kirigami.search.training.job import Metrics
from kirigami.search.training.runners import surrogate
from kirigami.spaces import Budget, PriorSampler, Space


@dataclass(frozen=True)
class History:
    """What a search did: one row a trial, in order of asking, and the best of them.

    Attributes:
        best: by the first objective.
        front: where there are several objectives, the rows that no other one dominates.
    """

    trials: list[dict[str, Any]]
    best: dict[str, Any] | None
    study: optuna.Study
    front: list[dict[str, Any]] = field(default_factory=list)


def optimize(
    space: Mapping[str, Any],
    evaluate: Callable[[Mapping[str, Any]], Iterable[tuple[int, float | Metrics]]],
    *,
    budget: int | Mapping[str, Any],
    seed: int = 0,
    objective: Mapping[str, str] | None = None,
    sampler: Mapping[str, Any] | str = "tpe",
    pruner: Mapping[str, Any] | str | Judge = "none",
    fidelities: int | None = None,
    config: Mapping[str, Any] | None = None,
) -> History:
    """Search a space with a function that yields (fidelity, value) pairs.

    Args:
        space: nested distributions, as in a study's YAML.
        evaluate: takes the config of a trial; yields (fidelity from 1, value or dict of metrics); the last is final.
        budget: number of trials, or a mapping with `trials` and `wall_s`.
        objective: metric name -> maximize or minimize; by default `{"value": "minimize"}`.
        sampler: a name, or a mapping with `name` and the sampler's own arguments.
        pruner: a name, or a mapping; `asha` and `hyperband` need `fidelities` where `max_resource` is left out, and
            always where there are several objectives: then every report has to bring all of them. Or a judge.
        fidelities: the largest fidelity a trial reaches.
        config: what the space varies; by default nothing but the space's own paths.

    Raises:
        ValueError: for a space, sampler, pruner or budget that makes no sense.
    """
    base = dict(config) if config is not None else _skeleton(space)
    searched = Space.from_config(space, base)
    directions = directed(named(objective or {"value": "minimize"}), lambda name: "minimize")
    pruning = {} if isinstance(pruner, Judge) else {"pruner": _named(pruner)}
    proposal = Proposal.read({"sampler": _named(sampler), **pruning})
    check_several(proposal.sampler, len(directions))
    judge = pruner if isinstance(pruner, Judge) else _judge(proposal.pruner, len(directions), fidelities)
    study = optuna.create_study(
        study_name="optimize",  # Hyperband deals its brackets by the name; Optuna's own would be a random one
        directions=list(directions.values()),
        sampler=PriorSampler(sampler_factory(proposal.sampler, seed), searched, seed, window=proposal.sampler.sees()),
    )
    study.set_metric_names(list(directions))
    Loop(
        study=study,
        space=searched,
        runner=surrogate(evaluate, next(iter(directions))),
        budget=Budget.from_config({"trials": budget} if isinstance(budget, int) else budget),
        prepare=lambda values: searched.apply(base, values),
        judge=judge,
    ).run()
    rows = [_row(trial) for trial in study.get_trials(deepcopy=False)]
    best = best_trial(study)
    numbers = sorted(trial.number for trial in front(study)) if len(directions) > 1 else []
    return History(rows, None if best is None else rows[best.number], study, [rows[number] for number in numbers])


def _judge(pruner: Pruner, objectives: int, fidelities: int | None) -> Judge:
    """Build the judge; where the length of a full trial is not known, one of Optuna's pruners sees every report."""
    judge = build_judge(pruner, objectives=objectives, fidelities=fidelities or 1)
    if fidelities is None and isinstance(judge, Halving):
        raise InputError(
            f"pruner={pruner.name} in a search of several objectives needs fidelities, the length of a full "
            "trial, but got None. Set fidelities=27, say, or pruner=none."
        )
    return replace(judge, rungs=None) if fidelities is None and isinstance(judge, Pruning) else judge


def _row(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    result = result_of(trial)
    return {
        "number": trial.number,
        "state": state_of(trial),
        "params": dict(trial.params),
        "values": list(trial.values or []),
        "curve": [[fidelity, dict(metrics)] for fidelity, metrics in result.curve],
        "reason": result.reason,
    }


def _named(setting: Mapping[str, Any] | str) -> dict[str, Any]:
    return {"name": setting} if isinstance(setting, str) else dict(setting)


def _skeleton(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with a leaf wherever the space has a distribution."""
    return {
        key: None if not isinstance(part, Mapping) or {"low", "high", "choices"} & part.keys() else _skeleton(part)
        for key, part in node.items()
    }
