"""What an expert believes about one dimension, and how fast the belief fades."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from kirigami.spaces.paths import copied

FADE = 10.0  # trials after which a belief counts half


@dataclass(frozen=True)
class Prior:
    """Believe that a good value lies near `value`.

    Args:
        value: the believed value, within the dimension.
        weight: probability, in [0, 1], that an early trial draws from the belief instead of from the sampler.
        spread: standard deviation of the belief, as a fraction of the (logarithmic) range; unused for choices.
    """

    value: Any
    weight: float = 0.5
    spread: float = 0.15

    def chance(self, number: int) -> float:
        """Return the probability that trial `number` draws from the belief: weight / (1 + number / 10)."""
        return self.weight / (1.0 + number / FADE)

    def draw_near(self, centre: float, generator: np.random.Generator) -> float:
        """Draw from the normal around `centre`, truncated to [0, 1], by inversion of its distribution function."""
        normal = NormalDist(centre, self.spread)
        below, up_to = normal.cdf(0.0), normal.cdf(1.0)
        share = below + generator.random() * (up_to - below)
        # The inverse is open at both ends, which rounding can reach.
        return min(max(normal.inv_cdf(min(max(share, 1e-300), 1.0 - 1e-16)), 0.0), 1.0)

    def to_config(self) -> dict[str, Any]:
        """Return the canonical form."""
        return {"value": copied(self.value), "weight": self.weight, "spread": self.spread}
