"""One leaf of the config that may vary: a range of numbers or a list of choices."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, log
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from kirigami.spaces.condition import Condition, is_number
from kirigami.spaces.paths import copied
from kirigami.spaces.prior import Prior


def encode(value: Any) -> Any:
    """Return the form that Optuna stores for a choice: lists and mappings as JSON text, scalars as they are."""
    return json.dumps(value, sort_keys=True) if isinstance(value, list | tuple | dict) else value


@dataclass(frozen=True)
class Dimension:
    """Say which values the leaf at `path` may take.

    Either `low` and `high` are given (both ints: the values are ints) or `choices`. Read one from a config with
    `Space.from_config`, which checks what this class takes for granted.

    Args:
        path: dotted path of the leaf, also the name of the Optuna parameter.
        low, high: ends of the range, both included.
        log: whether the range is searched on a logarithmic scale.
        step: distance between neighbouring values, counted from `low`; divides the range.
        choices: the values of a categorical dimension; lists and mappings are allowed.
        when: conditions that must all hold, else the leaf keeps its value in the config.
        prior: what an expert believes.
    """

    path: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] | None = None
    when: tuple[Condition, ...] = ()
    prior: Prior | None = None

    @cached_property
    def distribution(self) -> BaseDistribution:
        """Return the Optuna distribution."""
        if self.choices is not None:
            return CategoricalDistribution(self._encoded)
        if isinstance(self.low, int):
            return IntDistribution(self.low, self.high, log=self.log, step=self.step or 1)
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    @cached_property
    def _encoded(self) -> tuple[Any, ...]:
        return tuple(encode(choice) for choice in self.choices or ())

    @cached_property
    def _decoded(self) -> dict[str, Any]:
        pairs = zip(self._encoded, self.choices or (), strict=True)
        return {code: choice for code, choice in pairs if isinstance(code, str) and code is not choice}

    def suggest(self, trial: BaseTrial) -> Any:
        """Ask `trial` for a value, as the config takes it."""
        if self.choices is not None:
            return self.decode(trial.suggest_categorical(self.path, self._encoded))
        if isinstance(self.low, int):
            return trial.suggest_int(self.path, self.low, self.high, log=self.log, step=self.step or 1)
        return trial.suggest_float(self.path, self.low, self.high, log=self.log, step=self.step)

    def decode(self, stored: Any) -> Any:
        """Return the choice that Optuna stores as `stored`; any other value comes back as it is."""
        if isinstance(stored, str) and stored in self._decoded:
            return copied(self._decoded[stored])
        return stored

    @property
    def ends(self) -> Sequence[Any]:
        """Return the values worth trying first: every choice, or both ends of the range."""
        return self.choices if self.choices is not None else (self.low, self.high)

    def contains(self, value: Any) -> bool:
        """Tell whether the dimension can take `value`."""
        if self.choices is not None:
            return value in self.choices
        if not is_number(value) or not self.low <= value <= self.high or (self.integer and not isinstance(value, int)):
            return False
        return self.step is None or abs(self.snap(value) - value) < 1e-8 * self.step

    @property
    def integer(self) -> bool:
        """Tell whether the values are ints."""
        return isinstance(self.low, int)

    def snap(self, number: float) -> Any:
        """Return the value of a range that is nearest to `number`."""
        assert self.low is not None
        assert self.high is not None
        clipped = min(max(number, self.low), self.high)
        step = self.step or (1 if self.integer else None)
        return clipped if step is None else min(self.low + round((clipped - self.low) / step) * step, self.high)

    def draw_prior(self, generator: np.random.Generator) -> Any:
        """Draw from the belief: near its value on the (logarithmic) range, or the believed choice itself."""
        assert self.prior is not None
        if self.choices is not None:
            return self.prior.value
        assert self.low is not None
        assert self.high is not None
        scale = log if self.log else float
        low, high, value = scale(self.low), scale(self.high), scale(self.prior.value)
        drawn = low + (high - low) * self.prior.draw_near((value - low) / (high - low), generator)
        return self.snap(exp(drawn) if self.log else drawn)

    def to_config(self) -> dict[str, Any]:
        """Return the canonical form: only what is set, conditions sorted by path."""
        config: dict[str, Any] = {"low": self.low, "high": self.high}
        if self.choices is not None:
            config = {"choices": copied(self.choices)}
        if self.log:
            config["log"] = True
        if self.step is not None:
            config["step"] = self.step
        if self.when:
            config["when"] = {condition.path: condition.to_config() for condition in self.when}
        if self.prior is not None:
            config["prior"] = self.prior.to_config()
        return config
