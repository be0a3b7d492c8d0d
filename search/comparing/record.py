"""Finished runs on disk, one JSON line each: a killed comparison goes on with what is not there yet."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kirigami.search.config.groups import QUESTION
from kirigami.search.config.identity import identity
from kirigami.search.files import append_line, lines

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
        value = self.metrics.get(metric) if self.state == "complete" else None
        return float("nan") if value is None else value


class Record:
    """The finished runs in a file: appended, never rewritten; a line cut in half by a kill is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def runs(self) -> dict[Key, Run]:
        """Return the runs by identity and seed; of two with the same key the first that did not fail stands."""
        runs: dict[Key, Run] = {}
        for line in lines(self.path):
            try:
                run = Run(**line)
            except TypeError:  # of another version
                continue
            key = (run.identity, run.seed)
            if key not in runs or runs[key].state == "failed":
                runs[key] = run
        return runs

    def append(self, run: Run) -> None:
        """Write a run and wait until it is on the disk."""
        append_line(self.path, asdict(run))


def digest(content: Any) -> str:
    """Return 16 hex digits of the SHA-256 of plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _meaning(config: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in identity(config).items() if path.partition(".")[0] not in QUESTION}
