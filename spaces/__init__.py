"""What may vary: dimensions with conditions and beliefs, the budget, and the sampler that heeds both."""

from spaces.budget import Budget
from spaces.condition import Condition
from spaces.dimension import Dimension
from spaces.prior import Prior
from spaces.sampler import PriorSampler
from spaces.space import Space

# Another distribution installs a package of this name too; the check at start reads this marker.
KIRIGAMI = True

__all__ = ["KIRIGAMI", "Budget", "Condition", "Dimension", "Prior", "PriorSampler", "Space"]
