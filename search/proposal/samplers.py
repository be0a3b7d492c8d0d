"""Samplers by name, built from `sampler:` of the config."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.samplers import BaseSampler

from kirigami.errors import did_you_mean
from kirigami.search.errors import InputError, one_of
from kirigami.spaces.window import BEST

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
SINGLE_OBJECTIVE = ("gp", "cmaes")
WINDOW = 1000


def sampler_factory(config: Mapping[str, Any], seed: int, *, objectives: int = 1) -> Callable[[int], BaseSampler]:
    """Return a function from a trial's seed to a sampler.

    Quasi-random sequences keep the study's own seed: their position is in the store, and a new scrambling for each
    trial would undo them.

    Raises:
        InputError: for an unknown name or argument, or a sampler that cannot weigh several objectives.
    """
    settings = dict(config)
    name = settings.pop("name", None)
    if name not in SAMPLERS:
        raise one_of("sampler.name", name, SAMPLERS)
    window(config)
    if name == "tpe":
        settings.pop("window", None)
    if objectives > 1 and name in SINGLE_OBJECTIVE:
        raise InputError(f"sampler.name={name} takes one objective, but the study has {objectives}. Set sampler=nsga2.")

    def build(trial_seed: int) -> BaseSampler:
        if name != "qmc":
            return construct("sampler", SAMPLERS[name], settings, seed=trial_seed)
        independent = optuna.samplers.RandomSampler(seed=trial_seed)  # for what is not in every trial
        return construct("sampler", SAMPLERS[name], settings, seed=seed, independent_sampler=independent)

    build(seed)  # a wrong argument shows now, before any trial
    return build


def window(config: Mapping[str, Any]) -> int | None:
    """Return how many finished trials the sampler sees; None for all of them, as samplers other than `tpe` do.

    Raises:
        InputError: for a window too small to tell the best from the rest.
    """
    if config.get("name") != "tpe":
        return None
    value = config.get("window", WINDOW)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 2 * BEST):
        raise InputError(
            f"sampler.window must be a whole number of at least {2 * BEST} trials, or null for all, but got {value!r}."
        )
    return value


def construct(room: str, target: Callable[..., Any], settings: Mapping[str, Any], **fixed: Any) -> Any:
    """Call an Optuna class with the settings of a group of the config, and `fixed` where it takes that.

    Raises:
        InputError: for an unknown argument, or a value that it does not take.
    """
    allowed = list(inspect.signature(target).parameters)
    for key, value in settings.items():
        if key not in allowed:
            names = ", ".join(allowed)
            raise InputError(f"{room}.{key}: no such argument.{did_you_mean(key, allowed)} Arguments: {names}.")
        default = inspect.signature(target).parameters[key].default
        wrong = isinstance(value, bool) or not isinstance(value, int) or value < 0
        if isinstance(default, int) and not isinstance(default, bool) and wrong and value != "auto":
            raise InputError(f"{room}.{key} must be a whole number of at least 0, but got {value!r}.")
    fixed = {key: value for key, value in fixed.items() if key in allowed}
    try:
        return target(**{**settings, **fixed})
    except (ValueError, TypeError, ImportError) as error:
        raise InputError(f"{room}: {' '.join(str(error).split())}") from error
