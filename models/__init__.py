"""Models: networks, activations, losses, optimisers, schedules, compression, and the module that trains them.

Torch is loaded with the first name that needs it; reading a compact file needs none.
"""

from typing import TYPE_CHECKING

from kirigami.on_demand import on_demand

if TYPE_CHECKING:
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
else:
    __getattr__ = on_demand(
        __name__,
        {"loading": ("load",), "module": ("Learner",), "networks": ("build_network",)},
        modules=(
            "activations",
            "bits",
            "calibration",
            "communication",
            "compact",
            "cost",
            "entropy",
            "graph",
            "growth",
            "initial",
            "networks",
            "optimizers",
            "outputs",
            "regimes",
            "saliency",
            "schedules",
            "sharing",
            "sparsity",
            "structure",
        ),
    )

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
