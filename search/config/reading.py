"""Which study and which store a reading verb means, without composing a config where that is not needed."""

import importlib.resources
import re
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from kirigami.search.config.resolve import resolve
from kirigami.search.storage import Settings, folder_of
from kirigami.search.storage.server.local import located

PLAIN = re.compile(
    rf"(study|name|storage)=(?!null\b)[\w.-]+|storage\.({'|'.join(Settings.model_fields)})=[\w.+:/@?=-]+"
)


class Named(NamedTuple):
    """A study's name and the store that it is in."""

    name: str
    storage: Settings

    @property
    def folder(self) -> Path:
        """Where the study's files lie."""
        return folder_of(self.storage.url, self.name)


def named(overrides: Sequence[str], config_dirs: Sequence[Path]) -> Named:
    """Return which study is meant, and its store; its own file need not be at hand.

    Raises:
        InputError: for an override that cannot be read, or a store that makes no sense.
    """
    raw = _plain(overrides, config_dirs) or _composed(overrides, config_dirs)
    config = resolve({"name": raw["name"], "storage": raw["storage"]})
    place = {**config["storage"], "url": located(config["storage"].get("url"))}
    return Named(str(config["name"]), Settings.read(place))


def _plain(overrides: Sequence[str], config_dirs: Sequence[Path]) -> dict[str, Any] | None:
    """Read the defaults alone: enough unless an override or the study's file says more; Hydra takes half a second."""
    if config_dirs or not all(PLAIN.fullmatch(override) for override in overrides):
        return None
    values = dict(override.split("=", 1) for override in overrides)
    study, conf = values.get("study", "digits"), importlib.resources.files("kirigami.conf")
    defaults = OmegaConf.create(conf.joinpath("config.yaml").read_text())
    place = conf.joinpath("storage", f"{values.get('storage', _default(defaults, 'storage'))}.yaml")
    if not place.is_file() or _has_own_place(conf.joinpath("study", f"{study}.yaml")):
        return None
    chosen = OmegaConf.create({"storage": OmegaConf.create(place.read_text())})
    leaves = OmegaConf.from_dotlist([override for override in overrides if override.startswith("storage.")])
    merged: dict[str, Any] = OmegaConf.to_container(OmegaConf.merge(chosen, leaves))  # type: ignore[assignment]
    return {"name": values.get("name", study), "storage": merged["storage"]}


def _has_own_place(file: Traversable) -> bool:
    """Tell whether a study's file may decide its name or its store: it sets one of them, or stands on other files."""
    if not file.is_file():
        return False
    try:
        study = OmegaConf.create(file.read_text())
    except YAMLError:
        return True  # whoever composes it says what is wrong
    if not isinstance(study, DictConfig):
        return True
    others = [entry for entry in study.get("defaults", []) if entry != "_self_"]
    stands_alone = all(isinstance(entry, DictConfig) and _is_elsewhere(str(key)) for entry in others for key in entry)
    return "name" in study or "storage" in study or not stands_alone


def _is_elsewhere(entry: str) -> bool:
    """Tell whether an entry of a study's defaults chooses a file of another group than the store's."""
    return entry.startswith("override /") and entry != "override /storage"


def _default(config: Any, group: str) -> str:
    """Return which file of a group the defaults take."""
    return next(str(entry[group]) for entry in config["defaults"] if not isinstance(entry, str) and group in entry)


def _composed(overrides: Sequence[str], config_dirs: Sequence[Path]) -> dict[str, Any]:
    from kirigami.search.config.compose import compose

    chosen = [override for override in overrides if override.startswith("study=")]
    if not chosen or _has_file(chosen[-1].partition("=")[2], config_dirs):
        return compose(overrides, config_dirs)
    raw = compose([override for override in overrides if override not in chosen], config_dirs)
    has_name = any(override.startswith("name=") for override in overrides)
    return raw if has_name else {**raw, "name": chosen[-1].partition("=")[2]}


def _has_file(study: str, config_dirs: Sequence[Path]) -> bool:
    """Tell whether a study's file is at hand; without one, its name is enough to find it in the store."""
    ours = importlib.resources.files("kirigami.conf")
    return any(place.joinpath("study", f"{study}.yaml").is_file() for place in (ours, *config_dirs))
