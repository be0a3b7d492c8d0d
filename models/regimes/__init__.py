"""Regimes: how a network is trained, block by block instead of all at once."""

from models.regimes.blocks import find
from models.regimes.build import REGIMES, build, partitions
from models.regimes.chain import Chain
from models.regimes.conduct import Conductor
from models.regimes.greedy import Greedy
from models.regimes.heads import LocalHead, predictor, similarity
from models.regimes.local import Local
from models.regimes.phases import Phase
from models.regimes.regime import Regime

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
