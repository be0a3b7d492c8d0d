"""From YAML files and command-line overrides to one plain nested dict, by Hydra's compose API."""

import importlib.resources
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kirigami.errors import did_you_mean
from kirigami.search.config.groups import GROUPS, KEYS
from kirigami.search.config.identity import leaves
from kirigami.search.config.overrides import grammatical
from kirigami.search.config.own_files import shown
from kirigami.search.config.own_folders import searched
from kirigami.search.errors import InputError, one_line

OWN = ("task", "network", "optimizer", "schedule")  # groups with an option `own`, for a `_target_`


def compose(overrides: Sequence[str], config_dirs: Sequence[Path] = ()) -> dict[str, Any]:
    """Compose the config with interpolations kept; `name` is filled from the chosen study.

    Raises:
        InputError: for an unknown study, group option, key or an override that cannot be parsed.
    """
    overrides, folders = _own_options(overrides), [_existing(folder) for folder in config_dirs]
    try:
        raw = _composed(overrides, folders)
    except InputError:
        raise
    except (HydraException, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise InputError(_explain(error, overrides, folders)) from error
    _check_keys(raw)
    return raw


def _composed(overrides: Sequence[str], folders: Sequence[Path]) -> dict[str, Any]:
    """Compose the config; what is wrong is said by Hydra, except for the user's own files."""
    with searched(folders), initialize_config_module("kirigami.conf", version_base="1.3"):
        words = [grammatical(override) for override in overrides]
        composed = hydra_compose("config", overrides=words, return_hydra_config=True)
    study = composed.hydra.runtime.choices.get("study")
    with open_dict(composed):
        del composed["hydra"]
    raw: dict[str, Any] = OmegaConf.to_container(composed, resolve=False)  # type: ignore[assignment]
    raw["name"] = raw.get("name") or study
    return raw


def _own_options(overrides: Sequence[str]) -> list[str]:
    """Select a group's option `own` where a user's class is named: another option's knobs are not its arguments.

    `output.loss._target_=mine.loss` puts a mapping where the name of a loss stands.
    """
    named = [group for group in OWN if any(re.match(rf"\+*{group}\._target_=", override) for override in overrides)]
    chosen = [group for group in named if any(override.startswith(f"{group}=") for override in overrides)]
    mapped = [re.sub(r"^\+*output\.loss\._target_=(.+)$", r"output.loss={_target_: \1}", each) for each in overrides]
    return [*mapped, *(f"{group}=own" for group in named if group not in chosen)]


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        wrong = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"--config-dir must be a folder, but got {str(folder)!r}, which {wrong}.")
    return folder.resolve()


def _check_keys(raw: Mapping[str, Any]) -> None:
    for key in raw:
        if key not in KEYS:
            names = ", ".join(KEYS)
            raise InputError(f"{key}: no such key in a config.{did_you_mean(key, KEYS)} Keys: {names}.")
    for key in GROUPS:
        if not isinstance(raw.get(key), Mapping):
            raise InputError(f"{key} must be a mapping, but got {raw.get(key)!r}. Choose a file: {key}=NAME.")
    if not isinstance(raw.get("space") or {}, Mapping):
        raise InputError(f"space must be a mapping of distributions, but got {raw['space']!r}.")


def _explain(error: Exception, overrides: Sequence[str], folders: Sequence[Path]) -> str:
    """Turn Hydra's paragraph into one line that names the nearest right key or option; compose at most once for it."""
    text = str(error)
    if match := re.search(r"Could not (?:find|load) '([^']+)'", text):
        group, _, option = match[1].rpartition("/")
        options = names_of(group, folders)
        listed = f" Choose one of ({', '.join(options)})." if options else ""
        near = _misplaced(group, option, folders) or did_you_mean(option, options)
        return f"{group or 'config'}={option}: no such file in the config.{near}{listed}"
    if match := re.search(r"Could not (?:override|delete from config\.?) '([^']+)'", text):
        meant = _nearest_key(match[1], overrides, folders)
        return f"{match[1]}: no such key in the config.{meant} To add one, write +{match[1]}=VALUE."
    if override := getattr(error, "override", None):
        return _unreadable(override, error)
    if match := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'", text):
        key, _, value = match[1].partition("=")
        advice = f"For a list write {key}=[{value}], for a number with decimals {key}=0.5"
        return f"{match[1]} is several values, and {key} takes one. {advice}."
    if text.startswith("Config group override must be"):
        at_fault = [
            override
            for override in overrides
            if override.lstrip("+").partition("=")[0] in (*GROUPS, "space", "study", "")
        ]
        return f"{' or '.join(at_fault)}: a group takes the name of a file, such as optimizer=sgd."
    if isinstance(error, RecursionError):
        return f"{_study(overrides)}: the defaults of its file lead back to it. Take the study itself out of them."
    cause = error if text else error.__cause__ or error
    where = getattr(cause, "full_key", None)
    return f"{where}: {one_line(cause)}" if where else one_line(cause)


def _unreadable(override: str, error: Exception) -> str:
    key = override.partition("=")[0]
    if not key.isascii():
        top = key.lstrip("+~").partition(".")[0]
        return (
            f"{key}: no such key in the config.{did_you_mean(top, KEYS)} Such letters in a key go into a study's file."
        )
    return f"{override!r} cannot be read as key=value: {one_line(error)}. Quote it or remove it."


def _study(overrides: Sequence[str]) -> str:
    """Return how the study was chosen."""
    return next((override for override in reversed(overrides) if override.startswith("study=")), "study=digits")


def names_of(group: str, folders: Sequence[Path]) -> list[str]:
    """Return the names of a group's files, ours and the user's."""
    places = [importlib.resources.files("kirigami.conf").joinpath(group), *(folder / group for folder in folders)]
    files = [file.name for place in places if place.is_dir() for file in place.iterdir()]
    return sorted({name.removesuffix(".yaml") for name in files if name.endswith(".yaml")})


def _misplaced(group: str, option: str, folders: Sequence[Path]) -> str:
    """Return a sentence about a file of that name that Hydra does not see; nothing where there is none."""
    places = [place for folder in folders for place in (folder / group / option, folder / option)]
    files = [place.with_name(f"{place.name}{suffix}") for place in places for suffix in (".yml", ".yaml")]
    for file, folder in ((file, folder) for file in files for folder in folders if file.is_relative_to(folder)):
        if file.is_file():
            return f" {shown(file)} is there: call it {shown(folder / group / option)}.yaml."
    return ""


def _nearest_key(path: str, overrides: Sequence[str], folders: Sequence[Path]) -> str:
    """Compose without the override at fault and look for the nearest path in what comes out."""
    others = [override for override in overrides if path not in override]
    if len(others) == len(overrides):
        return ""  # it is no override: composing without it would end the same way
    try:
        raw = _composed(others, folders)
    except (HydraException, OmegaConfBaseException, ValueError, RecursionError):
        return ""
    paths = {"study"} | {path for path, _ in leaves(raw)} | {path.rpartition(".")[0] for path, _ in leaves(raw)}
    return did_you_mean(path, paths)
