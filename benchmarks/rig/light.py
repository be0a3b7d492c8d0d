"""A worker without torch: the loop of every study over a formula that sleeps, so that many fit on few cores.

Takes one argument, a JSON object: url, name, trials, reports, pause (seconds between them), sampler, dimensions,
heartbeat_s, grace_s.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import optuna

from kirigami.search import storage
from kirigami.search.config.sampler import Random
from kirigami.search.config.settings import Proposal
from kirigami.search.loop import Loop
from kirigami.search.proposal import samplers
from kirigami.search.proposal.pruners import Pruning
from kirigami.search.study import study
from kirigami.search.study.ledger import Ledger
from kirigami.search.training.runners import surrogate
from kirigami.spaces import Budget, PriorSampler, Space

DEFAULTS = {"reports": 3, "pause": 0.05, "sampler": "random", "seed": 0, "dimensions": 8}
BEATS = {"heartbeat_s": 1, "grace_s": 3}


def space_of(dimensions: int) -> tuple[Space, dict[str, Any]]:
    """Return a space of so many real dimensions, and the config it varies."""
    config = {f"x{index}": 0.5 for index in range(dimensions)}
    return Space.from_config({name: {"low": 0.0, "high": 1.0} for name in config}, config), config


def evaluate(config: Mapping[str, float], reports: int, pause: float) -> Iterator[tuple[int, float]]:
    """Report a bowl's height, lower at each report."""
    height = sum((value - 0.3) ** 2 for value in config.values())
    for report in range(1, reports + 1):
        time.sleep(pause)
        yield report, height + 1 / report


def loop_of(orders: Mapping[str, Any]) -> Loop:
    """Join the study as a worker does."""
    orders = {**DEFAULTS, **BEATS, **orders}
    space, config = space_of(orders["dimensions"])
    store = storage.open_storage(storage.Settings.read({key: orders[key] for key in ("url", *BEATS)}), patient=True)
    joined = study.create(store, orders["name"], {"height": "minimize"}, {"space": orders["dimensions"]})
    tpe = {"multivariate": True, "group": True, "constant_liar": True} if orders["sampler"] == "tpe" else {}
    sampler = Proposal.read({"sampler": {"name": orders["sampler"], **tpe}}).sampler
    factory = samplers.sampler_factory(sampler, orders["seed"])
    ledger = Ledger()
    joined.sampler = PriorSampler(
        factory,
        space,
        orders["seed"],
        place=lambda _, trial: ledger.read(joined).place(trial),
        window=sampler.sees(),
    )
    return Loop(
        study=joined,
        space=space,
        runner=surrogate(lambda given: evaluate(given, orders["reports"], orders["pause"]), "height"),
        budget=Budget(trials=orders["trials"]),
        prepare=lambda values: space.apply(config, values),
        storage=store,
        judge=Pruning(rungs=tuple(range(1, orders["reports"]))),
        ledger=ledger,
    )


def draws(seed: int, trials: int, space: Space) -> set[tuple[Any, ...]]:
    """Return the configurations that an undisturbed study of the random sampler tries, as the store keeps them."""
    undisturbed = optuna.create_study(sampler=PriorSampler(samplers.sampler_factory(Random(), seed), space, seed))
    drawn = set()
    for _ in range(trials):
        trial = undisturbed.ask()
        space.suggest(trial)
        stored = {name: kind.to_internal_repr(trial.params[name]) for name, kind in trial.distributions.items()}
        drawn.add(tuple((name, round(value, 12)) for name, value in sorted(stored.items())))
        undisturbed.tell(trial, 0.0)
    return drawn


if __name__ == "__main__":
    print(loop_of(json.loads(sys.argv[1])).run(), flush=True)
