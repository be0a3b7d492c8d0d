"""Sparsity: masks learnt, chosen by magnitude or saliency, or drawn at random as a control; and pruning of units."""

from kirigami.models.sparsity.build import METHODS, build
from kirigami.models.sparsity.continuous import ContinuousSparsification
from kirigami.models.sparsity.magnitude import GradualPruning, MagnitudePruning, RandomPruning
from kirigami.models.sparsity.mask import Mask, Masking, PlainMask
from kirigami.models.sparsity.saliency import SaliencyPruning
from kirigami.models.sparsity.structured import StructuredPruning
from kirigami.models.sparsity.tickets import Snapshot, iterative_magnitude, rewind, state_of, winning_ticket

__all__ = [
    "METHODS",
    "ContinuousSparsification",
    "GradualPruning",
    "MagnitudePruning",
    "Mask",
    "Masking",
    "PlainMask",
    "RandomPruning",
    "SaliencyPruning",
    "Snapshot",
    "StructuredPruning",
    "build",
    "iterative_magnitude",
    "rewind",
    "state_of",
    "winning_ticket",
]
