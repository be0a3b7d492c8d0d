"""Configurations drawn from a study's space by lot, the same ones each time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from kirigami.search.comparing.record import Arm, digest
from kirigami.search.config.resolve import resolve
from kirigami.search.config.sampler import Random
from kirigami.search.proposal.samplers import sampler_factory
from kirigami.spaces import PriorSampler, Space
from kirigami.spaces.sampler import derive_seed

ATTEMPTS = 20  # for each draw: a small space may have few configurations


@dataclass(frozen=True)
class Draw:
    """One configuration.

    Attributes:
        number: from 0.
        params: as Optuna stores them.
        arm: what is trained.
    """

    number: int
    params: dict[str, Any]
    arm: Arm

    @property
    def key(self) -> str:
        """Return what tells a trial of the study that it stands for this draw."""
        return digest(self.params)


def draw(raw: Mapping[str, Any], space: Space, count: int, epochs: int, *, seed: int, data: str) -> list[Draw]:
    """Draw different configurations by lot, beliefs heeded; fewer than `count` where the space has no more.

    The numbers differ from those of the search under the same seed, which would otherwise draw again what was screened
    out. More draws begin with the same ones.

    Args:
        raw: the composed config.
        count: how many.
        epochs: for which each is trained.
        seed: the study's.
        data: fingerprint of the rows.
    """
    own_seed = derive_seed("screen", seed)
    sampler = PriorSampler(sampler_factory(Random(), own_seed), space, own_seed)
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), sampler=sampler)
    draws: dict[str, Draw] = {}
    for _ in range(ATTEMPTS * count):
        if len(draws) == count:
            break
        trial = study.ask()
        config = resolve({**space.apply(raw, space.suggest(trial)), "space": {}})
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        config["trainer"] = {**config["trainer"], "epochs": epochs, "steps": None, "val_every": 1}
        drawn = Draw(len(draws), dict(trial.params), Arm(f"draw {len(draws)}", config, len(draws), data))
        draws.setdefault(drawn.key, drawn)
    return list(draws.values())
