"""Sample with any Optuna sampler, so that a resumed study goes on as if undisturbed, and with beliefs."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from spaces.dimension import Dimension, encode
from spaces.space import Space


def derive_seed(*parts: Any) -> int:
    """Return 32 bits that depend on `parts` alone: the same in every process and on every machine."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


class PriorSampler(BaseSampler):
    """Give each trial its own inner sampler, seeded by the trial's number, and mix in the beliefs of the space.

    A trial's draws depend on the seed, its number and the trials stored so far, never on what this process drew
    before. So a study that was stopped goes on as it would have, and workers that share a seed never draw the same
    numbers.

    Trial 0 takes the believed value of every dimension that has one. Later trials draw from the belief instead of
    the inner sampler with probability weight / (1 + number / 10), independently per dimension. That a belief fades
    as trials accumulate is the idea of Hvarfner et al., "PiBO: Augmenting Acquisition Functions with User Beliefs
    for Bayesian Optimization" (ICLR 2022); here it fades in a mixture, which suits samplers without an acquisition
    function.

    Args:
        base: makes an inner sampler from a seed below 2**32. It is called once per trial and decides what the seed
            is for: a quasi-random sequence or a grid, whose position lies in the storage, needs one seed for the
            whole study, so there only the independent sampler takes the seed given.
        space: the space whose beliefs are heeded.
        seed: seed of the study.
    """

    def __init__(self, base: Callable[[int], BaseSampler], space: Space, seed: int) -> None:
        self._base = base
        self._seed = seed
        self._believed: Mapping[str, Dimension] = {one.path: one for one in space.dimensions if one.prior is not None}
        # Several trials may be asked for before any of them is told, so each keeps its own until then.
        self._inner: dict[int, BaseSampler] = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed an inner sampler for `trial`."""
        self._renew(trial).before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what the inner sampler wants to draw jointly."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the joint draw of the inner sampler, some of it replaced by beliefs."""
        drawn = self._of(trial).sample_relative(study, trial, search_space)
        believed = {
            path: self._belief(trial.number, path, search_space[path]) for path in drawn if path in self._believed
        }
        return drawn | {path: found[0] for path, found in believed.items() if found}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a belief or, more and more often, the draw of the inner sampler."""
        found = self._belief(trial.number, param_name, param_distribution)
        if found:
            return found[0]
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Let the inner sampler note the end of `trial`, and let go of it."""
        self._of(trial).after_trial(study, trial, state, values)
        self._inner.pop(trial.number, None)

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        return self._inner.get(trial.number) or self._renew(trial)

    def _renew(self, trial: FrozenTrial) -> BaseSampler:
        inner = self._base(derive_seed(self._seed, trial.number))
        self._inner[trial.number] = inner
        return inner

    def _belief(self, number: int, path: str, distribution: BaseDistribution) -> tuple[Any, ...]:
        """Return (value,) drawn from the belief about `path`, as Optuna stores it, or () to leave it to the sampler."""
        dimension = self._believed.get(path)
        if dimension is None or dimension.prior is None or dimension.distribution != distribution:
            return ()
        if number == 0:
            return (encode(dimension.prior.value),)
        # One generator per trial and dimension: whether others draw, and in which order, changes nothing.
        generator = np.random.default_rng(derive_seed(self._seed, number, path))
        if generator.random() >= dimension.prior.chance(number):
            return ()
        return (encode(dimension.draw_prior(generator)),)
