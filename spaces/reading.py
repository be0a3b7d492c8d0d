"""Read a space, a tree that mirrors the config, into dimensions; report an error in one line."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kirigami.errors import did_you_mean
from kirigami.spaces.dimension import Dimension
from kirigami.spaces.paths import is_branch, leaves, nearest_path
from kirigami.spaces.ranges import KEYS, read_dimension

FORMS = "{low: a, high: b} or {choices: [...]}"


def read_space(space: Mapping[str, Any] | None, config: Mapping[str, Any]) -> Iterator[Dimension]:
    """Yield the dimensions of `space`, each standing where `config` has a leaf.

    Raises:
        ValueError: a path that the config lacks, or a dimension that makes no sense, in one line.
    """
    if space is not None and not isinstance(space, Mapping):
        raise ValueError(f"space must be a mapping that mirrors the config, but got {space!r}.")
    yield from _read_branch(space or {}, config, (), config)


def _read_branch(
    node: Mapping[str, Any], branch: Mapping[str, Any], path: tuple[str, ...], config: Mapping[str, Any]
) -> Iterator[Dimension]:
    for key, child in node.items():
        below, default = _descend(str(key), branch, path, config)
        name = ".".join(below)
        if not is_branch(default):
            _check_leaf(name, child, default)
            yield read_dimension(name, child)
        elif _is_distribution(child, default):
            names = ", ".join(f"space.{name}.{leaf}" for leaf, _ in list(leaves(default))[:4])
            raise ValueError(f"space.{name} is a branch of the config, not a leaf. Vary one of its leaves: {names}.")
        elif child is not None and not isinstance(child, Mapping):
            raise ValueError(f"space.{name} must be a mapping of the leaves of {name}, but got {child!r}.")
        else:
            yield from _read_branch(child or {}, default, below, config)


def _descend(key: str, branch: Any, path: tuple[str, ...], config: Mapping[str, Any]) -> tuple[tuple[str, ...], Any]:
    """Follow `key`, which may hold dots, below `branch`; return the path reached and the config's value there."""
    for part in key.split("."):
        here = ".".join((*path, part))
        if not is_branch(branch):
            raise _below_leaf(".".join(path), here, branch)
        if part not in branch:
            paths = [*(".".join((*path, str(name))) for name in branch), *(leaf for leaf, _ in leaves(config))]
            raise ValueError(f"space.{here}: no such path in the config.{nearest_path(here, paths, 'space.')}")
        branch, path = branch[part], (*path, part)
    return path, branch


def _is_distribution(node: Any, branch: Mapping[str, Any]) -> bool:
    return isinstance(node, Mapping) and any(key in node and key not in branch for key in ("low", "high", "choices"))


def _check_leaf(name: str, node: Any, default: Any) -> None:
    if isinstance(node, list | tuple):
        raise ValueError(f"space.{name} must be {FORMS}, but got {list(node)!r}. Write {{choices: {list(node)!r}}}.")
    if not isinstance(node, Mapping):
        fix = f"To fix a value use ~space.{name} {name}={_written(node)}."
        raise ValueError(f"space.{name} must be {FORMS}, but got {node!r}. {fix}")
    if node and all(key not in KEYS and isinstance(child, Mapping) for key, child in node.items()):
        raise _below_leaf(name, f"{name}.{next(iter(node))}", default)
    for key in node:
        if key not in KEYS:
            keys = f"({', '.join(KEYS)})"
            raise ValueError(f"space.{name} has the unknown key {key!r}; it takes {keys}.{did_you_mean(key, KEYS)}")


def _below_leaf(leaf: str, path: str, default: Any) -> ValueError:
    advice = f"Put the distribution on space.{leaf}."
    return ValueError(f"space.{path}: {leaf} is a leaf of the config ({default!r}), nothing stands below it. {advice}")


def _written(value: Any) -> str:
    """Write a scalar as a command line takes it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
