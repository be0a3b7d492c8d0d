"""Spaces to sample, every kind of Optuna sampler, and a study over a formula."""

import optuna
from optuna.samplers import (
    CmaEsSampler,
    NSGAIIISampler,
    NSGAIISampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState

CONFIG = {"optimizer": {"lr": 0.1, "momentum": 0.9}, "network": {"depth": 2, "kind": "a", "plan": [1], "width": 8}}
PLAIN = {
    "optimizer": {"lr": {"low": 1e-4, "high": 1.0, "log": True}, "momentum": {"low": 0.0, "high": 1.0}},
    "network": {"depth": {"low": 1, "high": 6}},
}
NESTED = {
    "optimizer": PLAIN["optimizer"],
    "network": {
        "kind": {"choices": ["a", "b", "c"]},
        "plan": {"choices": [[1], [1, 2]], "when": {"network.kind": ["b", "c"]}},
        "width": {"low": 8, "high": 64, "step": 8, "when": {"network.plan": [[1, 2]]}},
    },
}
BELIEVED = {
    "optimizer": {
        "lr": {"low": 1e-4, "high": 1.0, "log": True, "prior": {"value": 0.03, "weight": 0.9, "spread": 0.1}},
        "momentum": {"low": 0.0, "high": 1.0},
    },
    "network": {
        "kind": {"choices": ["a", "b", "c"], "prior": {"value": "c", "weight": 0.5}},
        "plan": {"choices": [[1], [1, 2]], "when": {"network.kind": ["b", "c"]}, "prior": [1, 2]},
        "width": {"low": 8, "high": 64, "step": 8, "when": {"network.plan": [[1, 2]]}, "prior": 48},
    },
}
SPACES = {"plain": PLAIN, "nested": NESTED, "believed": BELIEVED}


def quasi_random(seed):
    # One sequence for the whole study, whose position lies in the storage; the seed is for what stands beside it.
    return QMCSampler(
        scramble=True, seed=7, independent_sampler=RandomSampler(seed=seed), warn_independent_sampling=False
    )


SAMPLERS = {
    "random": lambda seed: RandomSampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=5),
    "tpe alone": lambda seed: TPESampler(seed=seed, n_startup_trials=5, multivariate=False, constant_liar=False),
    "tpe groups": lambda seed: TPESampler(seed=seed, n_startup_trials=5, multivariate=True, group=True),
    "cma-es": lambda seed: CmaEsSampler(seed=seed, n_startup_trials=2, popsize=4, warn_independent_sampling=False),
    "qmc": quasi_random,
    "nsga-ii": lambda seed: NSGAIISampler(seed=seed, population_size=5),
    "nsga-iii": lambda seed: NSGAIIISampler(seed=seed, population_size=5),
    "partial": lambda seed: PartialFixedSampler({"optimizer.momentum": 0.5}, RandomSampler(seed=seed)),
}


def score(values):
    return (values["optimizer.lr"] - 0.01) ** 2 + values.get("optimizer.momentum", 0.0) + values.get("network.depth", 0)


def run(sampler, space, trials, storage=None):
    """Run `trials` trials, with every fourth pruned and every seventh failed, and return the parameters of all."""
    study = optuna.create_study(study_name="s", storage=storage, sampler=sampler, load_if_exists=True)
    for _ in range(trials):
        trial = study.ask()
        values = space.suggest(trial)
        if trial.number % 7 == 6:
            study.tell(trial, state=TrialState.FAIL)
        elif trial.number % 4 == 3:
            trial.report(score(values), 1)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, score(values))
    return [trial.params for trial in study.get_trials(deepcopy=False)]
