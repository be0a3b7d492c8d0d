"""What may vary: dimensions with conditions and beliefs, the budget, and the sampler that heeds both."""

from kirigami.spaces.budget import Budget
from kirigami.spaces.condition import Condition
from kirigami.spaces.dimension import Dimension
from kirigami.spaces.prior import Prior
from kirigami.spaces.sampler import PriorSampler
from kirigami.spaces.space import Space

__all__ = ["Budget", "Condition", "Dimension", "Prior", "PriorSampler", "Space"]
