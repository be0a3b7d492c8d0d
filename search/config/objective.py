"""What a study is judged by: `objective:`, in the three forms that a config may have, as one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kirigami.search.errors import InputError, one_of

DIRECTIONS = ("maximize", "minimize")


def named(setting: Any) -> dict[str, str | None]:
    """Return metric name -> direction, None where the metric itself knows it.

    Args:
        setting: a name, a list of names, or names with their directions.

    Raises:
        InputError: where it is none of these.
    """
    if isinstance(setting, Mapping) and setting:
        for name, direction in setting.items():
            if direction not in DIRECTIONS:
                raise one_of(f"objective.{name}", direction, DIRECTIONS)
        return dict(setting)
    names = [setting] if isinstance(setting, str) else setting
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"objective must be a metric's name or a list of them, but got {setting!r}. Set objective=accuracy."
        )
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise InputError(f"objective names {twice!r} twice in {list(names)!r}. Remove one.")
    return dict.fromkeys(names)


def directed(objectives: Mapping[str, str | None], direction_of: Callable[[str], str]) -> dict[str, str]:
    """Return metric name -> direction, as the metric has it where the config does not say."""
    return {name: direction or direction_of(name) for name, direction in objectives.items()}
