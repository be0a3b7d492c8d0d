"""What a `_target_` names: anybody's class or function, imported and called, with errors a user can act on."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kirigami.arguments import accept, names
from kirigami.errors import ArgumentError, did_you_mean

KEY = "_target_"


def located(path: object) -> Callable[..., Any]:
    """Import "package.module.name", the class or function of a `_target_`.

    Raises:
        ArgumentError: it is no such path, cannot be imported, or cannot be called.
    """
    module, _, attribute = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    if not module:
        raise ArgumentError(KEY, f"must be of the form package.module.Class, but got {path!r}.")
    try:
        holder = importlib.import_module(module)
    except ImportError as error:
        raise ArgumentError(KEY, f"={path} cannot be imported: {error}. Is its folder on PYTHONPATH?") from error
    except (Exception, SystemExit) as error:  # whatever the user's own module raises, they are told that it did
        raise ArgumentError(KEY, f"={path} raised {type(error).__name__} on import: {error}") from error
    if not hasattr(holder, attribute):
        near = did_you_mean(attribute, (name for name in dir(holder) if not name.startswith("_")))
        raise ArgumentError(KEY, f"={path} cannot be imported: {module} has no {attribute!r}.{near}")
    target = getattr(holder, attribute)
    if not callable(target):
        raise ArgumentError(KEY, f"must name a class or a function, but {path} is of type {type(target).__name__}.")
    return target  # type: ignore[no-any-return]


def options_of(config: Mapping[str, Any], target: Callable[..., Any], *ours: str) -> dict[str, Any]:
    """Return the keys of a config that are arguments of its target.

    Left out are `_target_`, those of ours, and a `name`, which another choice of the group may have left there, unless
    the target's signature has it.
    """
    left_out = {KEY, *ours} | ({"name"} - set(names(target)))
    return {key: value for key, value in config.items() if key not in left_out}


def called(config: Mapping[str, Any], provided: Mapping[str, Any], *ours: str) -> Any:
    """Call the target of a config with its other keys, and with those of `provided` that its signature names.

    Args:
        config: `{_target_: package.module.Class, width: 3}`.
        provided: values of the program.
        ours: keys of the config that are none of the target's arguments.

    Raises:
        ArgumentError: the target cannot be had, does not take a key, lacks one, or raises something.
    """
    path = config[KEY]
    target = located(path)
    return run(path, target, accept(target, options_of(config, target, *ours), name=str(path), provided=provided))


def run(path: object, target: Callable[..., Any], arguments: Mapping[str, Any], *first: Any) -> Any:
    """Call a target; whatever it raises becomes one line that names it.

    Raises:
        ArgumentError: it raised something.
    """
    with blamed(path):
        return target(*first, **arguments)


@contextmanager
def blamed(path: object) -> Iterator[None]:
    """Turn whatever is raised meanwhile into one line that names a target, which did that.

    Raises:
        ArgumentError: something was raised.
    """
    try:
        yield
    except ArgumentError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArgumentError(KEY, f"={path} raised {type(error).__name__}: {reason}") from error


def leading(target: Callable[..., Any], count: int) -> list[str]:
    """Return the names of a function's first parameters, which the program passes by their place."""
    return names(target)[:count]
