"""Models: networks, activations, losses, optimisers, schedules, compression, and the module that trains them."""

from kirigami.models import (
    activations,
    bits,
    calibration,
    communication,
    compact,
    cost,
    entropy,
    graph,
    growth,
    initial,
    networks,
    optimizers,
    outputs,
    regimes,
    saliency,
    schedules,
    sharing,
    sparsity,
    structure,
)
from kirigami.models.loading import load
from kirigami.models.module import Learner
from kirigami.models.networks import build_network

__all__ = [
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
    "initial",
    "load",
    "networks",
    "optimizers",
    "outputs",
    "regimes",
    "saliency",
    "schedules",
    "sharing",
    "sparsity",
    "structure",
]
