"""Finished runs on disk, one JSON line each: a killed comparison goes on with what is not there yet."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from kirigami.search.config.identity import identity

# What may change without changing what a run of an arm comes to; its seed is told apart.
BESIDE = ("seed", "space", "budget", "objective")
Key = tuple[str, int]


@dataclass(frozen=True)
class Arm:
    """One of the configs that are compared.

    Attributes:
        label: its value as it is shown.
        config: resolved; the seed in it is replaced by that of the repeat.
        value: what the dimension is set to.
        data: fingerprint of its training and validation rows, and whose test rows are left out of them.
    """

    label: str
    config: Mapping[str, Any]
    value: Any = None
    data: str = ""

    @property
    def identity(self) -> str:
        """Return 16 hex digits over all that a run depends on but its seed."""
        return digest({"config": _meaning(self.config), "data": self.data})


@dataclass(frozen=True)
class Run:
    """How one arm did under one seed.

    Attributes:
        identity: of the arm.
        state: complete or failed.
        metrics: of the last validation, and the costs; a value that is no number is None.
        fit_s: seconds of training.
    """

    identity: str
    seed: int
    arm: str
    state: str
    metrics: dict[str, float | None] = field(default_factory=dict)
    fit_s: float = 0.0
    reason: str | None = None

    def value(self, metric: str) -> float:
        """Return a metric; NaN where the run failed or diverged."""
        found = self.metrics.get(metric) if self.state == "complete" else None
        return float("nan") if found is None else found


class Record:
    """The finished runs in a file: appended, never rewritten; a line cut in half by a kill is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def runs(self) -> dict[Key, Run]:
        """Return the runs by identity and seed; of two with the same key the first that did not fail stands."""
        found: dict[Key, Run] = {}
        for line in lines(self.path):
            try:
                run = Run(**line)
            except TypeError:  # of another version
                continue
            key = (run.identity, run.seed)
            if key not in found or found[key].state == "failed":
                found[key] = run
        return found

    def append(self, run: Run) -> None:
        """Write a run and wait until it is on the disk."""
        append_line(self.path, asdict(run))


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects in a file of JSON lines that can be read; none where there is no file."""
    if not path.exists():
        return []
    found = []
    for text in path.read_bytes().split(b"\n"):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            found.append(line)
    return found


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add an object to a file of JSON lines, on a line of its own even after one that was cut in half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        begin = b"" if file.read(1) in (b"", b"\n") else b"\n"
        file.write(begin + json.dumps(_storable(line), allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a result to a temporary name and rename: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(as_json(content) + "\n")
    unfinished.replace(path)


def stored(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain data as a reader of the file gets it: a number that is none is None."""
    plain: dict[str, Any] = json.loads(as_json(content))
    return plain


def as_json(content: Any) -> str:
    """Return JSON in which a number that is none is null."""
    return json.dumps(_storable(content), indent=2, allow_nan=False)


def digest(content: Any) -> str:
    """Return 16 hex digits of the SHA-256 of plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _meaning(config: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in identity(config).items() if path.partition(".")[0] not in BESIDE}


def _storable(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _storable(child) for key, child in node.items()}
    if isinstance(node, list | tuple):
        return [_storable(child) for child in node]
    return None if isinstance(node, float) and not isfinite(node) else node
