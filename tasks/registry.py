"""Find a task by its name and build it from a config."""

import inspect
from collections.abc import Mapping
from inspect import isclass
from typing import Any

from kirigami.arguments import names
from kirigami.errors import ArgumentError, choose, did_you_mean
from kirigami.targets import KEY, called, located, options_of
from kirigami.tasks.arrays import Arrays
from kirigami.tasks.bundled import BreastCancer, Digits
from kirigami.tasks.images import Images
from kirigami.tasks.paths import Paths
from kirigami.tasks.table import Table
from kirigami.tasks.task import Task
from kirigami.tasks.text import Text

TASKS: dict[str, type[Task]] = {
    "digits": Digits,
    "breast_cancer": BreastCancer,
    "table": Table,
    "images": Images,
    "text": Text,
    "paths": Paths,
}


def build(config: Mapping[str, Any], *, seed: int, test_seed: int | None = None) -> Task:
    """Build the task a config names, its other keys being arguments; `ValueError` in one line if one is wrong.

    `seed` draws the validation rows and the fraction; `test_seed` the test rows, by default the same. Where it has a
    `_target_`, that names a subclass of `Task`, or what gives a user's own rows (see `kirigami.tasks.arrays`).
    """
    if config.get(KEY):
        return _foreign(config, seed, test_seed)
    arguments = {str(key): value for key, value in config.items() if key != "name"}
    name = config.get("name")
    choose("name", name, TASKS)
    cls = TASKS[str(name)]
    _check_arguments(str(name), arguments, inspect.signature(cls).parameters)
    return cls(seed=seed, test_seed=test_seed, **arguments)


def _foreign(config: Mapping[str, Any], seed: int, test_seed: int | None) -> Task:
    """Build the user's own task."""
    path, target = config[KEY], located(config[KEY])
    if isclass(target) and issubclass(target, Task):
        task = called(config, {"seed": seed, "test_seed": test_seed})
        assert isinstance(task, Task)
        return task
    theirs, ours = set(names(target)), set(names(Arrays)) - {"target", "options", "seed", "test_seed"}
    options = options_of(config, target)
    settings = {key: options.pop(key) for key in list(options) if key in ours and key not in theirs}
    return Arrays(target=path, options=options, seed=seed, test_seed=test_seed, **settings)


def _check_arguments(name: str, arguments: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]) -> None:
    allowed = tuple(key for key in parameters if key not in ("seed", "test_seed"))
    for key in arguments:
        if key not in allowed:
            meant = did_you_mean(key, allowed) or f" It has ({', '.join(allowed)})."
            raise ArgumentError(key, f"is no argument of {name}.{meant}")
    for key in allowed:
        if parameters[key].default is inspect.Parameter.empty and key not in arguments:
            raise ArgumentError(key, f"is missing: {name} needs it.", (key, "VALUE"))
