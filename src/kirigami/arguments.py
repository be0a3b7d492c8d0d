"""Check a config branch against the signature of what it configures, with errors a user can act on."""

import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kirigami.errors import ArgumentError, did_you_mean

_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "a word", type(None): "null"}
_MISSING = object()


def at_least(argument: str, value: float, low: float) -> None:
    """Raise `ArgumentError` unless `value >= low`."""
    if not value >= low:
        raise ArgumentError(argument, f"must be at least {low}, but got {value}.")


def within(argument: str, value: float, low: float, high: float) -> None:
    """Raise `ArgumentError` unless `low <= value < high`."""
    if not low <= value < high:
        end = "finite" if high == math.inf else f"below {high}"
        raise ArgumentError(argument, f"must be at least {low} and {end}, but got {value}.")


def accept(
    function: Callable[..., Any],
    config: Mapping[str, Any],
    *,
    name: str,
    provided: Mapping[str, Any] | None = None,
    siblings: Iterable[str] = (),
) -> dict[str, Any]:
    """Return keyword arguments for `function`: the keys of `config`, and those of `provided` its signature names.

    Args:
        function: A class or function with named parameters.
        config: What the user set.
        name: What the user calls `function`, for messages.
        provided: Values of the program (shapes, parameters); passed on only if the signature names them.
        siblings: Keys that other choices of this branch know: left out in silence, so that a search may
            switch between choices inside one branch.

    Raises:
        ArgumentError: A key is unknown, a required argument is missing, or a value has the wrong type.
    """
    parameters = parameters_of(function)
    provided = {key: value for key, value in (provided or {}).items() if key in parameters}
    arguments = _known(config, parameters, name=name, provided=provided, siblings=set(siblings))
    _check_types(function, arguments)
    for key, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty and not _variadic(parameter)
        if required and key not in arguments and key not in provided:
            raise ArgumentError(key, f"is required by {name}.", (key, "VALUE"))
    return {**arguments, **provided}


def names(function: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters of `function`, without `*args` and `**kwargs`."""
    return [key for key, value in parameters_of(function).items() if not _variadic(value)]


def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of `function` by name; of one written in C, whose signature nobody knows, `**kwargs`."""
    try:
        return inspect.signature(function).parameters
    except ValueError:
        return {"kwargs": inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)}


def _variadic(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _known(
    config: Mapping[str, Any],
    parameters: Mapping[str, inspect.Parameter],
    *,
    name: str,
    provided: Mapping[str, Any],
    siblings: set[str],
) -> dict[str, Any]:
    """Return the part of `config` that the parameters take."""
    open_ended = any(value.kind is inspect.Parameter.VAR_KEYWORD for value in parameters.values())
    accepted = [key for key, value in parameters.items() if not _variadic(value) and key not in provided]
    arguments = {}
    for key, value in config.items():
        if key in accepted or (open_ended and key not in provided):
            arguments[key] = value
        elif key in provided or key not in siblings:
            raise ArgumentError(key, f"is no argument of {name}.{did_you_mean(key, accepted) or _list(accepted)}")
    return arguments


def _list(accepted: list[str]) -> str:
    return f" Known: ({', '.join(accepted)})."


def _check_types(function: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Compare values with plain annotations (int, float, bool, str, None and unions of them)."""
    target = function.__init__ if inspect.isclass(function) else function
    try:
        hints = typing.get_type_hints(target)
    except (NameError, TypeError):  # a foreign class whose annotations cannot be resolved: nothing to compare with
        return
    for key, value in values.items():
        kinds = _plain(hints.get(key, _MISSING))
        if kinds and not any(_fits(value, kind) for kind in kinds):
            words = " or ".join(_WORDS[kind] for kind in kinds)
            raise ArgumentError(key, f"must be {words}, but got {value!r}.")


def _plain(hint: Any) -> tuple[type, ...]:
    """Return the plain types of an annotation, or nothing when it has others too."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = typing.get_args(hint) if union else (hint,)
    return kinds if all(kind in _WORDS for kind in kinds) else ()


def _fits(value: Any, kind: type) -> bool:
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)
