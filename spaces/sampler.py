"""Sample with any Optuna sampler, so that a resumed study goes on as if undisturbed, and with beliefs."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from kirigami.spaces.dimension import Dimension, encode
from kirigami.spaces.space import Space
from kirigami.spaces.window import Window


def derive_seed(*parts: Any) -> int:
    """Return 32 bits that depend on `parts` alone: the same in every process and on every machine."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


class PriorSampler(BaseSampler):
    """Give each trial its own inner sampler, seeded by the trial's position, and mix in the beliefs of the space.

    A trial's draws depend on the seed, its position and the trials stored so far, never on earlier draws of this
    process. So a resumed study continues as if undisturbed, and workers that share a seed never draw the same numbers.

    The first trial takes the believed value of every dimension that has one. Later trials draw from the belief instead
    of the inner sampler with probability weight / (1 + place / 10), independently per dimension. That a belief fades
    as trials accumulate is the idea of Hvarfner et al., "PiBO: Augmenting Acquisition Functions with User Beliefs
    for Bayesian Optimization" (ICLR 2022); here it fades in a mixture, which suits samplers without an acquisition
    function.

    Args:
        base: makes an inner sampler from a seed below 2**32. It is called once per trial and decides what the seed
            is for: a quasi-random sequence or a grid, whose position lies in the storage, needs one seed for the
            whole study, so there only the independent sampler takes the seed given.
        space: the space whose beliefs are heeded.
        seed: seed of the study.
        place: which trial of the search it is, from 0; its number, unless some trials repeat or replace others.
        window: how many finished trials the inner sampler sees, the best and the latest; None shows all of them.
    """

    def __init__(
        self,
        base: Callable[[int], BaseSampler],
        space: Space,
        seed: int,
        place: Callable[[Study, FrozenTrial], int] = lambda study, trial: trial.number,
        window: int | None = None,
    ) -> None:
        self._base = base
        self._window = Window(window) if window is not None else None
        self._seed = seed
        self._place = place
        self._believed: Mapping[str, Dimension] = {
            dimension.path: dimension for dimension in space.dimensions if dimension.prior is not None
        }
        # Several trials may be asked for before any of them is told, so each keeps its own until then.
        self._inner: dict[int, tuple[BaseSampler, int, Study]] = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed an inner sampler for `trial`."""
        inner, _, seen = self._renew(study, trial)
        inner.before_trial(seen, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the dimensions that the inner sampler draws jointly."""
        inner, _, seen = self._of(study, trial)
        return inner.infer_relative_search_space(seen, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the joint draw of the inner sampler, some of it replaced by beliefs."""
        inner, place, seen = self._of(study, trial)
        drawn = inner.sample_relative(seen, trial, search_space)
        beliefs = {path: self._belief(place, path, search_space[path]) for path in drawn if path in self._believed}
        return drawn | {path: belief[0] for path, belief in beliefs.items() if belief}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a belief or, more and more often, the draw of the inner sampler."""
        inner, place, seen = self._of(study, trial)
        belief = self._belief(place, param_name, param_distribution)
        if belief:
            return belief[0]
        return inner.sample_independent(seen, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Let the inner sampler note the end of `trial`, and let go of it."""
        self._of(study, trial)[0].after_trial(study, trial, state, values)
        self._inner.pop(trial.number, None)

    def _of(self, study: Study, trial: FrozenTrial) -> tuple[BaseSampler, int, Study]:
        return self._inner.get(trial.number) or self._renew(study, trial)

    def _renew(self, study: Study, trial: FrozenTrial) -> tuple[BaseSampler, int, Study]:
        place = self._place(study, trial)
        seen = study if self._window is None else self._window.over(study)
        self._inner[trial.number] = self._base(derive_seed(self._seed, place)), place, seen
        return self._inner[trial.number]

    def _belief(self, place: int, path: str, distribution: BaseDistribution) -> tuple[Any, ...]:
        """Return (value,) drawn from the belief about `path`, as Optuna stores it, or () to leave it to the sampler."""
        dimension = self._believed.get(path)
        if dimension is None or dimension.prior is None or dimension.distribution != distribution:
            return ()
        if place == 0:
            return (encode(dimension.prior.value),)
        # One generator per trial and dimension: whether others draw, and in which order, changes nothing.
        generator = np.random.default_rng(derive_seed(self._seed, place, path))
        if generator.random() >= dimension.prior.chance(place):
            return ()
        return (encode(dimension.draw_prior(generator)),)
