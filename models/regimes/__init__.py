"""Regimes: block-wise training, in which each block of a network has a loss of its own, instead of backpropagation."""

from kirigami.models.regimes.blocks import find
from kirigami.models.regimes.build import REGIMES, build, partitions
from kirigami.models.regimes.chain import Chain
from kirigami.models.regimes.conduct import Conductor
from kirigami.models.regimes.greedy import Greedy
from kirigami.models.regimes.heads import LocalHead, predictor, similarity
from kirigami.models.regimes.local import Local
from kirigami.models.regimes.phases import Phase
from kirigami.models.regimes.regime import Regime

__all__ = [
    "REGIMES",
    "Chain",
    "Conductor",
    "Greedy",
    "Local",
    "LocalHead",
    "Phase",
    "Regime",
    "build",
    "find",
    "partitions",
    "predictor",
    "similarity",
]
