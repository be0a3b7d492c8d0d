"""Overrides of the command line in Hydra's grammar: what the grammar does not know is taken as a text, not refused."""

import json
import re
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, ValueType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kirigami.search.config.resolve import literal
from kirigami.search.errors import InputError

PLAIN = re.compile(r"[\w.+-]*", re.ASCII)
TEXTS = ("name", "storage.url")
"""Keys whose value is a text, whatever it looks like."""


def grammatical(override: str) -> str:
    """Return an override as Hydra reads it: a value that is a path or no sentence of its grammar is put in quotes.

    Lists, mappings, quoted texts and interpolations stay what they are.
    """
    key, equals, value = override.partition("=")
    if not equals or (PLAIN.fullmatch(value) and key not in TEXTS):
        return override
    if _exists(value):
        return f"{key}={_quoted(literal(value))}"
    if key == "storage.url" and "://" in value and "${oc.env:" not in value:  # a password may look like anything
        quoted = re.fullmatch(r"(['\"])(.*)\1", value)
        return f"{key}={_quoted(literal(quoted[2] if quoted else value))}"
    parsed = _parsed(override)
    if parsed is None:
        return f"{key}={_as_list(value) or _as_text(value)}"
    is_text = key in TEXTS and isinstance(parsed.value(), int | float | list | dict)
    return f"{key}={_quoted(value)}" if is_text or _is_text_with_commas(parsed) else override


def value_of(override: str) -> tuple[str, Any]:
    """Return the key and the value of an override that sets one.

    Raises:
        InputError: where it cannot be read.
    """
    parsed = _parsed(grammatical(override))
    if parsed is None or parsed.is_sweep_override() or parsed.is_delete():
        raise InputError(f"{override!r} cannot be read as key=value. Quote it or remove it.")
    return parsed.get_key_element().lstrip("+"), parsed.value()


def _parsed(override: str) -> Override | None:
    try:
        return OverridesParser.create().parse_overrides([override])[0]
    except HydraException:
        return None


def _exists(value: str) -> bool:
    """Tell whether a value is the path of something: such a text is never read otherwise."""
    path = value.removeprefix("sqlite:///")
    try:
        return not PLAIN.fullmatch(value) and (Path(path).exists() or (path != value and Path(path).parent.is_dir()))
    except (OSError, ValueError):  # a name that no file can have
        return False


def _is_text_with_commas(parsed: Override) -> bool:
    """Tell whether a value would be tried word by word, as Hydra does with `a,b`, without being numbers."""
    if parsed.value_type is not ValueType.SIMPLE_CHOICE_SWEEP:
        return False
    words = str(parsed.input_line).partition("=")[2].split(",")
    return not all(re.fullmatch(r"\s*[-+.\d]+(e[-+]?\d+)?\s*", word) for word in words)


def _as_text(value: str) -> str:
    """Return a value in quotes; one that begins as a list, a mapping or in quotes is left for Hydra to refuse."""
    if value.lstrip()[:1] in ("[", "{", "'", '"'):
        return value
    return _quoted(value if re.search(r"\$\{[^{}]*\}", value) else literal(value))


def _as_list(value: str) -> str | None:
    """Return a list of texts that are no words of the grammar with each of them in quotes; None for anything else."""
    if not value.startswith("["):
        return None
    try:
        parts: Any = OmegaConf.to_container(OmegaConf.create(value))
    except (YAMLError, OmegaConfBaseException):
        return None
    if not isinstance(parts, list) or any(isinstance(part, list | dict) for part in parts):
        return None
    return f"[{','.join(_quoted(part) if isinstance(part, str) else json.dumps(part) for part in parts)}]"


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()
