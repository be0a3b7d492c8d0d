"""Interpolations replaced by values; the composed config keeps them, so that a searched leaf reaches all it should."""

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from kirigami.search.errors import InputError, one_line
from kirigami.spaces.costs import LIMITS

MARKS = re.compile(r"\$\{|^\?\?\?$")  # of an interpolation, and of a value that has to be given


def literal(text: str) -> str:
    """Return a text that `resolve` turns into this one, whatever it holds: a path is no interpolation."""
    return re.sub(r"(\\*)\$\{", lambda match: rf"{match[1] * 2}\${{", text)


def resolve(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with every interpolation replaced by its value."""
    try:
        return {key: _plain(part) for key, part in raw.items()}
    except _NotPlain:
        return _interpolated(raw)


class _NotPlain(Exception):
    """A config holds something that only OmegaConf can tell the value of."""


def _plain(part: Any) -> Any:
    """Return a copy of a part without interpolations; OmegaConf takes a hundred times as long for the same.

    Raises:
        _NotPlain: where there is something else than words, numbers, lists and groups of them.
    """
    if isinstance(part, str):
        if MARKS.search(part):
            raise _NotPlain
        return part
    if isinstance(part, dict):
        return {key: _plain(child) for key, child in part.items()}
    if isinstance(part, list):
        return [_plain(child) for child in part]
    if part is None or isinstance(part, bool | int | float):
        return part
    raise _NotPlain


def _interpolated(raw: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return OmegaConf.to_container(OmegaConf.create(dict(raw)), resolve=True, throw_on_missing=True)  # type: ignore[return-value]
    except InterpolationResolutionError as error:
        variable = re.search(r"Environment variable '(\w+)' not found", str(error))
        where = getattr(error, "full_key", None) or "the config"
        if variable:
            raise InputError(
                f"{where} needs the environment variable {variable[1]}, which is not set. "
                f"Set {variable[1]}=FOLDER or {where}=VALUE."
            ) from error
        raise InputError(f"{where}: {one_line(error)}") from error
    except OmegaConfBaseException as error:
        where = getattr(error, "full_key", None) or "the config"
        if "mandatory value" in str(error):
            raise InputError(f"{where} is not set. Set {where}=VALUE.") from error
        raise InputError(f"{where}: {one_line(error)}") from error


def unlimited(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config without limits on the network: for where nothing is selected."""
    return {**config, "budget": {**config["budget"], **dict.fromkeys(LIMITS)}}
