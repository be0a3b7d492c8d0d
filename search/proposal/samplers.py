"""Samplers and pruners by name, built from `sampler:` and `pruner:` of the config."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from kirigami.search.errors import InputError, did_you_mean, one_of
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
PRUNERS: dict[str, Callable[..., BasePruner]] = {
    "asha": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "median": optuna.pruners.MedianPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
    "none": optuna.pruners.NopPruner,
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
            return _build("sampler", SAMPLERS[name], settings, seed=trial_seed)
        independent = optuna.samplers.RandomSampler(seed=trial_seed)  # for what is not in every trial
        return _build("sampler", SAMPLERS[name], settings, seed=seed, independent_sampler=independent)

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


def build_pruner(config: Mapping[str, Any], *, fidelities: int, every: int = 1) -> BasePruner:
    """Build the pruner.

    Args:
        config: `name` and the pruner's arguments. `min_resource` and `n_warmup_steps` count validations.
        fidelities: epochs or steps of a full trial; what `max_resource: auto` stands for.
        every: epochs or steps between validations.

    Raises:
        InputError: for an unknown name or argument.
    """
    name, settings = in_fidelities(config, fidelities, every)
    for key, least in (("min_resource", 1), ("reduction_factor", 2)):
        value = settings.get(key, least)
        if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InputError(f"pruner.{key} must be a whole number of at least {least}, but got {value!r}.")
    return _build("pruner", PRUNERS[name], settings)


def rungs(config: Mapping[str, Any], fidelities: int, every: int = 1) -> tuple[int, ...]:
    """Return the fidelities at which the pruner is asked, all of them before the end of a full trial.

    A report is a transaction in the store; between rungs it would change nothing, and at the end nothing is left to
    save: a trial trained in full is complete, whatever its value.
    """
    name, settings = in_fidelities(config, fidelities, every)
    if name == "none":
        return ()
    first = settings.get("min_resource", "auto" if name == "asha" else 1)
    if name not in ("asha", "hyperband") or not isinstance(first, int):
        return tuple(range(every, fidelities, every))
    factor = settings.get("reduction_factor", 4 if name == "asha" else 3)
    found, rung = [], first * factor ** settings.get("min_early_stopping_rate", 0)
    while rung < fidelities:
        found.append(rung)
        rung *= factor
    return tuple(found)


def in_fidelities(config: Mapping[str, Any], fidelities: int, every: int) -> tuple[str, dict[str, Any]]:
    """Return the pruner's name and arguments, validations turned into epochs or steps."""
    settings = dict(config)
    name = settings.pop("name", None)
    if name not in PRUNERS:
        raise one_of("pruner.name", name, PRUNERS)
    for key in ("min_resource", "n_warmup_steps"):
        if isinstance(settings.get(key), int):
            settings[key] *= every
    others = {key for other in PRUNERS.values() for key in inspect.signature(other).parameters}
    own = inspect.signature(PRUNERS[name]).parameters
    settings = {key: value for key, value in settings.items() if key in own or key not in others}
    if settings.get("max_resource") == "auto":
        settings["max_resource"] = fidelities
    return str(name), settings


def _build(room: str, target: Callable[..., Any], settings: Mapping[str, Any], **fixed: Any) -> Any:
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
