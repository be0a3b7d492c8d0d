"""Which study and which store a reading verb means, without composing a config where that is not needed."""

import importlib.resources
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from kirigami.search.config.resolve import resolve
from kirigami.search.errors import InputError
from kirigami.search.storage import Settings, folder_of
from kirigami.search.storage.server.local import located

PLAIN = re.compile(r"(study|name|storage)=[\w.-]+|storage\.(url|heartbeat_s|grace_s|patience_s|retries)=[^$]+")
OWN_PLACE = re.compile(r"^(name|storage)\s*:|override /storage", re.MULTILINE)


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
    if config_dirs or not all(PLAIN.fullmatch(one) for one in overrides):
        return None
    given = dict(one.split("=", 1) for one in overrides)
    study = given.get("study", "digits")
    conf = importlib.resources.files("kirigami.conf")
    file = conf.joinpath("study", f"{study}.yaml")
    if file.is_file() and OWN_PLACE.search(file.read_text()):
        return None
    defaults = OmegaConf.create(conf.joinpath("config.yaml").read_text())
    place = conf.joinpath("storage", f"{given.get('storage', _default(defaults, 'storage'))}.yaml")
    if not place.is_file():
        return None
    chosen = OmegaConf.create({"storage": OmegaConf.create(place.read_text())})
    leaves = OmegaConf.from_dotlist([one for one in overrides if one.startswith("storage.")])
    merged: dict[str, Any] = OmegaConf.to_container(OmegaConf.merge(chosen, leaves))  # type: ignore[assignment]
    return {"name": given.get("name", study), "storage": merged["storage"]}


def _default(config: Any, group: str) -> str:
    """Return which file of a group the defaults take."""
    return next(str(one[group]) for one in config["defaults"] if not isinstance(one, str) and group in one)


def _composed(overrides: Sequence[str], config_dirs: Sequence[Path]) -> dict[str, Any]:
    from kirigami.search.config.compose import compose

    try:
        return compose(overrides, config_dirs)
    except InputError:
        chosen = [one.partition("=")[2] for one in overrides if one.startswith(("study=", "name="))]
        raw = compose([one for one in overrides if not one.startswith(("study=", "name="))], config_dirs)
        return {**raw, "name": chosen[-1] if chosen else raw["name"]}
