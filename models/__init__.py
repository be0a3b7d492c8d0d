"""What learns: networks, activations, losses, optimisers, schedules, and the module that trains them."""

from models import (
    activations,
    bits,
    calibration,
    communication,
    compact,
    cost,
    entropy,
    graph,
    growth,
    influence,
    initial,
    networks,
    optimizers,
    outputs,
    regimes,
    schedules,
    sharing,
    sparsity,
    structure,
)
from models.loading import load
from models.module import Learner
from models.networks import build_network

# Another distribution may install a package of this name; the check at start reads this marker.
KIRIGAMI = True

__all__ = [
    "KIRIGAMI",
    "Learner",
    "activations",
    "bits",
    "build_network",
    "calibration",
    "communication",
    "compact",
    "cost",
    "entropy",
    "graph",
    "growth",
    "influence",
    "initial",
    "load",
    "networks",
    "optimizers",
    "outputs",
    "regimes",
    "schedules",
    "sharing",
    "sparsity",
    "structure",
]
