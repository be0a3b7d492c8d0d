"""Options of the verbs: declared once as typed groups, from which the help, the parsing and the checks come."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import DocInfo, doc
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from kirigami.search.errors import InputError
from kirigami.search.schema import Group, refused

Options = TypeVar("Options", bound=Group)
Format = Annotated[Literal["table", "json"], doc("table or json")]


class Flag:
    """Marks an option that is set by `--name`, not by `name=true`."""


class NoOptions(Group):
    """The options of a verb that has none of its own."""


def fields_of(options: type[Group]) -> dict[str, FieldInfo]:
    """Return the key=value options by name; a name that is a word of Python has an underscore in its group."""
    return {name.rstrip("_"): field for name, field in options.model_fields.items() if not _is_flag(field)}


def flags_of(options: type[Group]) -> dict[str, FieldInfo]:
    """Return the options that are given as `--name`, by name."""
    return {name: field for name, field in options.model_fields.items() if _is_flag(field)}


def meaning_of(field: FieldInfo) -> str:
    """Return the description of an option."""
    return next((part.documentation for part in field.metadata if isinstance(part, DocInfo)), "")


def help_lines(options: type[Group]) -> list[str]:
    """Return a line for each key=value option: its default and its description."""
    return [
        f"  {f'{key}={_shown(field.default)}':<24} {meaning_of(field)}".rstrip()
        for key, field in fields_of(options).items()
    ]


def split(words: Iterable[str], options: type[Group]) -> tuple[list[str], dict[str, str]]:
    """Take a verb's options out of the words that follow it; return the overrides, and the options as texts.

    Raises:
        InputError: for a word that is neither.
    """
    overrides, texts = list[str](), dict[str, str]()
    for word in words:
        key, equals, value = word.partition("=")
        if not equals and not word.startswith("~"):
            raise InputError(
                f"{word!r} is no override. Write key=value (study={word}, perhaps), or ~key to remove a key."
            )
        if key in fields_of(options):
            texts[key] = value
        else:
            overrides.append(word)
    return overrides, texts


def read(options: type[Options], texts: Mapping[str, str], flags: Sequence[str] = ()) -> Options:
    """Return the options as values of their types.

    Args:
        texts: what was typed, by option.
        flags: names of those that were given.

    Raises:
        InputError: in one line, for the first that makes no sense.
    """
    names = {name.rstrip("_"): name for name in options.model_fields}
    values: dict[str, Any] = {
        names[key]: _value(key, text, fields_of(options)[key].annotation) for key, text in texts.items()
    }
    try:
        return options.model_validate({**values, **dict.fromkeys(flags, True)})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    if problem["type"] == "value_error":  # of a validator of ours, which says it all
        raise InputError(str(problem["ctx"]["error"]))
    name = str(problem["loc"][0])
    key = name.rstrip("_")
    raise InputError(refused(key, texts[key], options.model_fields[name]))


def read_value(key: str, text: str) -> Any:
    """Return a value written as in a config: 1e-3, relu, [0.5, 1.0].

    Raises:
        InputError: where it cannot be read.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        parsed: Any = OmegaConf.to_container(OmegaConf.create(f"value: {text}"))
    except (YAMLError, OmegaConfBaseException, ValueError):
        parsed = None
    if not isinstance(parsed, dict) or "value" not in parsed:
        raise InputError(f"{key}={text} cannot be read. Write {key}=[0.5,1.0], for example.")
    return parsed["value"]


def _value(key: str, text: str, annotation: Any) -> Any:
    """Return a text as a value of an option's type; as it is where it is none, for the check to refuse it."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    kind = next(member for member in members if member is not NoneType)
    if NoneType in members and not text:
        return None
    if kind is bool:
        return {"true": True, "false": False}.get(text, text)
    if kind is int:
        return int(text) if text.isdecimal() else text
    if kind is float:
        return _real(text)
    if kind is Path:
        return Path(text)
    return text if kind is str or get_origin(kind) is Literal else read_value(key, text)


def _real(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _shown(default: Any) -> str:
    """Return a default as it would be typed."""
    if default is None or default == "":
        return "..."
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}".replace("e-0", "e-") if isinstance(default, float) else str(default)


def _is_flag(field: FieldInfo) -> bool:
    return any(isinstance(part, Flag) for part in field.metadata)
