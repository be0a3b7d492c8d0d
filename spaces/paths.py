"""Dotted paths into a nested configuration: the leaves, replacing them, and naming the nearest valid one."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kirigami.errors import closest


def is_branch(node: Any) -> bool:
    """Tell whether `node` has leaves below it. An empty mapping is itself a leaf."""
    return isinstance(node, Mapping) and len(node) > 0


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) of every leaf of `config`, in its order."""
    for key, node in config.items():
        path = f"{prefix}{key}"
        if is_branch(node):
            yield from leaves(node, f"{path}.")
        else:
            yield path, node


def copied(node: Any) -> Any:
    """Copy nested mappings and lists as plain dicts and lists; the scalars in them are shared."""
    if isinstance(node, Mapping):
        return {key: copied(child) for key, child in node.items()}
    if isinstance(node, list | tuple):
        return [copied(child) for child in node]
    return node


def replace_leaf(config: dict[str, Any], path: str, value: Any) -> None:
    """Put `value` at the dotted `path` of `config`, in place.

    Raises:
        ValueError: `path` is no leaf of `config`.
    """
    *branches, last = path.split(".")
    node: Any = config
    for key in branches:
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node or is_branch(node[last]):
        paths = [name for name, _ in leaves(config)]
        raise ValueError(f"{path}: no such leaf in the config.{nearest_path(path, paths)}")
    node[last] = value


def nearest_path(path: str, paths: Iterable[str], prefix: str = "") -> str:
    """Return " Did you mean a.b?" for the one of `paths` that was most likely meant by `path`, or "".

    First a similar key in the same branch, then the same key in another branch, then the most similar path.
    """
    paths = list(paths)
    branch, _, key = path.rpartition(".")
    siblings = {name.rpartition(".")[2]: name for name in paths if name.rpartition(".")[0] == branch}
    like = closest(key, siblings)
    elsewhere = next((name for name in paths if name.rpartition(".")[2] == key), None)
    meant = siblings[like] if like is not None else elsewhere or closest(path, paths)
    return "" if meant is None else f" Did you mean {prefix}{meant}?"


def listed(values: Iterable[Any]) -> str:
    """Write the allowed `values` as `(a, b, c)`, strings without quotes."""
    return f"({', '.join(value if isinstance(value, str) else repr(value) for value in values)})"
