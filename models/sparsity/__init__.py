"""Sparsity: which weights to keep. Masks that are learnt, chosen by magnitude, or drawn by lot as a control."""

from models.sparsity.build import METHODS, build
from models.sparsity.continuous import ContinuousSparsification
from models.sparsity.magnitude import GradualPruning, MagnitudePruning, RandomPruning
from models.sparsity.mask import Mask, Masking
from models.sparsity.tickets import Snapshot, iterative_magnitude, rewind, state_of, winning_ticket

__all__ = [
    "METHODS",
    "ContinuousSparsification",
    "GradualPruning",
    "MagnitudePruning",
    "Mask",
    "Masking",
    "RandomPruning",
    "Snapshot",
    "build",
    "iterative_magnitude",
    "rewind",
    "state_of",
    "winning_ticket",
]
