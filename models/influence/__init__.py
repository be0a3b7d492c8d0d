"""Influence: what removing a weight or a unit does to the loss, and how much can go before the network gets worse."""

from models.influence import units, weights
from models.influence.gates import Gates
from models.influence.removable import Removal, removable
from models.influence.settings import Settings
from models.influence.surgeon import Blocks, surgeon
from models.influence.units import unit_scores
from models.influence.weights import weight_scores

UNIT_CRITERIA = tuple(units.CRITERIA)
WEIGHT_CRITERIA = tuple(weights.CRITERIA)

__all__ = [
    "UNIT_CRITERIA",
    "WEIGHT_CRITERIA",
    "Blocks",
    "Gates",
    "Removal",
    "Settings",
    "removable",
    "surgeon",
    "unit_scores",
    "weight_scores",
]
