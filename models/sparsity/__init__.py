"""Sparsity: masks learnt, chosen by magnitude or influence, or drawn by lot as a control; and whole units that go."""

from models.sparsity.build import METHODS, build
from models.sparsity.continuous import ContinuousSparsification
from models.sparsity.influence import InfluencePruning
from models.sparsity.magnitude import GradualPruning, MagnitudePruning, RandomPruning
from models.sparsity.mask import Mask, Masking
from models.sparsity.structured import StructuredPruning
from models.sparsity.tickets import Snapshot, iterative_magnitude, rewind, state_of, winning_ticket

__all__ = [
    "METHODS",
    "ContinuousSparsification",
    "GradualPruning",
    "InfluencePruning",
    "MagnitudePruning",
    "Mask",
    "Masking",
    "RandomPruning",
    "Snapshot",
    "StructuredPruning",
    "build",
    "iterative_magnitude",
    "rewind",
    "state_of",
    "winning_ticket",
]
