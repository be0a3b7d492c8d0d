"""A process of the race of stores: takes cells as lines of JSON, asks and tells as fast as it can, says what it took.

A cell is {"mode": ours | optuna, "url", "name", "sampler", "seed", "seconds"}. The process answers `ready` in its
first trial, waits for `go`, and answers with the seconds between two evaluations of the objective: all that the
loop does.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna

from benchmarks.rig import light
from kirigami.search.loop import Loop

TPE = {"multivariate": True, "group": True, "constant_liar": True}


class Clock:
    """The objective: a bowl without work, that notes the seconds since it was last left."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._left = 0.0
        self._until = float("inf")
        self.gaps: list[float] = []
        self.errors = 0

    def height(self, values: Mapping[str, float]) -> float:
        """Evaluate; the first time, wait for the others."""
        now = time.perf_counter()
        if self._left:
            self.gaps.append(now - self._left)
        else:
            print("ready", flush=True)
            sys.stdin.readline()
            self._until = time.perf_counter() + self._seconds
        self._left = time.perf_counter()
        return sum((value - 0.3) ** 2 for value in values.values())

    def is_over(self) -> bool:
        return time.perf_counter() >= self._until


def ours(cell: Mapping[str, Any], clock: Clock) -> None:
    """Run the loop of every study until the time is over."""
    loop: Loop = light.loop_of({**cell, "trials": None, "reports": 1, "heartbeat_s": 10, "grace_s": 60})

    def evaluate(config: Mapping[str, float]) -> Iterator[tuple[int, float]]:
        yield 1, clock.height(config)

    loop.runner = light.surrogate(evaluate, "height")
    loop.stop_requested = clock.is_over
    loop.run()
    assert loop.storage is not None
    loop.storage.engine.dispose()  # this process goes on to other cells


def plain(cell: Mapping[str, Any], clock: Clock) -> None:
    """Run `study.optimize`, over the same space, sampler and store; what it cannot write is tried again and counted."""
    url = cell["url"].replace("postgresql://", "postgresql+psycopg://", 1)
    make: Callable[..., Any] = optuna.samplers.RandomSampler
    if cell["sampler"] == "tpe":
        make = optuna.samplers.TPESampler
    sampler = make(seed=cell["seed"], **(TPE if cell["sampler"] == "tpe" else {}))
    storage = optuna.storages.RDBStorage(url)
    study = optuna.load_study(study_name=cell["name"], storage=storage, sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        return clock.height({f"x{index}": trial.suggest_float(f"x{index}", 0.0, 1.0) for index in range(8)})

    def stop(study: optuna.Study, _trial: optuna.trial.FrozenTrial) -> None:
        if clock.is_over():
            study.stop()

    while not clock.is_over():
        try:
            study.optimize(objective, callbacks=[stop])
        except optuna.exceptions.StorageInternalError:
            clock.errors += 1
    storage.engine.dispose()


def main() -> None:
    """Run one cell per line of standard input."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for line in iter(sys.stdin.readline, ""):
        cell = json.loads(line)
        clock = Clock(cell["seconds"])
        {"ours": ours, "optuna": plain}[cell["mode"]](cell, clock)
        print(json.dumps({"gaps": clock.gaps, "errors": clock.errors}), flush=True)


if __name__ == "__main__":
    main()
