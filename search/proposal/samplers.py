"""Samplers by name, built from `sampler:` of the config."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.samplers import BaseSampler

from kirigami.search.config.sampler import Qmc, Sampler
from kirigami.search.errors import InputError

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
    "cmaes": optuna.samplers.CmaEsSampler,
    "qmc": optuna.samplers.QMCSampler,
    "random": optuna.samplers.RandomSampler,
    "nsga2": optuna.samplers.NSGAIISampler,
}


def sampler_factory(settings: Sampler, seed: int) -> Callable[[int], BaseSampler]:
    """Return a function from a trial's seed to a sampler.

    Quasi-random sequences keep the study's own seed: their position is in the store, and a new scrambling for each
    trial would undo them.

    Raises:
        InputError: for what Optuna refuses.
    """
    arguments, target = settings.arguments(), SAMPLERS[settings.name]

    def build(trial_seed: int) -> BaseSampler:
        if not isinstance(settings, Qmc):
            return construct("sampler", target, {**arguments, "seed": trial_seed})
        independent = optuna.samplers.RandomSampler(seed=trial_seed)  # for what is not in every trial
        return construct("sampler", target, {**arguments, "seed": seed, "independent_sampler": independent})

    build(seed)  # a wrong argument shows now, before any trial
    return build


def construct(group: str, target: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call an Optuna class with the arguments of a group of the config.

    Raises:
        InputError: for what Optuna refuses.
    """
    try:
        return target(**arguments)
    except (ValueError, TypeError, ImportError) as error:
        raise InputError(f"{group}: {' '.join(str(error).split())}") from error
